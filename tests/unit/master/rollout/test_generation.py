"""The launch context of a generation: folder, environment and path."""

import os
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import SettingsError
from clusterapp.master.rollout.generation import LaunchContext
from clusterapp.settings.model import Settings


class GenerationCase(SynchronousTestCase):
    """Two releases of an application, and a symbolic link to one of them."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.base = Path(folder.name).resolve()
        for name in ("1", "2"):
            (self.base / name / "lib").mkdir(parents=True)
        self.current = self.base / "current"
        self.current.symlink_to("1")
        self.addCleanup(os.chdir, Path.cwd())
        self.patch(sys, "path", ["/nowhere/lib"])

    def deploy(self, name: str) -> None:
        self.current.unlink()
        self.current.symlink_to(name)


class ProgramTests(GenerationCase):
    """Which twistd a master was started with."""

    def twistd(self, *argv: str, executable: str) -> str | None:
        self.patch(sys, "argv", list(argv))
        self.patch(sys, "executable", executable)
        os.chdir(self.base)
        return LaunchContext({}).twistd

    def test_twistd(self) -> None:
        """The program itself, by the name that it was called by."""
        for name in ("twistd", "twistd3"):
            program = self.base / name
            program.touch()
            found = self.twistd(f"./{name}", "-n", executable="/usr/bin/python3")
            self.assertEqual(found, str(program))

    def test_another_program(self) -> None:
        """Then it is the one of the same environment, if there is one."""
        for argv in ("/lib/twisted/__main__.py", "", "/gone/twistd"):
            python = str(self.base / "python")
            self.assertIsNone(self.twistd(argv, executable=python))
        (self.base / "twistd").touch()
        for argv in ("/lib/twisted/__main__.py", "", "/gone/twistd"):
            found = self.twistd(argv, executable=python)
            self.assertEqual(found, str(self.base / "twistd"))


class FolderTests(GenerationCase):
    """Where a generation works, and what it finds there."""

    def test_link_of_the_shell(self) -> None:
        """A program that was started in a link follows it anew each time."""
        os.chdir(self.current)
        # As twistd puts it there: the folder itself, and not the link.
        self.patch(sys, "path", [str(Path.cwd()), "lib", "/nowhere/lib"])
        around = LaunchContext({"PWD": str(self.current)})
        before = around.take(1, Settings())
        self.deploy("2")
        after = around.take(2, Settings())
        for generation, name in ((before, "1"), (after, "2")):
            here = self.base / name
            self.assertEqual(generation.folder, str(here))
            self.assertEqual(
                generation.path, (str(here), str(here / "lib"), "/nowhere/lib")
            )

    def test_working_folder(self) -> None:
        """The setting is stronger, and what it leads to comes first."""
        os.chdir(self.base)
        around = LaunchContext({"PWD": "/"})  # no word of where we are
        settings = Settings(working_folder="current")
        before = around.take(1, settings)
        # The master itself finds its modules there, too.
        self.patch(sys, "path", [before.folder, "/nowhere/lib"])
        self.deploy("2")
        after = around.take(2, settings)
        self.assertEqual(before.path, (str(self.base / "1"), "/nowhere/lib"))
        self.assertEqual(after.path, (str(self.base / "2"), "/nowhere/lib"))

    def test_without_links(self) -> None:
        os.chdir(self.base)
        self.patch(sys, "path", ["", "1", "/nowhere/lib", "1"])
        generation = LaunchContext({}).take(3, Settings())
        self.assertEqual(generation.number, 3)
        self.assertEqual(
            generation.path, (str(self.base), str(self.base / "1"), "/nowhere/lib")
        )

    def test_folder_is_not_there(self) -> None:
        os.chdir(self.base)
        around = LaunchContext({})
        for wrong in ("3", "/nowhere"):
            with self.assertRaisesRegex(SettingsError, f"{wrong} is not there"):
                around.take(2, Settings(working_folder=wrong))


class EnvironmentTests(GenerationCase):
    """The environment of its processes."""

    def test_it_is_taken_once(self) -> None:
        of_systemd = dict.fromkeys(("LISTEN_PID", "LISTEN_FDS", "NOTIFY_SOCKET"), "1")
        environ = {"PWD": "/", "A": "1", **of_systemd}
        around = LaunchContext(environ)
        generation = around.take(1, Settings())
        environ["A"] = "2"
        self.assertEqual(generation.environment, {"PWD": "/", "A": "1"})
        self.assertEqual(around.take(2, Settings()).environment["A"], "1")

    def test_what_an_application_changes_in_the_master(self) -> None:
        """The next generation begins as the first one has begun."""
        self.patch(os, "environ", {"PWD": "/", "A": "1"})
        self.patch(sys, "path", ["/nowhere/lib"])
        self.addCleanup(os.umask, os.umask(0o027))
        around = LaunchContext()
        os.environ["A"] = "2"
        sys.path.append("/nowhere/else")
        os.umask(0)
        generation = around.take(2, Settings())
        self.assertEqual(generation.environment, {"PWD": "/", "A": "1"})
        self.assertEqual(generation.path, ("/nowhere/lib",))
        self.assertEqual(generation.umask, 0o027)
        self.assertEqual(os.umask(0), 0)
