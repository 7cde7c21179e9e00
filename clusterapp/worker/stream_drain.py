"""Responses of the core that would not end by themselves (in a worker)."""

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from clusterapp.guards import guarded
from clusterapp.http.server.drain_policy import DrainPolicy


class Body(Protocol):
    """The body of such a response."""

    def end(self) -> None:
        """End the response here, as if the core had."""


class StreamDrain:
    """
    The responses that go on until somebody ends them, such as event streams.

    :param clock: keeps the time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._departure: DrainPolicy | None = None
        #: Each, and when it is ended, if that is settled.
        self._bodies: dict[Body, IDelayedCall | None] = {}

    def add(self, body: Body) -> None:
        """Know of one that has begun."""
        self._bodies[body] = None
        if self._departure is not None:
            self._settle(body, self._departure)

    def discard(self, body: Body) -> None:
        """Know that one has ended, or never was one."""
        call = self._bodies.pop(body, None)
        if call is not None and call.active():
            call.cancel()

    def drain(self, spread: float) -> None:
        """
        End all there are, and all that still begin.

        :param spread: the seconds over which they end.
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
