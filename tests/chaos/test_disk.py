"""A disk that is full: a tiny one, of the test's own."""

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.chaos.sites import OF_THE_KILLED, ChaosCase, pids
from tests.integration.running import DEADLINE, SCRIPTS, RunningCluster, eventually
from tests.ports import free_port

#: Runs a command where it may mount what nobody else sees, root or not.
UNSHARE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
#: Mounts a small disk on the first argument, and becomes the rest of them.
MOUNT = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'


class DiskTests(ChaosCase):
    """A master and two workers that write to a disk of one MiB."""

    def setUp(self) -> None:
        super().setUp()
        probe = [*UNSHARE, "sh", "-c", MOUNT, self.folder, "true"]
        ended = subprocess.run(
            probe, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        # Where CI runs, a disk that cannot be mounted is a failure.
        if ended.returncode and "CI" not in os.environ:
            raise SkipTest(f"no disk can be mounted: {ended.stderr}")
        self.place = self.folder / "disk"
        self.place.mkdir()

    @contextmanager
    def running(self, *flags: str, log: str = "-") -> Iterator[RunningCluster]:
        """Run a cluster that sees the disk; give it when it has been started."""
        command = [
            *(*UNSHARE, "sh", "-c", MOUNT, str(self.place)),
            *(str(SCRIPTS / "twistd"), "-n", "--pidfile=", f"--logfile={log}"),
            *("clusterapp", "--app", "shop:app", "--workers", "2"),
            *("--working-folder", str(self.deploy.folder)),
            *("--state", str(self.folder / "state"), *flags),
        ]
        running = RunningCluster(command, workers=2, cwd=self.folder)
        try:
            yield running
        finally:
            running.close()

    def disk(self, running: RunningCluster) -> Path:
        """Return the path by which the disk is seen from outside."""
        return Path(f"/proc/{running.pid}/root{self.place}")

    def test_access_log(self) -> None:
        """Requests are answered, the log says what is wrong, and lines are kept."""
        log = ("--access-log", str(self.place / "access.log"))
        listen = ("--listen", "tcp:0:interface=127.0.0.1")
        with self.running(*listen, *log) as running:
            running.started()
            disk = self.disk(running)
            with self.load(running) as load:
                load.wait_for(200)
                fill(disk)
                running.wait_for("cannot write the access log .*: .*No space left")
                load.wait_for_more(1000)
                (disk / "filler").unlink()
                load.wait_for_more(200)
                figures = load.report("disk of the access log full")
            self.assert_served(figures, at_least=1400)
            eventually(lambda: len(lines(disk / "access.log")) >= figures.answered)
            written = lines(disk / "access.log")
            self.assertEqual(len(written), figures.answered)
            for line in written:
                self.assertRegex(line, r'^127\.0\.0\.1 - - .* 200 \d+ "-" "-"$')
            self.assertNotIn("are lost", running.text())
            self.assert_stops(running)

    def test_log_of_the_master(self) -> None:
        """The master supervises on, and its log goes on when there is space."""
        port = free_port()
        listen = ("--listen", f"tcp:{port}:interface=127.0.0.1")
        with self.running(*listen, log=str(self.place / "master.log")) as running:
            log = self.disk(running) / "master.log"
            running.port = port
            eventually(lambda: said(log).count("is ready after") == 2)
            first, second = running.children()
            with self.load(running) as load:
                load.wait_for(200)
                fill(self.disk(running))
                os.kill(first, signal.SIGKILL)
                known = {running.pid, first, second}
                eventually(lambda: bool(pids(load.figures) - known))
                (self.disk(running) / "filler").unlink()
                os.kill(second, signal.SIGKILL)
                eventually(lambda: f"(pid {second}) left with signal 9" in said(log))
                eventually(lambda: said(log).rstrip().count("is ready after") >= 3)
                load.wait_for_more(200)
                figures = load.report("disk of the master's log full, 2 workers killed")
            self.assertLessEqual(set(figures.kinds), OF_THE_KILLED, figures)
            self.assert_stops(running)


def fill(disk: Path) -> None:
    """Leave no space on a disk."""
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC, error


def said(log: Path) -> str:
    """Read what a log says so far."""
    return log.read_text("utf-8", "replace") if log.exists() else ""


def lines(log: Path) -> list[str]:
    """Read the lines of a log, the last of which may be broken off."""
    return said(log).splitlines()
