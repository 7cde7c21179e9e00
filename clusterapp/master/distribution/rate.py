"""How fast something that is counted grows."""

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from clusterapp.guards import guarded

#: Seconds between two looks at the count, and how many of them are remembered.
_INTERVAL = 1.0
_LOOKS = 10


class Rate:
    """
    The growth of a count over the last seconds.

    :param clock: keeps the time.
    :param count: tells the count.
    """

    def __init__(self, clock: IReactorTime, count: Callable[[], int]) -> None:
        self._clock = clock
        self._count = count
        self._seen: deque[tuple[float, int]] = deque(maxlen=_LOOKS + 1)
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Look at the count from now on."""
        self._look()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def per_second(self) -> float:
        """By how much it has grown in each of the last seconds, on average."""
        if not self._seen:
            return 0.0
        since, before = self._seen[0]
        seconds = self._clock.seconds() - since
        return (self._count() - before) / seconds if seconds > 0 else 0.0

    @guarded("count")
    def _look(self) -> None:
        self._seen.append((self._clock.seconds(), self._count()))
        self._timer = self._clock.callLater(_INTERVAL, self._look)
