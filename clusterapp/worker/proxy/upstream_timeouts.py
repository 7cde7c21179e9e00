"""The timeout of forwarded requests on which an upstream does nothing (in a worker)."""

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from clusterapp.guards import guarded


class TimedRequest(Protocol):
    """A request that waits for its upstream."""

    def expire(self) -> None:
        """Called when nothing has moved for the time of the timeout."""


class UpstreamTimeout:
    """
    The inactivity timeout of all requests to an upstream, with one timer.

    :param clock: the reactor's clock.
    :param seconds: the timeout, the same for all requests.
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self.seconds = seconds
        self._clock = clock
        #: The start of each request's wait; the longest wait comes first.
        self._since: dict[TimedRequest, float] = {}
        self._sweep: IDelayedCall | None = None

    def begin(self, waiting: TimedRequest) -> None:
        """Start the timeout of a request."""
        self._since[waiting] = self._clock.seconds()
        # One timer for all requests, so that an answer in time has none to cancel.
        if self._sweep is None:
            self._sweep = self._clock.callLater(self.seconds, self._look)

    def restart(self, waiting: TimedRequest) -> None:
        """Restart the timeout of a request; do nothing if it is not running."""
        if self._since.pop(waiting, None) is not None:
            self._since[waiting] = self._clock.seconds()

    def end(self, waiting: TimedRequest) -> None:
        """Stop the timeout of a request."""
        self._since.pop(waiting, None)

    def stop(self) -> None:
        """Cancel the timer: no request expires any more."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    @guarded("check the upstream timeouts")
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
            guarded("time out a request")(waiting.expire)()
