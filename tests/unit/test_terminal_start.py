"""What twistd's command prints when its daemon has started, or not."""

import io
import os
import sys

from twisted.scripts._twistd_unix import UnixApplicationRunner
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.terminal import report_start_plainly


class StartTests(SynchronousTestCase):
    """The parent process, and the pipe on which it waits."""

    def setUp(self) -> None:
        before = UnixApplicationRunner._waitForStart
        self.patch(UnixApplicationRunner, "_waitForStart", before)
        report_start_plainly()
        self.err = io.StringIO()
        self.patch(sys, "__stderr__", self.err)

    def waited(self, told: bytes) -> tuple[int, str]:
        """Wait for what a daemon tells; give the status and what is printed."""
        reads, writes = os.pipe()
        os.write(writes, told)
        os.close(writes)
        try:
            status = UnixApplicationRunner({})._waitForStart(reads)
        finally:
            os.close(reads)
        return status, self.err.getvalue()

    def test_started(self) -> None:
        self.assertEqual(self.waited(b"0"), (0, ""))

    def test_failed(self) -> None:
        """The error is text, as it was before it went through the pipe."""
        self.assertEqual(
            self.waited(b"1 cannot bind /n\\xf6: in use"),
            (1, "clusterapp: cannot bind /n\\xf6: in use; the log file may say more\n"),
        )

    def test_killed(self) -> None:
        """It has told nothing, and there is the end of the pipe."""
        self.assertEqual(
            self.waited(b""),
            (1, "clusterapp: the daemon has ended; the log file may say more\n"),
        )

    def test_no_stderr(self) -> None:
        self.patch(sys, "__stderr__", None)
        self.assertEqual(self.waited(b"1 no")[0], 1)
