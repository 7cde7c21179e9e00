"""What a child writes, for its master to log."""

import io
import sys

from twisted.logger import LogBeginner, Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from clusterapp import logs


class ChildLogTests(SynchronousTestCase):
    """A child's log, without the process."""

    def setUp(self) -> None:
        self.publisher = LogPublisher()
        beginner = LogBeginner(
            self.publisher, io.StringIO(), sys, __import__("warnings")
        )
        self.patch(logs, "globalLogBeginner", beginner)
        self.out = io.StringIO()
        self.raw = io.BytesIO()
        for name in ("stdout", "stderr"):
            stream = io.TextIOWrapper(self.raw, "ascii", write_through=False)
            self.addCleanup(stream.detach)
            self.patch(sys, name, stream)
        logs.begin_child_log(self.out)

    def log(self, namespace: str = "shop") -> Logger:
        return Logger(namespace, observer=self.publisher)

    def test_lines(self) -> None:
        """Neither time nor system: the master adds what it knows."""
        self.log().info("open for {what}", what="business")
        self.assertEqual(self.out.getvalue(), "open for business\n")

    def test_levels(self) -> None:
        """What is more than news says how bad it is."""
        for level in ("warn", "error", "critical"):
            getattr(self.log(), level)("oh no")
        self.assertEqual(
            self.out.getvalue(), "warn: oh no\nerror: oh no\ncritical: oh no\n"
        )

    def test_failure(self) -> None:
        """With its traceback."""
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            self.log().failure("cannot divide")
        lines = self.out.getvalue().splitlines()
        self.assertEqual(lines[0], "critical: cannot divide")
        self.assertIn("ZeroDivisionError", lines[-1])

    def test_what_is_left_out(self) -> None:
        """Details for developers, empty events, and Twisted's ports that start."""
        self.log().debug("details")
        self.log().info("")
        self.log("twisted.internet.tcp.Port").info("starting on 8080")
        self.assertEqual(self.out.getvalue(), "")

    def test_trouble_of_twisted_is_kept(self) -> None:
        self.log("twisted.internet.base").warn("slow")
        self.assertEqual(self.out.getvalue(), "warn: slow\n")

    def test_prints_come_at_once(self) -> None:
        """Line by line, in UTF-8, whatever the locale and the text."""
        print("10 € \udcff")
        self.assertEqual(self.raw.getvalue(), "10 € \\udcff\n".encode())

    def test_prints_are_no_events(self) -> None:
        """They go out as they are."""
        print("hello")
        self.assertEqual(self.out.getvalue(), "")
