"""What an application does to the process that imports it stays there."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import (
    DEADLINE,
    SCRIPTS,
    RunningCluster,
    clean_environment,
    eventually,
    wait_until_gone,
)

SHOP = """\
import json, os, sys
from pathlib import Path

# As python-dotenv does: what is set already is left alone.
for line in open(Path(__file__).parent / "dot.env"):
    name, _, value = line.strip().partition("=")
    os.environ.setdefault(name, value)
if os.environ["ROUGH"] == "yes":
    sys.path.append("/nowhere/of/" + os.environ["KEY"])
    os.umask(0)
    os.chdir("/")

from clusterapp import Application

app = Application()
print("imported in", os.getpid())


def seen(request):
    strange = [each for each in sys.path if each.startswith("/nowhere")]
    return json.dumps([os.environ["KEY"], strange, os.getpid()])


app.route("/")(seen)
{core}
"""

CORE = 'app.core.route("/core")(seen)'


class EnvironmentCase(SynchronousTestCase):
    """A folder with an application, its ``.env`` file and its settings."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.control = self.folder / "control.sock"
        (self.folder / "shop.py").write_text(SHOP.format(core=CORE))
        (self.folder / "clusterapp.toml").write_text(
            'app = "shop:app"\nworkers = 1\nlisten = "tcp:0:interface=127.0.0.1"\n'
            f'state = "{self.folder}/state"\ncontrol = "{self.control}"\n'
        )
        self.write("one")

    def write(self, key: str, *lines: str, rough: str = "no") -> None:
        text = "\n".join((f"KEY={key}", f"ROUGH={rough}", *lines))
        (self.folder / "dot.env").write_text(text)

    @contextmanager
    def running(self, *flags: str) -> Iterator[RunningCluster]:
        command = [str(SCRIPTS / "twistd"), "-n", "--pidfile=", "clusterapp", *flags]
        running = RunningCluster(command, workers=1, cwd=self.folder)
        try:
            yield running.started()
        finally:
            running.close()

    def ctl(self, *words: str) -> str:
        """Run ``clusterctl``; it must succeed."""
        done = subprocess.run(
            [str(SCRIPTS / "clusterctl"), "--socket", str(self.control), *words],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout


class NextGenerationTests(EnvironmentCase):
    """A generation, and the next master, begin as the first master has begun."""

    def test_reload_and_upgrade(self) -> None:
        """Though the master has imported the application, for its core."""
        with self.running() as running:
            core = running.json("/core")
            assert isinstance(core, list)
            self.assertEqual(core, ["one", [], running.pid])
            self.write("two")
            self.ctl("reload")
            worker = running.json("/")
            assert isinstance(worker, list)
            self.assertEqual(worker[0], "two")
            self.write("three")
            self.ctl("upgrade")
            for target in ("/", "/core"):
                served = running.json(target)
                assert isinstance(served, list)
                self.assertEqual(served[0], "three")
            core = running.json("/core")
            assert isinstance(core, list)
            os.kill(core[2], signal.SIGTERM)
            wait_until_gone(core[2])

    def test_settings(self) -> None:
        """What is in a file of the application is no setting, and no mistake in one."""
        self.write("one", "WEB_CONCURRENCY=3", "CLUSTERAPP_SECRET=x", rough="yes")
        with self.running() as running:
            running.json("/core")
            self.ctl("reload")
            # The old one may still be on its way out.
            eventually(lambda: len(running.children()) == 1)
            self.assertEqual(
                [line for line in running.lines if "starting 3" in line], []
            )

    def test_import_path_umask_and_folder(self) -> None:
        """They are not inherited either; the file of settings is found again."""
        self.write("one", rough="yes")
        with self.running() as running:
            running.json("/core")
            self.write("two")
            self.ctl("reload")
            worker = running.json("/")
            assert isinstance(worker, list)
            self.assertEqual(worker[:2], ["two", []])
            status = Path(f"/proc/{worker[2]}/status").read_text("ascii")
            umask = os.umask(0o022)
            os.umask(umask)
            self.assertIn(f"Umask:\t{umask:04o}\n", status)


class WhoImportsTests(EnvironmentCase):
    """Only processes that run code of the application import it."""

    def importers(self, *flags: str) -> tuple[int, set[int]]:
        with self.running(*flags) as running:
            running.json("/")
            pids = {
                int(line.rpartition(" ")[2])
                for line in running.lines
                if "imported in" in line
            }
            return running.pid, pids

    def test_core_in_the_master(self) -> None:
        (self.folder / "shop.py").write_text(SHOP.format(core=CORE))
        with self.running() as running:
            running.json("/core")
            self.assertIn(f"imported in {running.pid}", running.text())

    def test_no_core(self) -> None:
        """Neither with an isolated core does the master import it."""
        for core, flags in (("", ()), (CORE, ("--core", "isolated"))):
            (self.folder / "shop.py").write_text(SHOP.format(core=core))
            master, pids = self.importers(*flags)
            self.assertNotEqual(pids, set())
            self.assertNotIn(master, pids)
