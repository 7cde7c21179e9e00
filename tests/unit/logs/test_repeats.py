"""The rate limit of events that repeat themselves."""

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.logs.repeat_filter import RepeatFilter
from clusterapp.logs.repeats import FIRST, MOST_KEYS, WINDOW


def failed(error: Exception) -> Failure:
    """Make the failure of an exception that is raised always at this place."""
    try:
        raise error  # noqa: TRY301
    except Exception:  # noqa: BLE001
        return Failure()


class RepeatCase(SynchronousTestCase):
    """A filter on a clock that only the test moves."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.seen: list[LogEvent] = []
        self.filter = RepeatFilter(
            self.seen.append, self.clock.callLater, self.clock.seconds
        )

    def log(self, text: str, namespace: str = "shop", **more: Any) -> None:
        event = {"log_level": LogLevel.error, "log_namespace": namespace, **more}
        self.filter({"log_format": text, **event})

    @property
    def lines(self) -> list[str]:
        return [formatEvent(event) for event in self.seen]


class RepeatTests(RepeatCase):
    """What is logged, and what is counted."""

    def test_repeated_text(self) -> None:
        """The first are logged; of the others the number, when the window is over."""
        for _ in range(FIRST + 214):
            self.log("no stock")
        self.assertEqual(self.lines, ["no stock"] * FIRST)
        self.clock.advance(WINDOW)
        self.assertEqual(self.lines[FIRST:], ["… 214 times more in 10 s: no stock"])
        self.assertEqual(self.seen[-1]["log_level"], LogLevel.error)
        self.assertEqual(self.seen[-1]["log_namespace"], "shop")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_begins_anew(self) -> None:
        """Each window has its first events, so that an error that stays is seen."""
        for _ in range(2):
            for _ in range(FIRST + 1):
                self.log("no stock")
            self.clock.advance(WINDOW)
        self.assertEqual(
            self.lines,
            (["no stock"] * FIRST + ["… 1 time more in 10 s: no stock"]) * 2,
        )

    def test_told_soon(self) -> None:
        """A process that is killed within a window has told most of what it counted."""
        for second in range(11):
            for _ in range(FIRST + 1 if second == 0 else 2):
                self.log("no stock")
            self.clock.advance(1)
        self.assertEqual(
            self.lines[FIRST : FIRST + 4],
            [
                "… 1 time more in 1 s: no stock",
                "… 4 times more in 2 s: no stock",
                "… 6 times more in 3 s: no stock",
                "… 8 times more in 4 s: no stock",
            ],
        )
        self.assertEqual(self.lines[FIRST + 4 :], ["no stock"] * 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_told_when_there_is_something(self) -> None:
        """What begins late in a window is told within the second that is due."""
        self.log("no stock")
        self.clock.advance(4)
        for _ in range(FIRST):
            self.log("no stock")
        self.clock.advance(1)
        self.assertEqual(self.lines[FIRST:], ["… 1 time more in 5 s: no stock"])
        self.clock.advance(5)
        self.assertEqual(len(self.lines), FIRST + 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_place_of_a_traceback(self) -> None:
        """What an exception says may be the client's: the place in the code counts."""
        for n in range(100):
            self.log("failed {n}", n=n, log_failure=failed(ValueError(n)))
        self.assertEqual(len(self.seen), FIRST)
        self.clock.advance(WINDOW)
        self.assertEqual(self.lines[-1], "… 95 times more in 10 s: failed 0")

    def test_other_places(self) -> None:
        """Another exception, or another place, is another event."""
        for _ in range(FIRST + 1):
            self.log("failed", log_failure=failed(ValueError()))
        self.log("failed", log_failure=failed(KeyError()))
        self.log("failed", log_failure=Failure(ValueError()))
        self.assertEqual(len(self.seen), FIRST + 2)

    def test_templates_of_the_server(self) -> None:
        """What a client puts into a line of ours does not make it another line."""
        for n in range(100):
            self.log(
                "{whom} failed at {n}",
                "clusterapp.worker.proxy.reverse_proxy",
                whom="a",
                n=n,
            )
        self.assertEqual(len(self.seen), FIRST)

    def test_information_of_twisted_web(self) -> None:
        """As that a resource answers HEAD with a body, which clients can ask for."""
        for n in range(100):
            self.log("HEAD {n}", "twisted.web.server", n=n, log_level=LogLevel.info)
        self.assertEqual(len(self.seen), FIRST)

    def test_not_limited(self) -> None:
        """News, lines that differ, and what the master says of its workers."""
        for n in range(20):
            self.log("order placed", log_level=LogLevel.info)
            self.log("{n} left", n=n)
            self.log("{label} left", "clusterapp.master.workers.child_slot", label=n)
            self.log("said", from_child=True)
            self.log("{path} is over", "clusterapp.http.tls.certificates", path=n)
        self.assertEqual(len(self.seen), 100)

    def test_bounded_memory(self) -> None:
        """Whatever clients send; what was counted for a key that goes is logged."""
        for _ in range(FIRST + 3):
            self.log("the first")
        for n in range(MOST_KEYS * 2):
            self.log(f"text {n}" + "x" * 1000)
        self.assertLessEqual(len(self.filter._limit._windows), MOST_KEYS)
        self.clock.advance(WINDOW)
        self.assertIn("… 3 times more in 0 s: the first", self.lines)

    def test_no_event_is_kept(self) -> None:
        """It may refer to requests and their bodies."""
        failure = failed(ValueError())
        for _ in range(FIRST + 1):
            self.log("failed", log_failure=failure)
        window = next(iter(self.filter._limit._windows.values()))
        kept = [getattr(window, name) for name in window.__slots__]
        self.assertTrue(
            all(
                isinstance(each, (str, int, float)) or each is LogLevel.error
                for each in kept
            )
        )

    def test_the_end_of_the_process(self) -> None:
        for _ in range(FIRST + 2):
            self.log("no stock")
        self.clock.advance(3)
        self.filter.flush()
        self.assertEqual(self.lines[-1], "… 2 times more in 3 s: no stock")
        self.filter.flush()
        self.assertEqual(len(self.seen), FIRST + 1)
