"""The log of the program, as twistd writes it."""

import io
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.application.service import Application
from twisted.internet.task import Clock
from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogPublisher,
    formatEvent,
)
from twisted.python.failure import Failure
from twisted.python.log import textFromEventDict
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from clusterapp.channel.log_pipe.log_events import RequestFacts
from clusterapp.logs.program import (
    ProgramLog,
    capture_streams,
    is_journal,
    line_observer,
    line_of,
    log_with_twistd,
)
from clusterapp.logs.repeats import FIRST
from tests.unit.fakes import Log

FACTS = RequestFacts(method="GET", path="/a")


class ProgramLogTests(SynchronousTestCase):
    """What is written, to a stream of a certain encoding."""

    def setUp(self) -> None:
        self.raw = io.BytesIO()
        self.facts: RequestFacts | None = None
        self.environ: dict[str, str] = {}

    def begin(self, encoding: str = "utf-8") -> Logger:
        stream = io.TextIOWrapper(self.raw, encoding)
        self.addCleanup(stream.detach)
        self.log = ProgramLog(
            line_observer(stream, self.environ),
            Clock().callLater,
            lambda: self.facts,
        )
        verifyObject(ILogObserver, self.log)
        return Logger("shop", observer=LogPublisher(self.log))

    def lines(self) -> list[str]:
        text = self.raw.getvalue().decode()
        return [line.partition(" ")[2] for line in text.splitlines()]

    def test_encoding_that_lacks_a_character(self) -> None:
        """It is escaped; the line would be lost without a word."""
        self.begin("iso8859-1").info("café → München")
        found = self.raw.getvalue().decode("iso8859-1")
        self.assertTrue(found.endswith("[shop#info] café \\u2192 München\n"))

    def test_control_characters(self) -> None:
        """No text steers the terminal, and none looks like an event of its own."""
        self.begin().info("\x1b[2J\r\udcff\n2026-01-01T00:00:00+0000 [fake#info] hi")
        self.assertEqual(
            self.raw.getvalue().decode().splitlines()[1],
            "\t2026-01-01T00:00:00+0000 [fake#info] hi",
        )
        self.assertEqual(self.lines()[0], "[shop#info] \\x1b[2J\\r\\udcff")

    def test_names(self) -> None:
        """A logger's name may be text of a client, and looks like nothing else."""
        self.begin()
        forged = "/a] [x#info] [worker 1 generation 1] ok\n2026-01-01T00:00:00+0000 [b"
        Logger(forged, observer=LogPublisher(self.log)).warn("hi")
        self.log({"log_system": "a]\n[b#info", "log_format": "hi"})
        name = r"/a\x5d \x5bx\x23info\x5d \x5bworker 1 generation 1\x5d ok"
        self.assertEqual(
            self.lines(),
            [
                rf"[{name}\n2026-01-01T00:00:00+0000 \x5bb#warn] hi",
                r"[a\x5d\n\x5bb\x23info] hi",
            ],
        )

    def test_name_of_repeated_events(self) -> None:
        """The count has the same name, and what is kept of it is bounded."""
        self.begin()
        log = Logger("a#b" + "x" * 10_000, observer=LogPublisher(self.log))
        for _ in range(FIRST + 3):
            log.error("no stock")
        self.log.flush()
        last = self.lines()[-1]
        self.assertTrue(last.startswith(r"[a\x23bx"), last[:20])
        self.assertLess(len(last), 300)

    def test_new_master(self) -> None:
        """The old one writes to the same place, and still serves."""
        log = self.begin()
        self.log.upgrading = True
        log.info("starting {workers}", workers="1 worker")
        self.facts = FACTS
        log.failure("no {stock}", Failure(ZeroDivisionError()), stock="{stock}")
        self.facts = None
        self.log({"log_level": LogLevel.info, "log_format": None})
        self.log.upgrading = False
        log.info("ready")
        whole = [line for line in self.lines() if "#" in line]
        self.assertEqual(
            whole,
            [
                "[shop#info] [upgrade] starting 1 worker",
                "[shop#critical] [upgrade] GET /a: no {stock}",
                "[shop#info] ready",
            ],
        )

    def test_repeated(self) -> None:
        log = self.begin()
        for _ in range(FIRST + 3):
            log.error("no stock")
        self.assertEqual(self.lines(), ["[shop#error] no stock"] * FIRST)
        self.log.flush()
        self.assertEqual(
            self.lines()[-1], "[shop#error] … 3 times more in 0 s: no stock"
        )

    def test_request(self) -> None:
        """A core in the master serves it; the code that logs does not name it."""
        log = self.begin()
        self.facts = FACTS
        log.error("{n} left", n=3)
        log.error("{request} failed", request=FACTS)
        log.info("news")
        self.assertEqual(
            self.lines(),
            [
                "[shop#error] GET /a: 3 left",
                "[shop#error] GET /a failed",
                "[shop#info] news",
            ],
        )

    def test_chained_failure(self) -> None:
        """What an error was raised from is logged, and the parts of groups are."""
        error = RuntimeError("cannot {ship}")
        error.__cause__ = ExceptionGroup("g", [KeyError("x")])
        self.begin().failure("oh {what}", Failure(error), what="no")
        lines = self.raw.getvalue().decode().splitlines()
        self.assertTrue(lines[0].endswith("[shop#critical] oh no"))
        self.assertIn("\t    | KeyError: 'x'", lines)
        self.assertEqual(lines[-1], "\tRuntimeError: cannot {ship}")

    def test_traceback_ends_with_its_last_line(self) -> None:
        self.begin().failure("oh", Failure(ValueError("no")))
        self.assertTrue(self.raw.getvalue().endswith(b"ValueError: no\n"))

    def test_syslog(self) -> None:
        """Twisted's observer for it is of the old kind."""
        seen: list[dict[str, Any]] = []
        log = ProgramLog(seen.append, Clock().callLater, lambda: None)
        Logger("shop", observer=LogPublisher(log)).error("no {what}", what="stock")
        self.assertEqual(textFromEventDict(seen[0]), "no stock")

    def test_escaped_for_syslog(self) -> None:
        """A NUL would end the line for syslog(3), and Python refuses it."""
        seen: list[dict[str, Any]] = []
        log = ProgramLog(seen.append, Clock().callLater, lambda: None)
        logger = Logger("shop", observer=LogPublisher(log))
        logger.error("no {what}", what="\0\x1b\nstock")
        logger.failure("no \0", Failure(ValueError("\x1b")))
        texts = [textFromEventDict(each) or "" for each in seen]
        self.assertEqual(texts[0], "no \\x00\\x1b\nstock")
        self.assertEqual(texts[1], "no \\x00\nValueError: \\x1b\n")

    def test_chained_failure_for_syslog(self) -> None:
        """It is an error there, with what it was raised from."""
        seen: list[dict[str, Any]] = []
        log = ProgramLog(seen.append, Clock().callLater, lambda: None)
        error = RuntimeError("cannot ship")
        error.__cause__ = KeyError("x")
        Logger("shop", observer=LogPublisher(log)).failure("oh", Failure(error))
        text = textFromEventDict(seen[0]) or ""
        self.assertTrue(text.startswith("oh\nKeyError: 'x'\n\nThe above"), text)
        self.assertTrue(text.endswith("RuntimeError: cannot ship\n"), text)
        self.assertEqual(seen[0]["isError"], 1)


class JournalTests(SynchronousTestCase):
    """Priorities of lines, for systemd's journal (sd-daemon(3))."""

    def line(self, level: LogLevel | None, text: str) -> str | None:
        event: LogEvent = {"log_format": "{text}", "text": text, "log_level": level}
        return line_of(event, journal=True)

    def test_priorities(self) -> None:
        for level, priority in (
            (LogLevel.debug, 7),
            (LogLevel.info, 6),
            (LogLevel.warn, 4),
            (LogLevel.error, 3),
            (LogLevel.critical, 2),
            (None, 6),
        ):
            line = self.line(level, "a") or ""
            self.assertTrue(line.startswith(f"<{priority}>- [-#"), line)

    def test_every_line_has_one(self) -> None:
        """The journal takes each for an entry, a traceback's as well."""
        first, second, last = (self.line(LogLevel.error, "a\nb") or "").split("\n")
        self.assertTrue(first.startswith("<3>- [-#error] a"))
        self.assertEqual((second, last), ("<3>\tb", ""))

    def test_nothing(self) -> None:
        self.assertIsNone(line_of({}, journal=True))

    def test_what_is_the_journal(self) -> None:
        """What has the device and inode that systemd names."""
        reading, writing = os.pipe()
        found = os.fstat(writing)
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        self.assertTrue(is_journal(writing, environ))
        self.assertFalse(is_journal(writing, {}))
        os.close(reading)
        os.close(writing)
        self.assertFalse(is_journal(writing, environ))

    def test_log_on_stdout_that_is_the_journal(self) -> None:
        found = os.fstat(1)
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        stream = io.StringIO()
        self.patch(sys, "stdout", stream)
        log = ProgramLog(
            line_observer(stream, environ), Clock().callLater, lambda: None
        )
        Logger("shop", observer=LogPublisher(log)).error("no")
        self.assertTrue(stream.getvalue().startswith("<3>"))


class TwistdTests(SynchronousTestCase):
    """Where the log is written: what twistd's options say."""

    def attach(self, application: object, **twistd: Any) -> ProgramLog | None:
        return log_with_twistd(application, twistd, Clock().callLater, lambda: None)

    def test_log_file(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / "log"
        application = Application("shop")
        # It has no rotation of twistd's then.
        self.patch(__import__("signal"), "getsignal", lambda _: 1)
        log = self.attach(application, nodaemon=True, logfile=str(path))
        assert log is not None
        self.addCleanup(log._observer._outFile.close)
        self.assertIs(application.getComponent(ILogObserver), log)
        Logger("shop", observer=LogPublisher(log)).error("a\x1b")
        self.assertTrue(path.read_text("utf-8").endswith("[shop#error] a\\x1b\n"))

    def test_logs_of_others(self) -> None:
        """A logger that was chosen, twist, and programs that embed the cluster."""
        application = Application("shop")
        self.assertIsNone(self.attach(application, nodaemon=True, logger=print))
        self.assertIsNone(self.attach(application))
        self.assertIsNone(self.attach(object(), nodaemon=True))
        self.assertIsNone(application.getComponent(ILogObserver, None))


class StreamTests(SynchronousTestCase):
    """What the master prints, and a core in it."""

    def test_events(self) -> None:
        """They are those of twistd, but for records of `logging`."""
        for name in ("stdout", "stderr"):
            self.patch(sys, name, None)
        log = Log(self)
        capture_streams()
        logger = logging.getLogger("shop.master")
        self.addCleanup(logger.handlers.clear)
        logger.addHandler(logging.StreamHandler())
        print("{open}")
        print("oh", file=sys.stderr)
        logger.warning("few", exc_info=ValueError("no"))
        self.assertEqual(
            [
                (event["log_namespace"], event["log_level"], formatEvent(event))
                for event in log.events
            ],
            [
                ("stdout", LogLevel.info, "{open}"),
                ("stderr", LogLevel.error, "oh"),
                ("shop.master", LogLevel.warn, "few"),
            ],
        )
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
