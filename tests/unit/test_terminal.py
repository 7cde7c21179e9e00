"""What twistd's command prints when its daemon has started, or not."""

import contextlib
import io
import os
import sys

from twisted.scripts._twistd_unix import UnixApplicationRunner
from twisted.trial.unittest import SynchronousTestCase

from clusterapp import terminal
from clusterapp.errors import ClusterError
from clusterapp.terminal import Terminal, report_start_plainly


class StartTests(SynchronousTestCase):
    """The parent process, and the pipe on which it waits."""

    def setUp(self) -> None:
        before = UnixApplicationRunner._waitForStart
        self.patch(UnixApplicationRunner, "_waitForStart", before)
        report_start_plainly()
        self.err = io.StringIO()
        self.patch(sys, "__stderr__", self.err)

    def waited(self, told: bytes) -> tuple[int, str]:
        """Wait for what a daemon tells; return the status and what is printed."""
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


class TerminalTests(SynchronousTestCase):
    """The stderr of the command, to which a daemon prints its error."""

    def setUp(self) -> None:
        self.reading, writing = os.pipe()
        self.stderr = os.fdopen(writing, "w")

    def test_told(self) -> None:
        self.addCleanup(os.close, self.reading)
        told = Terminal(self.stderr)
        self.assertTrue(told.tell(ClusterError("no")))
        self.assertEqual(os.read(self.reading, 100), b"clusterapp: no\n")
        told.close()
        self.assertTrue(self.stderr.closed)

    def test_no_reader(self) -> None:
        os.close(self.reading)
        told = Terminal(self.stderr)
        self.assertFalse(told.tell(ClusterError("no")))
        told.close()

    def test_reader_that_stands_still(self) -> None:
        """The daemon ends all the same; the error is in its log."""
        self.patch(terminal, "_TIMEOUT", 0.01)
        os.set_blocking(self.stderr.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self.stderr.fileno(), b"x")
        os.set_blocking(self.stderr.fileno(), True)
        told = Terminal(self.stderr)
        self.assertFalse(told.tell(ClusterError("no")))
        told.close()
        self.assertFalse(told.tell(ClusterError("no")))
        with os.fdopen(self.reading, "rb") as reader:
            while not reader.read1().endswith(b"clusterapp: no\n"):
                pass
        # The thread is gone by then, or is about to be.
        self.stderr.close()
