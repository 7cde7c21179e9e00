"""The master while the reader of its stdout, a pipe, stands still."""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import (
    APPS,
    DEADLINE,
    SCRIPTS,
    RunningCluster,
    clean_environment,
    eventually,
)


class HeldReader(RunningCluster):
    """A cluster whose output is read until its worker is ready, and then no more."""

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._fresh.put(line)
            if re.search(r"worker \d+ is ready", line):
                return

    def fill(self) -> None:
        """Fill the pipe up to its last byte."""
        assert self.process.stdout is not None
        self._reader.join(DEADLINE)
        number = self.process.stdout.fileno()
        fcntl.fcntl(number, fcntl.F_SETPIPE_SZ, 4096)
        path = f"/proc/self/fd/{number}"
        full = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(full, b"x")
        os.close(full)

    def rest(self) -> str:
        """Read what is in the pipe."""
        assert self.process.stdout is not None
        return self.process.stdout.read()


class StandingReaderTests(SynchronousTestCase):
    """The master goes on: requests, workers and its own end do not wait for it."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        command = [
            *(str(SCRIPTS / "twistd"), "-n", "--pidfile=", "clusterapp"),
            *("--app", "logging_site:app", "--workers", "1", "--state", "state"),
            *("--listen", "tcp:0:interface=127.0.0.1", "--core", "master"),
        ]
        self.running = HeldReader(
            command, workers=1, cwd=Path(folder.name), env={"PYTHONPATH": str(APPS)}
        )
        self.addCleanup(self.end)
        self.running.started()

    def end(self) -> None:
        """End it even if it hangs, as it would without its writer."""
        self.running.process.kill()
        self.running.process.wait(DEADLINE)
        self.running.close()

    def test_core_request(self) -> None:
        """The log's lines of the first request do not hold up the second."""
        self.running.fill()
        for _ in range(2):
            self.assertEqual(self.running.request("GET", "/core/raise/7")[0], 500)
        self.assertEqual(self.running.get("/core/say/print"), b"said")

    def test_killed_worker(self) -> None:
        """It is replaced."""
        before = self.running.children()
        self.running.fill()
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: len(self.running.children() - {killed}) == len(before))
        self.assertEqual(self.running.get("/say/print"), b"said")

    def test_term(self) -> None:
        """It stops, and waits about a second for the reader."""
        self.running.fill()
        self.assertEqual(self.running.request("GET", "/core/raise/7")[0], 500)
        began = time.monotonic()
        self.running.signal(signal.SIGTERM)
        self.assertEqual(self.running.process.wait(10), 0)
        self.assertGreaterEqual(time.monotonic() - began, 1.0)

    def test_reader_that_goes_on(self) -> None:
        """Nothing is missing then, up to the last line of the stop."""
        self.running.fill()
        for number in range(3):
            self.running.request("GET", f"/core/raise/{number}")
        self.running.signal(signal.SIGTERM)
        text = self.running.rest()
        self.assertEqual(self.running.process.wait(DEADLINE), 0)
        self.assertEqual(text.count("\tTraceback (most recent call last):"), 3)
        self.assertRegex(text, r"Server Shut Down\.\n$")


class FailedStartTests(SynchronousTestCase):
    """What ends the program before its reactor runs."""

    def test_error_is_written(self) -> None:
        with tempfile.TemporaryDirectory(prefix="clusterapp-") as folder:
            done = subprocess.run(
                [
                    *(str(SCRIPTS / "twistd"), "-n", "--pidfile=", "clusterapp"),
                    *("--app", "logging_site:app", "--workers", "1"),
                    *("--state", "state", "--listen", "unix:/nowhere/at/all"),
                ],
                cwd=folder,
                env={**clean_environment(), "PYTHONPATH": str(APPS)},
                stdout=subprocess.PIPE,
                check=False,
                text=True,
                timeout=DEADLINE,
            )
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"clusterapp: .*/nowhere/at/all.*\n$")
