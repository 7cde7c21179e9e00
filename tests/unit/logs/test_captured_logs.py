"""What is logged by other means than twisted.logger: logging, warnings, exceptions."""

import io
import logging
import sys
import threading
import warnings
from types import SimpleNamespace
from typing import Any

from clusterapp.logs import captured_logs as sources
from tests.unit.logs.child_logs import FACTS, ChildLogCase


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
            line,
            r"\[py.warnings#warn\] .*test_captured_logs.py:\d+: UserWarning: old",
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
