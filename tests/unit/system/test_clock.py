"""The clock of a reactor of our own."""

from time import monotonic
from typing import TYPE_CHECKING

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.epollreactor import EPollReactor
from twisted.logger import LogLevel
from twisted.python.runtime import seconds
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.system import clock
from clusterapp.system.clock import make_monotonic
from tests.unit.fakes import Log

if TYPE_CHECKING:
    from collections.abc import Callable


class ClockTests(SynchronousTestCase):
    """A reactor that goes by a time of day which the test sets."""

    def setUp(self) -> None:
        self.time = 1_700_000_000.0
        self.time_of_day: Callable[[], float] = lambda: self.time
        self.patch(clock, "wall_clock", self.time_of_day)
        self.reactor = EPollReactor()
        self.addCleanup(self.close)
        self.reactor.seconds = self.time_of_day
        self.called: list[str] = []

    def close(self) -> None:
        for each in self.reactor.removeAll():
            each.connectionLost(None)
        self.reactor.waker.connectionLost(None)
        self.reactor._poller.close()

    def jump(self, seconds: float) -> None:
        """Set the time of day while timers wait, and let those go that are over."""
        self.reactor.callLater(60, self.called.append, "in a minute")
        self.reactor.callLater(0, self.called.append, "now")
        self.reactor.runUntilCurrent()
        self.time += seconds
        self.reactor.runUntilCurrent()

    def test_what_twisted_does(self) -> None:
        """Without us, all timers are over at once."""
        self.jump(3600)
        self.assertEqual(self.called, ["now", "in a minute"])

    def test_set_forwards(self) -> None:
        make_monotonic(self.reactor)
        self.jump(3600)
        self.assertEqual(self.called, ["now"])

    def test_set_back(self) -> None:
        """The reactor sleeps no longer than until the next timer."""
        make_monotonic(self.reactor)
        self.jump(-3600)
        timeout = self.reactor.timeout()
        assert timeout is not None
        self.assertLessEqual(timeout, 60)

    def test_timers_that_are_there(self) -> None:
        """They keep their clock: on another one they would be over, or never be."""
        log = Log(self)
        self.reactor.callLater(60, self.called.append, "in a minute")
        make_monotonic(self.reactor)
        self.assertEqual(self.reactor.seconds(), self.time)
        self.assertEqual(len(log.lines(LogLevel.warn)), 1)

    def test_reactor_with_a_clock_of_its_own(self) -> None:
        """A program's may be anything, and is its own business."""
        self.reactor.seconds = own = lambda: 0.0
        make_monotonic(self.reactor)
        self.assertIs(self.reactor.seconds, own)

    def test_clocks_of_twisted(self) -> None:
        """What we take for the time of day is what its reactors go by."""
        for kind in (EPollReactor, AsyncioSelectorReactor):
            self.assertIs(kind.seconds, seconds)
        self.reactor.seconds = seconds
        self.patch(clock, "wall_clock", seconds)
        make_monotonic(self.reactor)
        self.assertIs(self.reactor.seconds, monotonic)
