"""Idle connections to the core (in a worker)."""

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from clusterapp.guards import guarded
from clusterapp.http.upstream.upstream_connection import CoreConnection


class IdleConnections:
    """
    Connections that wait for their next call, the last one in being the first out.

    :param clock: tells the time.
    :param timeout: seconds after which an idle connection is closed.
    :param limit: how many are kept at most.
    """

    def __init__(self, clock: IReactorTime, timeout: float, limit: int) -> None:
        self._clock = clock
        self._timeout = timeout
        self._limit = limit
        #: The one that has been idle longest comes first.
        self._idle: list[CoreConnection] = []
        self._sweep: IDelayedCall | None = None

    def put(self, connection: CoreConnection) -> None:
        """Keep a connection, or close it if there are enough."""
        if len(self._idle) >= self._limit:
            connection.abort()
            return
        connection.idle_since = self._clock.seconds()
        self._idle.append(connection)
        # One timer for all: a request on a kept connection touches none.
        if self._sweep is None:
            self._sweep = self._clock.callLater(self._timeout, self._close_old)

    def take(self) -> CoreConnection | None:
        """
        Find a connection that the core has not closed.

        Others are forgotten: the reactor's next turn brings what waits on them, and
        that closes them.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet():
                return connection
        return None

    def discard(self, connection: CoreConnection) -> None:
        """Forget a connection that is gone, if it was here."""
        if connection in self._idle:
            self._idle.remove(connection)

    def stop(self) -> None:
        """Stop the clock; whoever made the connections closes them."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    @guarded("close idle connections")
    def _close_old(self) -> None:
        self._sweep = None
        now = self._clock.seconds()
        while self._idle:
            left = self._idle[0].idle_since + self._timeout - now
            if left > 0:
                self._sweep = self._clock.callLater(left, self._close_old)
                return
            guarded("close an idle connection")(self._idle.pop(0).abort)()
