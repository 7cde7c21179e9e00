"""What a child logs and prints, and what of it goes to the master."""

import contextlib
import io
import logging
import os
import sys
import threading
import warnings
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogBeginner, Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.lines import LONGEST_LINE
from clusterapp.channel.log_events import ChildEvent, RequestFacts
from clusterapp.channel.log_records import RecordReader
from clusterapp.logs import captured_logs as sources
from clusterapp.logs import child
from clusterapp.logs.child import ChildLog, EventSender
from clusterapp.logs.event_pipe import EventPipe
from clusterapp.logs.repeats import FIRST

FACTS = RequestFacts(method="GET", path="/a")


class ChildLogCase(SynchronousTestCase):
    """A child's log that has begun, without the process."""

    def setUp(self) -> None:
        self.publisher = LogPublisher()
        beginner = LogBeginner(
            self.publisher, io.StringIO(), sys, __import__("warnings")
        )
        self.patch(child, "globalLogBeginner", beginner)
        for name in ("_threads", "_warnings", "_unraisable", "_uncaught"):
            logger = Logger(getattr(sources, name).namespace, observer=self.publisher)
            self.patch(sources, name, logger)
        self.patch(sources, "Logger", self.log)
        # What it changes in the process is put back.
        for owner, name in (
            (sys, "stdout"),
            (sys, "stderr"),
            (sys, "excepthook"),
            (sys, "unraisablehook"),
            (threading, "excepthook"),
            (warnings, "showwarning"),
            (logging, "lastResort"),
        ):
            self.patch(owner, name, getattr(owner, name))
        self.raw = io.BytesIO()
        for name in ("stdout", "stderr"):
            stream = io.TextIOWrapper(self.raw, "ascii", write_through=False)
            self.addCleanup(stream.detach)
            self.patch(sys, name, stream)
        self.streams = sys.stdout, sys.stderr
        reading, self.writing = os.pipe()
        os.set_blocking(reading, False)
        self.reading = reading
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, self.writing)
        self.clock = Clock()
        self.facts: RequestFacts | None = None
        self.pipe = EventPipe(self.writing, child._lost_notice)
        self.child_log = ChildLog(self.pipe, self.clock.callLater, lambda: self.facts)
        self.child_log.begin()

    def log(self, namespace: str = "shop") -> Logger:
        return Logger(namespace, observer=self.publisher)

    def events(self) -> list[ChildEvent]:
        """Return what the master is sent."""
        try:
            received = os.read(self.reading, 1_000_000)
        except BlockingIOError:
            return []
        return [ChildEvent.from_bytes(each) for each in RecordReader().feed(received)]

    def lines(self) -> list[str]:
        return [f"[{e.namespace}#{e.level}] {e.text}" for e in self.events()]


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


class SourceTests(ChildLogCase):
    """What is logged in other ways."""

    def logger(self) -> logging.Logger:
        """Make a logger of `logging`, without what pytest has configured."""
        root = logging.getLogger()
        self.patch(root, "handlers", [])
        self.addCleanup(root.setLevel, root.level)
        root.setLevel(logging.WARNING)
        logger = logging.getLogger("shop.stock")
        self.addCleanup(logger.handlers.clear)
        return logger

    def test_logging(self) -> None:
        """Levels, names and tracebacks; below the root's level nothing."""
        logger = self.logger()
        logger.info("not seen")
        logger.warning("%d left", 3)
        logger.critical("gone", stack_info=True)
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            logger.exception("cannot ship")
        low, gone, ship = self.events()
        self.assertEqual(
            (low.level, low.namespace, low.text), ("warn", "shop.stock", "3 left")
        )
        self.assertEqual(gone.level, "critical")
        self.assertIn("Stack (most recent call last)", gone.text)
        self.assertEqual((ship.level, ship.text), ("error", "cannot ship"))
        self.assertIn("ZeroDivisionError", ship.traceback)

    def test_logging_that_is_wrong(self) -> None:
        """A record that cannot be formatted does not fail the caller."""
        self.patch(logging, "raiseExceptions", False)
        self.logger().warning("%d", "no number")
        self.assertEqual(self.lines(), [])

    def test_basic_config(self) -> None:
        """It does what the application expects, and the levels are kept."""
        logger = self.logger()
        logging.basicConfig(level=logging.INFO)
        logger.info("open")
        self.assertEqual(self.lines(), ["[shop.stock#info] open"])

    def test_first_call_of_the_root(self) -> None:
        """Python makes a handler by then; each record is one event all the same."""
        logger = self.logger()
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            logging.exception("no %s", "stock")  # noqa: LOG015 - as many do
            self.assertEqual(len(logging.getLogger().handlers), 1)
            self.facts = FACTS
            logger.warning("few", exc_info=True)
        root, named = self.events()
        self.assertEqual(
            (root.namespace, root.level, root.text), ("root", "error", "no stock")
        )
        self.assertEqual(
            (named.namespace, named.level, named.text), ("shop.stock", "warn", "few")
        )
        self.assertEqual((root.request, named.request), (None, FACTS))
        for event in (root, named):
            self.assertRegex(event.traceback, r"(?s)^Traceback.*ZeroDivisionError")

    def test_own_format(self) -> None:
        """It is kept, as are the handler's level and handlers for other streams."""
        logger = self.logger()
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("<%(levelname)s> %(message)s"))
        handler.setLevel(logging.ERROR)
        logger.addHandler(handler)
        other = logging.StreamHandler(io.StringIO())
        logger.addHandler(other)
        logger.warning("less")
        logger.error("more", exc_info=ValueError("no"))
        [event] = self.events()
        self.assertEqual((event.namespace, event.level), ("shop.stock", "error"))
        self.assertEqual(event.text, "<ERROR> more\nValueError: no")
        self.assertEqual(event.traceback, "")
        self.assertIn("less", other.stream.getvalue())

    def test_own_handler(self) -> None:
        """What it makes of records is kept as well."""

        class Loud(logging.StreamHandler[Any]):
            def format(self, record: logging.LogRecord) -> str:
                return super().format(record).upper()

        logger = self.logger()
        logger.addHandler(Loud())
        logger.warning("few")
        self.assertEqual(self.lines(), ["[shop.stock#warn] FEW"])

    def test_record_behind_text(self) -> None:
        """What was printed before it without a newline stays a line of its own."""
        logger = self.logger()
        logger.addHandler(logging.StreamHandler())
        print("one ", end="", file=sys.stderr)
        logger.warning("few")
        print("two", file=sys.stderr)
        self.assertEqual(
            self.lines(), ["[shop.stock#warn] few", "[stderr#warn] one two"]
        )

    def test_record_in_another_encoding(self) -> None:
        """A stream of the application's own, on the same bytes, has lines."""
        logger = self.logger()
        stream = io.TextIOWrapper(sys.stderr.buffer, "utf-16-le", line_buffering=True)
        self.addCleanup(stream.detach)
        logger.addHandler(logging.StreamHandler(stream))
        logger.warning("few")
        [line] = self.lines()
        self.assertTrue(line.startswith("[stderr#warn] f"), line)

    def test_debug_level(self) -> None:
        self.assertEqual(sources.level_of(5).name, "debug")

    def test_warnings(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            self.patch(warnings, "showwarning", sources._warned)
            warnings.warn("old style", UserWarning, stacklevel=1)
        [line] = self.lines()
        self.assertRegex(
            line, r"\[py.warnings#warn\] .*test_logs_child.py:\d+: UserWarning: old"
        )

    def test_warning_for_a_file(self) -> None:
        out = io.StringIO()
        sources._warned("old", UserWarning, "a.py", 7, out)
        self.assertIn("a.py:7: UserWarning: old", out.getvalue())
        self.assertEqual(self.lines(), [])

    def test_thread(self) -> None:
        def fail() -> None:
            raise ValueError("no")

        thread = threading.Thread(target=fail, name="spool")
        thread.start()
        thread.join()
        [event] = self.events()
        self.assertEqual((event.level, event.namespace), ("critical", "threading"))
        self.assertEqual(event.text, "uncaught exception in the thread spool")
        self.assertIn("ValueError: no", event.traceback)
        thread = threading.Thread(target=sys.exit)
        thread.start()
        thread.join()
        self.assertEqual(self.lines(), [])

    def test_finalizer(self) -> None:
        """The request that is under way has nothing to do with it."""
        self.facts = FACTS
        for shown in (repr, lambda _: 1 / 0):

            class Bad:
                def __repr__(self, shown: Any = shown) -> str:
                    return f"bad {shown(7)}"

            sys.unraisablehook(
                SimpleNamespace(
                    exc_type=OSError,
                    exc_value=OSError("no"),
                    exc_traceback=None,
                    err_msg=None,
                    object=Bad(),
                )
            )
            [event] = self.events()
            self.assertEqual((event.level, event.request), ("error", None))
            self.assertIn("exception ignored in: ", event.text)
            self.assertIn("OSError: no", event.traceback)

    def test_uncaught(self) -> None:
        error = ValueError("no")
        sys.excepthook(ValueError, error, None)
        [event] = self.events()
        self.assertEqual((event.level, event.namespace), ("critical", "sys.excepthook"))
        self.assertIn("ValueError: no", event.traceback)


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
