"""The readiness of the core, and requests that wait for it (in a worker)."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from clusterapp.errors import CoreUnreachableError


class Readiness:
    """
    Whether the core is ready, and the requests that wait until it is.

    :param clock: the reactor's clock.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        #: Whether the core accepts requests.
        self.ready = False
        self._waiting: set[Deferred[None]] = set()

    def set(self, ready: bool) -> None:
        """Set whether the core is ready; if it is, continue all waiting requests."""
        self.ready = ready
        if ready:
            for waiting in list(self._waiting):
                waiting.callback(None)

    def wait(self, until: float) -> Deferred[None]:
        """
        Return a Deferred that fires when the core is ready.

        :param until: the deadline, as a clock time.
        :return: fires with `None`, or fails with `CoreUnreachableError` at that time.
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
