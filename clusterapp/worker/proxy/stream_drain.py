"""The drain of forwarded responses that would not end by themselves (in a worker)."""

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from clusterapp.guards import guarded
from clusterapp.http.server.drain_policy import DrainPolicy


class Body(Protocol):
    """The body of a response that would not end by itself."""

    def end(self) -> None:
        """End the response to the client, as if the upstream had ended it."""


class StreamDrain:
    """
    The open responses that would not end by themselves, such as event streams.

    :param clock: the reactor's clock.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._departure: DrainPolicy | None = None
        #: Each body, with the scheduled call that ends it, None if none is scheduled.
        self._bodies: dict[Body, IDelayedCall | None] = {}

    def add(self, body: Body) -> None:
        """Add a body that has begun; while draining, schedule its end."""
        self._bodies[body] = None
        if self._departure is not None:
            self._settle(body, self._departure)

    def discard(self, body: Body) -> None:
        """Remove a body that has ended; do nothing for one that was never added."""
        call = self._bodies.pop(body, None)
        if call is not None and call.active():
            call.cancel()

    def drain(self, spread: float) -> None:
        """
        End all bodies, and those that begin later.

        :param spread: the seconds over which they are ended.
        """
        self._departure = DrainPolicy(spread, None)
        for body in list(self._bodies):
            self._settle(body, self._departure)

    def _settle(self, body: Body, drain_policy: DrainPolicy) -> None:
        seconds = drain_policy.moment()
        if seconds:
            self._bodies[body] = self._clock.callLater(seconds, _end, body)
        else:
            _end(body)


@guarded("end a response")
def _end(body: Body) -> None:
    body.end()
