"""How long requests wait for a core that does nothing (in a worker)."""

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from clusterapp.guards import guarded


class Waiting(Protocol):
    """Somebody who waits."""

    def expire(self) -> None:
        """Know that the time is over."""


class Patience:
    """
    Tells each of those who wait when nothing has moved for a time.

    :param clock: keeps the time.
    :param seconds: how long that is, for all of them.
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self.seconds = seconds
        self._clock = clock
        #: Since when each has waited; the one that has waited longest comes first.
        self._since: dict[Waiting, float] = {}
        self._sweep: IDelayedCall | None = None

    def begin(self, waiting: Waiting) -> None:
        """Wait with somebody from now on."""
        self._since[waiting] = self._clock.seconds()
        # One timer for all: a request that is answered in time touches none.
        if self._sweep is None:
            self._sweep = self._clock.callLater(self.seconds, self._look)

    def restart(self, waiting: Waiting) -> None:
        """Know that something has moved; does nothing for who does not wait."""
        if self._since.pop(waiting, None) is not None:
            self._since[waiting] = self._clock.seconds()

    def end(self, waiting: Waiting) -> None:
        """Wait with somebody no longer."""
        self._since.pop(waiting, None)

    def stop(self) -> None:
        """Stop the clock: nobody is told any more."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    @guarded("look for what takes too long")
    def _look(self) -> None:
        self._sweep = None
        now = self._clock.seconds()
        while self._since:
            waiting, since = next(iter(self._since.items()))
            left = since + self.seconds - now
            if left > 0:
                self._sweep = self._clock.callLater(left, self._look)
                return
            del self._since[waiting]
            guarded("end what takes too long")(waiting.expire)()
