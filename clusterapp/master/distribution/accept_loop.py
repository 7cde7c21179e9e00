"""Accepting connections in the master, several at a time."""

import socket
from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

from clusterapp.guards import report
from clusterapp.listening.accept import CONNECTION_LOST, accept
from clusterapp.listening.socket_watching import (
    Watching,
    WatchingReactor,
    keeps_watching,
)

#: How many connections are accepted for one wake-up: they are passed on together,
#: and nobody else takes any from these sockets.
_MOST = 32


class AcceptLoop(Watching):
    """
    Accepts what comes to one listening socket.

    :param reactor: the master's reactor.
    :param listening: the socket; it stays the caller's.
    :param arrived: takes a connection's descriptor, and the other end's address.
    :param all_arrived: called when there is none left for now.
    """

    def __init__(
        self,
        reactor: WatchingReactor,
        listening: socket.socket,
        arrived: Callable[[int, Any], None],
        all_arrived: Callable[[], None],
    ) -> None:
        super().__init__(reactor, listening)
        self._arrived = arrived
        self._all_arrived = all_arrived

    def turn(self, *, on: bool) -> None:
        """Accept from now on, or do not; what is in the queue stays there."""
        if on:
            self._watch()
        else:
            self._unwatch()

    @keeps_watching("accept connections")
    def doRead(self) -> None:
        """Accept what is there, up to a bound."""
        for _ in range(_MOST):
            try:
                connection, peer = accept(self._watched)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in CONNECTION_LOST:
                    self._try_later("accept", error)
                break
            try:
                self._arrived(connection, peer)
            except Exception:  # noqa: BLE001 - it ends this connection alone
                report("pass a connection on", Failure())
            if not self._is_on:
                break
        self._all_arrived()
