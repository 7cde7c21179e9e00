"""How fast something that is counted grows."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.master.distribution.rate import Rate


class RateTests(SynchronousTestCase):
    """A count, on a clock that only the test moves."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.count = 100
        self.rate = Rate(self.clock, lambda: self.count)
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))
        self.addCleanup(self.rate.stop)

    def grow(self, *steps: int) -> None:
        """Increase the count by each step, and advance the clock by a second each."""
        for step in steps:
            self.count += step
            self.clock.advance(1)

    def test_before_the_start(self) -> None:
        self.assertEqual(self.rate.per_second, 0.0)

    def test_at_the_start(self) -> None:
        """What was there before counts as nothing."""
        self.rate.start()
        self.assertEqual(self.rate.per_second, 0.0)

    def test_average(self) -> None:
        self.rate.start()
        self.grow(10, 20)
        self.assertEqual(self.rate.per_second, 15.0)

    def test_within_a_second(self) -> None:
        self.rate.start()
        self.count += 10
        self.clock.advance(0.5)
        self.assertEqual(self.rate.per_second, 20.0)

    def test_what_was_long_ago_is_forgotten(self) -> None:
        self.rate.start()
        self.grow(1000, *[10] * 10)
        self.assertEqual(self.rate.per_second, 10.0)
        self.grow(*[0] * 10)
        self.assertEqual(self.rate.per_second, 0.0)

    def test_stop_twice(self) -> None:
        self.rate.start()
        self.rate.stop()
        self.rate.stop()
