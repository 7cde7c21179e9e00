"""Accepting connections from a listening socket that several processes share."""

import errno
import socket
import sys
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorSocket

from clusterapp.listening.socket_watching import (
    MOMENT,
    Watching,
    WatchingReactor,
    keeps_watching,
    no_room,
)
from clusterapp.private_names.cpython import ACCEPT, accept_slowly
from clusterapp.system.descriptors import adopt_socket

#: The number of connections accepted per wake-up if no other process accepts: most of
#: what more would save, and requests on open connections do not wait long.
AT_ONCE = 4

#: Errors of one connection that is already lost; the next one may be good. accept(2):
#: "treat them like EAGAIN", and forbidden by a firewall rule.
CONNECTION_LOST = {
    errno.ECONNABORTED,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENONET,
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EPROTO,
    errno.EPROTONOSUPPORT,
    errno.ESOCKTNOSUPPORT,
    errno.ETIMEDOUT,
}


#: Accepts a connection of a non-blocking socket; returns its descriptor, and the peer's
#: address. Without creating a socket object, which is the slow part.
accept: Callable[[socket.socket], tuple[int, Any]] = ACCEPT.value or accept_slowly


class Room(Protocol):
    """The limit of a process's descriptors, and how to free some of them."""

    @property
    def crowded_from(self) -> int:
        """
        The lowest descriptor number at which nearly all are in use (open(2): the
        lowest).
        """

    def make(self) -> int:
        """Close idle connections; return their number."""


class Acceptor(Watching):
    """
    Accepts connections from a shared socket without changing the socket.

    Twisted's own ports would accept up to a hundred connections for one wake-up, so
    that one worker empties the backlog that all share; and an adopted Unix port changes
    the mode of the socket's path and its backlog, and shuts the socket down for every
    process when it closes.
    """

    def __init__(
        self,
        reactor: WatchingReactor,
        listening: socket.socket,
        serve: Callable[[socket.socket, Any], object],
        portion: Callable[[], int] | None = None,
        room: Room | None = None,
    ) -> None:
        """
        Take ownership of a listening socket.

        :param reactor: the reactor that polls the socket.
        :param listening: the socket; `stop` closes this descriptor of it.
        :param serve: serves a connection; receives its socket, which is non-blocking
            and which it owns, and the peer's address as returned by accept(2).
        :param portion: returns how many connections may be accepted for this wake-up if
            several processes listen; if 0, other processes get a moment to accept
            first.
        :param room: the limit of the process's descriptors; None to ignore it.
        """
        make_room = no_room if room is None else room.make
        super().__init__(reactor, listening, make_room)
        self._crowded_from = sys.maxsize if room is None else room.crowded_from
        self._serve = serve
        self._portion = portion
        # As integers: converting them to enums would take as long as accepting a
        # connection.
        self._kind = int(listening.family), int(listening.type), listening.proto
        listening.setblocking(False)

    def start(self) -> None:
        """Start accepting."""
        self._watch()

    def stop(self) -> None:
        """Stop accepting; connections in the backlog stay there for other processes."""
        self._unwatch()
        self._watched.close()

    @keeps_watching("accept connections")
    def doRead(self) -> None:
        """Accept a few connections, or leave them to other processes for a moment."""
        left = AT_ONCE if self._portion is None else self._portion()
        if not left:
            self._leave_alone(MOMENT, self._accept)
        while left and self._accept():
            left -= 1

    def _accept(self) -> bool:
        """Accept a connection; return whether the next one may be accepted, too."""
        try:
            number, peer = accept(self._watched)
        except BlockingIOError:
            return False  # none waits, or another worker was first
        except OSError as error:
            is_lost = error.errno in CONNECTION_LOST
            if not is_lost:
                self._try_later("accept", error)
            return is_lost
        is_crowded = number >= self._crowded_from and not self._make_room()
        connection = adopt_socket(number, self._kind)
        try:
            self._serve(connection, peer)
        except Exception as error:  # noqa: BLE001 - it ends this connection alone
            connection.close()
            self.cannot_serve(error)
        if is_crowded and self._is_on:
            # The remaining descriptors are for the connections that are open already.
            self._try_later("accept", "nearly all descriptors are in use")
            return False
        return self._is_on


class ConnectionAdopter:
    """
    Serves connections on the reactor's own transports; called by an `Acceptor`.

    :param reactor: the reactor.
    :param factory: the factory of the protocols.
    """

    def __init__(self, reactor: IReactorSocket, factory: Any) -> None:
        self._reactor = reactor
        self.factory = factory

    def __call__(self, connection: socket.socket, _peer: Any) -> None:
        """Serve a connection."""
        with connection:  # the reactor makes a duplicate
            self._reactor.adoptStreamConnection(
                connection.fileno(), connection.family, self.factory
            )
