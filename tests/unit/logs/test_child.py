"""What a child logs and prints, and what of it goes to the master."""

import contextlib
import io
import os
import sys
from types import SimpleNamespace

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.log_pipe.lines import LONGEST_LINE
from clusterapp.logs import child
from clusterapp.logs.child import EventSender
from clusterapp.logs.repeats import FIRST
from tests.unit.logs.child_logs import FACTS, ChildLogCase


class EventTests(ChildLogCase):
    """Events of twisted.logger."""

    def test_levels_and_namespaces(self) -> None:
        for level in ("info", "warn", "error", "critical"):
            getattr(self.log("shop.orders"), level)("open for {what}", what="business")
        self.assertEqual(
            self.lines(),
            [
                f"[shop.orders#{level}] open for business"
                for level in ("info", "warn", "error", "critical")
            ],
        )

    def test_failure(self) -> None:
        """Its traceback is a part of the event."""
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            self.log().failure("cannot divide")
        [event] = self.events()
        self.assertEqual((event.level, event.text), ("critical", "cannot divide"))
        self.assertTrue(event.traceback.startswith("Traceback"))
        self.assertIn("ZeroDivisionError", event.traceback.splitlines()[-1])
        self.assertEqual(event.pid, os.getpid())

    def test_chained_failure(self) -> None:
        """What an error was raised from is a part of the event, and those of groups."""
        error = RuntimeError("cannot ship")
        error.__cause__ = ExceptionGroup("g", [KeyError("x")])
        self.log().failure("oh", Failure(error))
        [event] = self.events()
        self.assertIn("| KeyError: 'x'\n", event.traceback)
        self.assertTrue(event.traceback.endswith("\nRuntimeError: cannot ship"))

    def test_failure_without_words(self) -> None:
        """The first line of an event says what it was."""
        self.log().failure("", Failure(ValueError("no")))
        [event] = self.events()
        self.assertIn("ValueError: no", event.text)

    def test_what_is_left_out(self) -> None:
        """Details for developers, empty events, and Twisted's ports that start."""
        self.log().debug("details")
        self.log().info("")
        self.log("twisted.internet.tcp.Port").info("starting on 8080")
        self.assertEqual(self.lines(), [])

    def test_trouble_of_twisted_is_kept(self) -> None:
        self.log("twisted.internet.base").warn("slow")
        self.assertEqual(self.lines(), ["[twisted.internet.base#warn] slow"])

    def test_request(self) -> None:
        """The event's own, or that of the code that logs; news have none."""
        self.log().error("a", request=SimpleNamespace(facts=FACTS))
        self.log().error("b", request="something of the application's")
        self.facts = FACTS
        self.log().error("c")
        self.log().info("d")
        found = [event.request for event in self.events()]
        self.assertEqual(found, [FACTS, None, FACTS, None])

    def test_repeated(self) -> None:
        self.patch(self.child_log._repeats, "_now", self.clock.seconds)
        for _ in range(FIRST + 7):
            self.log().error("no stock")
        self.assertEqual(len(self.events()), FIRST)
        self.clock.advance(10)
        self.assertEqual(
            self.lines(), ["[shop#error] … 7 times more in 10 s: no stock"]
        )

    def test_no_room(self) -> None:
        """Nothing is formatted in vain, and the loss is told."""

        class Never:
            def __str__(self) -> str:
                raise AssertionError("formatted in vain")

        self.pipe.lose()
        self.log().info("{never}", never=Never())
        print("printed")
        self.pipe._tell_lost()
        self.pipe._write()
        [line] = self.lines()
        self.assertIn("clusterapp.logs.child#warn] 3 lines of the log lost", line)

    def test_traceback_that_cannot_be_formatted(self) -> None:
        failure = Failure(ValueError("no"))
        self.patch(failure, "value", "of another process")
        self.patch(failure, "getTraceback", lambda: 1 / 0)
        self.log().failure("oh", failure)
        [event] = self.events()
        self.assertIn("cannot be formatted: ZeroDivisionError", event.traceback)


class StreamTests(ChildLogCase):
    """What Python code prints."""

    def test_prints(self) -> None:
        """Line by line, whatever the locale and the text; not by the descriptors."""
        print("10 € \udcff")
        print("oh\nno", file=sys.stderr)
        self.assertEqual(
            self.lines(),
            ["[stdout#info] 10 € \\udcff", "[stderr#warn] oh", "[stderr#warn] no"],
        )
        self.assertEqual(self.raw.getvalue(), b"")

    def test_descriptors(self) -> None:
        """Programs that are started write to the process's own."""
        self.assertEqual((sys.stdout.fileno(), sys.stderr.fileno()), (1, 2))
        self.assertFalse(sys.stdout.isatty())
        sys.stdout.buffer.write(b"binary\n")
        self.assertEqual(self.lines(), ["[stdout#info] binary"])

    def test_long_line(self) -> None:
        print("x" * (LONGEST_LINE + 7))
        [line] = self.lines()
        self.assertTrue(line.endswith("x… [7 bytes cut]"))

    def test_own_descriptors_are_in_utf_8(self) -> None:
        """What still writes to the first streams is read right by the master."""
        out, _ = self.streams
        print("10 €", file=out)
        self.assertEqual(self.raw.getvalue(), "10 €\n".encode())

    def test_end(self) -> None:
        """What has no newline yet, and what was counted, is sent in the end."""
        for _ in range(FIRST + 1):
            self.log().error("no stock")
        print("last words", end="")
        self.child_log.close()
        self.assertEqual(
            self.lines()[FIRST:],
            [
                "[shop#error] … 1 time more in 0 s: no stock",
                "[stdout#info] last words",
            ],
        )

    def test_streams_that_the_application_has_replaced(self) -> None:
        """The end sends what there is, whatever has become of them."""
        print("last words", end="")
        out, sys.stdout = sys.stdout, io.StringIO()
        out.flush()
        out.close()
        self.log().error("last event")
        self.child_log.close()
        self.assertEqual(
            self.lines(), ["[shop#error] last event", "[stdout#info] last words"]
        )

    def test_end_while_nobody_reads(self) -> None:
        """How much is lost is told by stderr, if that has room."""
        self.patch(self.pipe, "close", lambda _: 7)
        said: list[tuple[int, str]] = []
        self.patch(child, "_write_at_once", lambda *call: said.append(call))
        self.child_log.close()
        [(descriptor, line)] = said
        self.assertEqual(descriptor, 2)
        self.assertIn("7 lines of the log lost", line)

    def test_line_that_must_not_wait(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, writing)
        child._write_at_once(writing, "a")
        self.assertEqual(os.read(reading, 10), b"a\n")
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 4096)
        os.set_blocking(writing, True)
        child._write_at_once(writing, "it would block")
        os.close(reading)
        child._write_at_once(writing, "nobody reads")

    def test_forked_process(self) -> None:
        """It may end without a word: a flush is the last that is heard of it."""
        print("parent", end="", flush=True)
        self.assertEqual(self.lines(), [])
        self.patch(os, "getpid", lambda: 7)
        print("child", end="", flush=True)
        self.assertEqual(self.lines(), ["[stdout#info] parentchild"])


class SenderTests(SynchronousTestCase):
    """The observer that encodes events."""

    def test_events_that_say_nothing(self) -> None:
        self.assertIsNone(child.child_event_of({}, lambda: None))

    def test_interface(self) -> None:
        """Old events have neither level nor time."""
        event = child.child_event_of({"log_format": "a"}, lambda: None)
        assert event is not None
        self.assertEqual(event.level, "info")
        self.assertTrue(callable(EventSender))
