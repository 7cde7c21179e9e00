"""The pool of idle connections to the core (in a worker)."""

import select
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from clusterapp.guards import guarded
from clusterapp.http.upstream.upstream_connection import CoreConnection
from clusterapp.system.turn_end import TurnEnd


class IdleConnections:
    """
    Idle connections, reused last in, first out.

    :param clock: the source of time.
    :param timeout: seconds after which an idle connection is closed.
    :param limit: the most idle connections that are kept.
    :param turn_end: tells the end of the loop's turn: in one turn all connections are
        polled once. With None each one is polled before it is used.
    """

    def __init__(
        self,
        clock: IReactorTime,
        timeout: float,
        limit: int,
        turn_end: TurnEnd | None = None,
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._limit = limit
        self._turn_end = turn_end
        self._was_polled = False
        #: Sorted: the connection that has been idle longest comes first.
        self._idle: list[CoreConnection] = []
        self._sweep: IDelayedCall | None = None

    def put(self, connection: CoreConnection) -> None:
        """Keep a connection, or close it if the pool is full."""
        if len(self._idle) >= self._limit:
            connection.abort()
            return
        connection.idle_since = self._clock.seconds()
        self._idle.append(connection)
        # One timer for all connections: reusing a connection does not touch it.
        if self._sweep is None:
            self._sweep = self._clock.callLater(self._timeout, self._close_old)

    def take(self) -> CoreConnection | None:
        """
        Return a connection that the core has not closed; None if there is none.

        Connections with pending input are dropped from the pool: in its next iteration
        the reactor reads that, and they are closed.
        """
        if self._turn_end is None:
            return self._take(CoreConnection.is_quiet)
        if not self._was_polled and self._idle:
            self._poll(self._turn_end)
        return self._take(_is_open)

    def _take(
        self, is_usable: Callable[[CoreConnection], bool]
    ) -> CoreConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if is_usable(connection):
                return connection
        return None

    def _poll(self, turn_end: TurnEnd) -> None:
        """
        Drop the connections with pending input, with one system call.

        Those that are put into the pool later in this turn have just been read.
        """
        self._was_polled = True
        turn_end.add(self._turn_ended)
        watch = select.poll()
        for connection in self._idle:
            if connection.descriptor is not None:
                watch.register(connection.descriptor, select.POLLIN)
        pending = {descriptor for descriptor, _ in watch.poll(0)}
        if pending:
            self._idle = [
                connection
                for connection in self._idle
                if connection.descriptor not in pending
            ]

    def _turn_ended(self) -> None:
        self._was_polled = False

    def discard(self, connection: CoreConnection) -> None:
        """Remove a connection that is closed, if it is in the pool."""
        if connection in self._idle:
            self._idle.remove(connection)

    def stop(self) -> None:
        """Cancel the timer; the owner of the connections closes them."""
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


def _is_open(connection: CoreConnection) -> bool:
    return not connection.is_closed
