"""The rate at which a counter grows."""

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from clusterapp.guards import guarded

#: Seconds between two samples of the counter, and the number of samples kept.
_INTERVAL = 1.0
_LOOKS = 10


class Rate:
    """
    The growth rate of a counter over the last seconds.

    :param clock: the reactor, for timers.
    :param count: returns the counter's value.
    """

    def __init__(self, clock: IReactorTime, count: Callable[[], int]) -> None:
        self._clock = clock
        self._count = count
        self._seen: deque[tuple[float, int]] = deque(maxlen=_LOOKS + 1)
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Start sampling."""
        self._look()

    def stop(self) -> None:
        """Stop sampling."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def per_second(self) -> float:
        """The average growth per second over the samples kept."""
        if not self._seen:
            return 0.0
        since, before = self._seen[0]
        seconds = self._clock.seconds() - since
        return (self._count() - before) / seconds if seconds > 0 else 0.0

    @guarded("measure the rate")
    def _look(self) -> None:
        self._seen.append((self._clock.seconds(), self._count()))
        self._timer = self._clock.callLater(_INTERVAL, self._look)
