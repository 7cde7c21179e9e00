"""Accept loop of the master: several connections for each wake-up."""

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

#: The most connections accepted in one wake-up: they are passed on together, and no
#: other process accepts from these sockets.
_MOST = 32


class AcceptLoop(Watching):
    """
    Accepts the connections of one listening socket.

    :param reactor: the master's reactor.
    :param listening: the socket; the caller closes it.
    :param arrived: called with each connection's descriptor and its peer's address.
    :param all_arrived: called after the last connection of a wake-up.
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
        """Start or stop accepting; until then connections wait in the backlog."""
        if on:
            self._watch()
        else:
            self._unwatch()

    @keeps_watching("accept connections")
    def doRead(self) -> None:
        """Called when the socket is readable: accept what waits, up to a bound."""
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
            except Exception:  # noqa: BLE001 - it ends this connection only
                report("pass a connection on", Failure())
            if not self._is_on:
                break
        self._all_arrived()
