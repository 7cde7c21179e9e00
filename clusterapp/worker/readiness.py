"""Waiting, for a bounded time, for the core to be there (in a worker)."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from clusterapp.errors import CoreUnreachableError


class Readiness:
    """
    Whether the core takes requests, and who waits until it does.

    :param clock: keeps the time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        #: Whether it does.
        self.ready = False
        self._waiting: set[Deferred[None]] = set()

    def set(self, ready: bool) -> None:
        """Know whether the core takes requests from now on."""
        self.ready = ready
        if ready:
            for waiting in list(self._waiting):
                waiting.callback(None)

    def wait(self, until: float) -> Deferred[None]:
        """
        Wait until the core takes requests.

        :param until: the latest time to wait for, on the clock.
        :return: fires with `None`, or fails with `CoreUnreachableError`.
        """
        if self.ready:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.add(waiting)

        def forget(result: object) -> object:
            self._waiting.discard(waiting)
            return result

        waiting.addBoth(forget)
        left = max(0.0, until - self._clock.seconds())
        waiting.addTimeout(left, self._clock, onTimeoutCancel=_not_ready)
        return waiting


def _not_ready(_result: object, _seconds: float) -> None:
    raise CoreUnreachableError("the core is not ready")
