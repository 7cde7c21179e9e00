"""The state folder of a master, and what others have left there."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import ListenError
from clusterapp.listening import state_folder as listening_state
from clusterapp.listening.state_folder import StateFolder, default_state
from tests.unit.fakes import descriptors


class StateCase(SynchronousTestCase):
    """An empty place for a state folder."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.base = Path(folder.name) / "state"
        self.states: list[StateFolder] = []
        self.addCleanup(self.remove_all)

    def made(self) -> StateFolder:
        state = StateFolder(self.base)
        self.states.append(state)
        return state

    def remove_all(self) -> None:
        for state in self.states:
            if state.path.exists():
                state.remove()

    def refused(self) -> str:
        """Return the refusal's message; nothing may be left open."""
        before = descriptors()
        error = self.assertRaises(ListenError, StateFolder, self.base)
        self.assertEqual(descriptors(), before)
        return str(error)


class FolderTests(StateCase):
    """One master's own folder."""

    def test_private(self) -> None:
        """Nobody else may look into either folder, whatever the umask."""
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        state = self.made()
        for folder in (self.base, state.path):
            self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700, folder)
        self.assertEqual(state.path.parent, self.base)

    def test_socket(self) -> None:
        state = self.made()
        self.assertEqual(state.socket("core"), str(state.path / "core.sock"))

    def test_socket_with_a_long_path(self) -> None:
        """The kernel's limit is one of bytes: unix(7)."""
        state = self.made()
        room = 107 - len(os.fsencode(state.path)) - len("/.sock")
        self.assertEqual(len(state.socket("x" * room)), 107)
        error = self.assertRaises(ListenError, state.socket, "ä" + "x" * (room - 1))
        self.assertIn("more than 107 bytes", str(error))

    def test_folder(self) -> None:
        """It is as private as the one it is in, and goes with it."""
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        state = self.made()
        folder = Path(state.folder("templates"))
        self.assertEqual(folder, state.path / "templates")
        self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
        (folder / "file").touch()
        state.remove()
        self.assertEqual(list(self.base.iterdir()), [])

    def test_folder_that_cannot_be_made(self) -> None:
        state = self.made()
        (state.path / "templates").touch()
        error = self.assertRaises(ListenError, state.folder, "templates")
        self.assertIn(f"cannot make the folder {state.path}/templates", str(error))

    def test_remove(self) -> None:
        before = descriptors()
        state = self.made()
        (state.path / "core.sock").touch()
        state.remove()
        self.assertEqual(list(self.base.iterdir()), [])
        self.assertEqual(descriptors(), before)

    def test_remove_what_is_gone(self) -> None:
        """Somebody has cleaned up the place for temporary files."""
        state = self.made()
        (state.path / "lock").unlink()
        state.path.rmdir()
        state.remove()

    def test_two_masters(self) -> None:
        """Each has its own, and leaves the other's alone."""
        one, other = self.made(), self.made()
        self.assertNotEqual(one.path, other.path)
        self.assertTrue(one.path.exists())
        other.remove()
        self.assertTrue(one.path.exists())


class LeftBehindTests(StateCase):
    """Folders of other processes."""

    def test_dead_master(self) -> None:
        """What a killed one left behind is removed by the next."""
        code = (
            "import os, pathlib, sys; from clusterapp.listening.state_folder import *;"
            "s = StateFolder(pathlib.Path(sys.argv[1]));"
            "(s.path / 'core.sock').touch();"
            "pathlib.Path(s.folder('templates'), 'file').touch();"
            "os.kill(os.getpid(), 9)"
        )
        subprocess.run([sys.executable, "-c", code, str(self.base)], check=False)
        [dead] = self.base.iterdir()
        self.assertTrue((dead / "core.sock").exists())
        self.assertTrue((dead / "templates" / "file").exists())
        state = self.made()
        self.assertEqual(list(self.base.iterdir()), [state.path])

    def test_what_is_not_ours(self) -> None:
        """A folder without a lock is no master's."""
        (self.base / "precious").mkdir(parents=True, mode=0o700)
        self.base.chmod(0o700)
        (self.base / "file").touch()
        self.made()
        self.assertTrue((self.base / "precious").exists())
        self.assertTrue((self.base / "file").exists())

    def test_removed_in_this_very_moment(self) -> None:
        """Another master stops while this one starts, and its lock is gone."""
        self.base.mkdir(mode=0o700)
        self.patch(Path, "glob", lambda _, __: iter([self.base / "gone" / "lock"]))
        self.made()


class RefusedTests(StateCase):
    """Places where others could put sockets for ours."""

    def test_writable_by_others(self) -> None:
        self.base.mkdir()
        for mode in (0o770, 0o707, 0o1777):
            self.base.chmod(mode)
            self.assertIn("can be written to by others", self.refused())

    def test_readable_by_others(self) -> None:
        """That harms nobody: the folder within is private."""
        self.base.mkdir()
        self.base.chmod(0o755)
        self.made()

    def test_of_another_user(self) -> None:
        self.base.mkdir(mode=0o700)
        self.patch(os, "geteuid", lambda: self.base.stat().st_uid + 1)
        self.assertIn("belongs to another user", self.refused())

    def test_symlink(self) -> None:
        """A symbolic link is refused: its owner could change its target later."""
        real = self.base.with_name("real")
        real.mkdir(mode=0o700)
        self.base.symlink_to(real)
        self.assertIn("is not a folder", self.refused())

    def test_file(self) -> None:
        self.base.touch()
        self.assertIn(f"cannot use the state folder {self.base}", self.refused())

    def test_cannot_be_made(self) -> None:
        self.base.touch()
        self.base /= "state"
        self.assertIn("Not a directory", self.refused())


class DefaultTests(SynchronousTestCase):
    """Where state is kept if the operator does not say."""

    def test_session(self) -> None:
        found = default_state({"XDG_RUNTIME_DIR": "/run/user/1000"})
        self.assertEqual(found, Path("/run/user/1000/clusterapp"))

    def test_root(self) -> None:
        self.patch(os, "geteuid", lambda: 0)
        self.assertEqual(default_state({}), Path("/run/clusterapp"))

    def test_user_without_session(self) -> None:
        """A folder that no two users share."""
        self.patch(os, "geteuid", lambda: 1000)
        self.assertEqual(
            default_state({"XDG_RUNTIME_DIR": ""}),
            Path(tempfile.gettempdir()) / "clusterapp-1000",
        )


class RestoreTests(StateCase):
    """What a cleaner of temporary files removes while the process lives."""

    def bound(self, state: StateFolder, name: str = "core") -> socket.socket:
        """Listen on a private socket that the folder holds."""
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(state.socket(name))
        listening.listen()
        state.hold(name)
        return listening

    def assert_reached(self, listening: socket.socket, path: str) -> None:
        """Another process's connection to the path comes to the socket."""
        program = "import socket, sys; socket.socket(1).connect(sys.argv[1])"
        subprocess.run([sys.executable, "-c", program, path], check=True, timeout=30)
        listening.settimeout(30)
        listening.accept()[0].close()

    def test_nothing_is_missing(self) -> None:
        state = self.made()
        self.bound(state)
        state.folder("templates")
        self.assertEqual(state.restore(), [])

    def test_all_is_removed(self) -> None:
        """The sockets that processes have inherited are reached by the same paths."""
        state = self.made()
        sockets = {name: self.bound(state, name) for name in ("core", "worker-0")}
        cache = state.folder("templates")
        for _ in range(2):  # the second time it is a link that is removed
            shutil.rmtree(self.base)
            paths = [state.socket(name) for name in sockets]
            self.assertEqual(state.restore(), [str(state.path), cache, *paths])
            for name, listening in sockets.items():
                self.assert_reached(listening, state.socket(name))
            for folder in (self.base, state.path, Path(cache)):
                self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700, folder)
            self.assertEqual(state.restore(), [])

    def test_one_is_removed(self) -> None:
        state = self.made()
        listening = self.bound(state)
        Path(state.socket("core")).unlink()
        self.assertEqual(state.restore(), [state.socket("core")])
        self.assert_reached(listening, state.socket("core"))

    def test_another_is_there(self) -> None:
        """Nobody else gets what is meant for the core."""
        state = self.made()
        listening = self.bound(state)
        path = state.socket("core")
        Path(path).unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(path)
            self.assertEqual(state.restore(), [path])
        self.assert_reached(listening, path)

    def test_symbolic_link(self) -> None:
        """The control socket may be elsewhere."""
        state = self.made()
        usual = Path(state.socket("control"))
        usual.symlink_to("/elsewhere")
        state.hold("control")
        shutil.rmtree(self.base)
        state.restore()
        self.assertEqual(str(usual.readlink()), "/elsewhere")

    def test_in_use_as_before(self) -> None:
        """The next process does not take it for what a killed one left behind."""
        state = self.made()
        shutil.rmtree(self.base)
        state.restore()
        self.made()
        self.assertTrue(state.path.exists())

    def test_not_ours(self) -> None:
        """Others could put sockets where ours are looked for."""
        state = self.made()
        shutil.rmtree(self.base)
        self.base.mkdir()
        self.base.chmod(0o777)
        error = self.assertRaises(ListenError, state.restore)
        self.assertIn("can be written to by others", str(error))

    def test_cannot_be_made(self) -> None:
        """The error names the path; it is tried again each time."""
        state = self.made()
        shutil.rmtree(self.base)
        self.base.write_text("")
        error = self.assertRaises(ListenError, state.restore)
        self.assertIn(str(self.base), str(error))
        self.base.unlink()
        self.assertEqual(state.restore(), [str(state.path)])

    def test_changed_its_user(self) -> None:
        """Then its children may not use its descriptors, and a link would not do."""
        state = self.made()
        self.bound(state)
        shutil.rmtree(self.base)
        self.patch(os, "geteuid", lambda: os.getuid() + 1)
        self.patch(listening_state, "_check_owner", lambda _: None)
        error = self.assertRaises(ListenError, state.restore)
        self.assertIn("a master that has changed its user", str(error))

    def test_closes(self) -> None:
        before = descriptors()
        state = self.made()
        listening = self.bound(state)
        shutil.rmtree(self.base)
        state.restore()
        state.remove()
        listening.close()
        self.assertEqual(descriptors(), before)
        self.assertFalse(state.path.exists())

    def test_folder_that_is_removed_on_purpose(self) -> None:
        state = self.made()
        state.folder("templates-1")
        state.remove_folder("templates-1")
        self.assertEqual(state.restore(), [])
