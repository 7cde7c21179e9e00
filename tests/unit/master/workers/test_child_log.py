"""What a child logs and prints, as events of the master."""

from twisted.logger import LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.log_pipe.log_events import LOG_FD, ChildEvent, RequestFacts
from clusterapp.channel.log_pipe.log_records import records_of
from clusterapp.master.workers.child_log import ChildLogWriter
from tests.unit.fakes import Log
from tests.unit.master.workers.test_child_slot import SlotCase

FACTS = RequestFacts(method="GET", path="/a", request_id="r-1")


class ChildLogTests(SynchronousTestCase):
    """The log of worker 3, generation 7."""

    def setUp(self) -> None:
        self.seen = Log(self).events
        self.log = ChildLogWriter("worker 3", 3, 7)

    def text(self, **fields: object) -> str:
        """Log an event; return its text."""
        usual = {"time": 5.0, "level": "error", "namespace": "shop", "text": "no {}"}
        self.log.logged(ChildEvent(**{**usual, **fields}))  # type: ignore[arg-type]
        return formatEvent(self.seen[-1])

    def test_event(self) -> None:
        """Level, namespace, time and request are the event's own."""
        text = self.text(request=FACTS, traceback="Traceback\n  last", pid=42)
        self.assertEqual(
            text,
            "[worker 3 generation 7] GET /a (request id r-1): no {}\nTraceback\n  last",
        )
        event = self.seen[-1]
        expected = {
            "log_level": LogLevel.error,
            "log_namespace": "shop",
            "log_time": 5.0,
            "slot": 3,
            "generation": 7,
            "pid": 42,
            "request": FACTS,
            "traceback": "Traceback\n  last",
        }
        self.assertEqual({name: event[name] for name in expected}, expected)

    def test_request_is_named_once(self) -> None:
        text = self.text(request=FACTS, text=f"failed at {FACTS}")
        self.assertEqual(text.count("GET /a"), 1)

    def test_escaped(self) -> None:
        """Log observers get text with control characters escaped."""
        text = self.text(text="\x1b[2J\r\0", namespace="a]\nb#", traceback="\x9b")
        self.assertEqual(text, "[worker 3 generation 7] \\x1b[2J\\r\\x00\n\\x9b")
        self.assertEqual(self.seen[-1]["log_namespace"], r"a\x5d\nb\x23")
        self.log.printed("\x1b]0;title\x07", error=True)
        self.assertEqual(
            formatEvent(self.seen[-1]), "[worker 3 generation 7] \\x1b]0;title\\x07"
        )

    def test_unknown_level(self) -> None:
        """Another version of the child, or the application itself, has written it."""
        self.text(level="loud")
        self.assertEqual(self.seen[-1]["log_level"], LogLevel.info)

    def test_lines(self) -> None:
        """What is printed is news; what comes by stderr is a warning."""
        for error, level, stream in (
            (False, LogLevel.info, "stdout"),
            (True, LogLevel.warn, "stderr"),
        ):
            self.log.printed("a {line}", error=error)
            event = self.seen[-1]
            self.assertEqual(formatEvent(event), "[worker 3 generation 7] a {line}")
            self.assertEqual(
                (event["log_level"], event["log_namespace"]), (level, stream)
            )


class SlotTests(SlotCase):
    """The slot of a process, which hears of its events by a pipe."""

    def test_event(self) -> None:
        """It is no part of an answer to the master's question, unlike raw stderr."""
        child = self.running()
        asked = self.slot.stacks()
        event = ChildEvent(time=5.0, level="error", namespace="shop", text="no stock")
        [record] = records_of(7, event.to_bytes())
        child.prints(record, LOG_FD)
        self.assertIn("[worker 3 generation 7] no stock", self.log.text())
        child.prints(b"end of the inspection\n", fd=2)
        self.assertEqual(self.successResultOf(asked), "")
