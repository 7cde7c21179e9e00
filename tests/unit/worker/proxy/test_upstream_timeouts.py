"""The timeout of a silent core: many waiting requests, and one timer."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.worker.proxy.upstream_timeouts import UpstreamTimeout


class Waiting:
    """A waiting request, and the times of its timeouts."""

    def __init__(self, clock: Clock) -> None:
        self.expired: list[float] = []
        self._clock = clock

    def expire(self) -> None:
        """Note when."""
        self.expired.append(self._clock.seconds())


class PatienceTests(SynchronousTestCase):
    """Ten seconds of timeout, on a clock that only the test moves."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.timeout = UpstreamTimeout(self.clock, 10.0)

    def begun(self) -> Waiting:
        """Start the timeout of a new request."""
        waiting = Waiting(self.clock)
        self.timeout.begin(waiting)
        return waiting

    def test_each_has_its_own_time(self) -> None:
        """Each request expires once, and exactly on time."""
        first = self.begun()
        self.clock.advance(4)
        second = self.begun()
        self.clock.pump([5.9, 0.1, 3.9, 0.1, 100])
        self.assertEqual((first.expired, second.expired), ([10.0], [14.0]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_there_is_one_timer(self) -> None:
        """However many wait, and however often."""
        for _ in range(100):
            self.timeout.end(self.begun())
            self.begun()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_progress_gives_new_time(self) -> None:
        """A request that makes progress gets the whole timeout again."""
        moving, still = self.begun(), self.begun()
        for _ in range(3):
            self.clock.advance(5)
            self.timeout.restart(moving)
        self.assertEqual((moving.expired, still.expired), ([], [10.0]))
        self.clock.pump([9.9, 0.1])
        self.assertEqual(moving.expired, [25.0])

    def test_answered(self) -> None:
        """A request that has ended does not expire, not even after late progress."""
        answered, waiting = self.begun(), self.begun()
        self.timeout.end(answered)
        self.timeout.restart(answered)
        self.timeout.end(answered)
        self.clock.advance(10)
        self.assertEqual((answered.expired, waiting.expired), ([], [10.0]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_next_one(self) -> None:
        """The timer starts again after a time without waiting requests."""
        self.timeout.end(self.begun())
        self.clock.advance(100)
        waiting = self.begun()
        self.clock.pump([9.9, 0.1])
        self.assertEqual(waiting.expired, [110.0])

    def test_who_ends_another(self) -> None:
        """One that gives up may take others along."""
        timeout = self.timeout
        last = Waiting(self.clock)

        class First(Waiting):
            def expire(self) -> None:
                super().expire()
                timeout.end(last)

        first = First(self.clock)
        timeout.begin(first)
        timeout.begin(last)
        self.clock.advance(10)
        self.assertEqual((first.expired, last.expired), ([10.0], []))

    def test_stop(self) -> None:
        """No request expires after a stop; a second stop does no harm."""
        waiting = self.begun()
        self.timeout.stop()
        self.timeout.stop()
        self.clock.advance(100)
        self.assertEqual(waiting.expired, [])
