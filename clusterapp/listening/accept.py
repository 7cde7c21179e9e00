"""Accepting connections from a listening socket that others listen on, too."""

import errno
import socket
import sys
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorSocket

from clusterapp.descriptors import adopt_socket
from clusterapp.listening.socket_watching import (
    MOMENT,
    Watching,
    WatchingReactor,
    keeps_watching,
    no_room,
)

#: How many connections are accepted for one wake-up where nobody else accepts: most of
#: what more would save, and those that are connected already do not wait long.
AT_ONCE = 4

#: The errors of one connection that is lost already; the next one may be well.
#: accept(2): "treat them like EAGAIN", and forbidden by a firewall rule.
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


def accept(listening: socket.socket) -> tuple[int, Any]:
    """
    Accept a connection, and make no socket of it: that is what takes the time.

    :param listening: a socket that does not block.
    :return: the connection's descriptor, and the other end's address.
    :raise OSError: as accept(2) fails.
    """
    accepted: tuple[int, Any] = listening._accept()  # type: ignore[attr-defined]  # noqa: SLF001
    return accepted


class Room(Protocol):
    """The descriptors of a process, and what is done when they run short."""

    @property
    def crowded_from(self) -> int:
        """The descriptor from which on nearly all are in use (open(2): the lowest)."""

    def make(self) -> int:
        """Close connections that are idle; return how many."""


class Acceptor(Watching):
    """
    Accept connections from a shared socket and leave the socket as it is.

    Twisted's own ports would accept up to a hundred connections for one wake-up,
    so that one worker empties the queue of all; and an adopted Unix port changes
    the mode of the socket's path and its backlog, and shuts the socket down for
    every process when it closes.
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
        Take over a listening socket.

        :param reactor: what waits for connections.
        :param listening: the socket; `stop` closes this descriptor of it.
        :param serve: serves a connection whose socket, which does not block, is
            its own from then on; it gets the other end's address as well, as
            accept(2) gives it.
        :param portion: tells how many connections may be accepted for this wake-up,
            where others listen, too; if none, the others are to have the next one,
            if they take it within a moment.
        :param room: the descriptors of the process; they are not looked after if none.
        """
        make_room = no_room if room is None else room.make
        super().__init__(reactor, listening, make_room)
        self._crowded_from = sys.maxsize if room is None else room.crowded_from
        self._serve = serve
        self._portion = portion
        # As numbers: to name them would take as long as to accept a connection.
        self._kind = int(listening.family), int(listening.type), listening.proto
        listening.setblocking(False)

    def start(self) -> None:
        """Begin to accept."""
        self._watch()

    def stop(self) -> None:
        """Accept no more; connections in the queue stay there for others."""
        self._unwatch()
        self._watched.close()

    @keeps_watching("accept connections")
    def doRead(self) -> None:
        """Accept a few connections, or leave them to others for a moment."""
        left = AT_ONCE if self._portion is None else self._portion()
        if not left:
            self._leave_alone(MOMENT, self._accept)
        while left and self._accept():
            left -= 1

    def _accept(self) -> bool:
        """Accept a connection; tell whether the next one may be accepted, too."""
        try:
            number, peer = accept(self._watched)
        except BlockingIOError:
            return False  # there is none, or another worker was first
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
            # What is left is for those that are served already.
            self._try_later("accept", "nearly all descriptors are in use")
            return False
        return self._is_on


class ConnectionAdopter:
    """
    Has a reactor serve connections on its own transports; an `Acceptor` calls it.

    :param reactor: the reactor.
    :param factory: the factory of the protocols that serve.
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
