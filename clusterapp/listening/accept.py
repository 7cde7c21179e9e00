"""Accepting connections from a listening socket that others listen on, too."""

import errno
import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorSocket,
    IReadDescriptor,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

#: How long to leave the queue alone when this process has no descriptor left.
PAUSE_WITHOUT_DESCRIPTORS = 1.0

#: How long others may come first, in seconds: enough for one that has nothing to do,
#: and nothing that a client would notice.
_MOMENT = 0.001

#: What accept says of one connection that is lost already; the next may be well.
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
}


class AcceptingReactor(Protocol):
    """The parts of a reactor that accepting needs."""

    def addReader(self, reader: IReadDescriptor) -> None:
        """Tell a reader whenever there is something to read."""

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Tell it no more."""

    @property
    def callLater(self) -> Callable[..., IDelayedCall]:
        """Call something after some seconds."""


@implementer(IReadDescriptor)
class Acceptor:
    """
    Accept connections from a shared socket and leave the socket as it is.

    Twisted's own ports would accept up to a hundred connections for one wake-up,
    so that one worker empties the queue of all; and an adopted Unix port changes
    the mode of the socket's path and its backlog, and shuts the socket down for
    every process when it closes.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: AcceptingReactor,
        listening: socket.socket,
        serve: Callable[[socket.socket, Any], object],
        waits: Callable[[], bool] | None = None,
    ) -> None:
        """
        Take over a listening socket.

        :param reactor: what waits for connections.
        :param listening: the socket; `stop` closes this descriptor of it.
        :param serve: serves a connection whose socket, which does not block, is
            its own from then on; it gets the other end's address as well, as
            accept(2) gives it.
        :param waits: tells whether the others that listen are to have the next
            connection, if they take it within a moment.
        """
        self._reactor = reactor
        self._listening = listening
        self._serve = serve
        self._waits = waits
        self._pause: IDelayedCall | None = None
        listening.setblocking(False)

    def start(self) -> None:
        """Begin to accept."""
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Accept no more; connections in the queue stay there for others."""
        if self._listening.fileno() == -1:
            return
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._reactor.removeReader(self)
        self._listening.close()

    def fileno(self) -> int:
        """Tell the descriptor to wait for."""
        return self._listening.fileno()

    def logPrefix(self) -> str:
        """Name this object in Twisted's log."""
        return "accept"

    def doRead(self) -> None:
        """Accept one connection: the next wake-up may be another worker's."""
        if self._waits is not None and self._waits():
            self._reactor.removeReader(self)
            self._pause = self._reactor.callLater(_MOMENT, self._take_after_all)
        else:
            self._accept()

    def _take_after_all(self) -> None:
        self._resume()
        self._accept()

    def _accept(self) -> None:
        try:
            connection, peer = self._listening.accept()
        except BlockingIOError:
            return  # another worker was first
        except OSError as error:
            if error.errno not in CONNECTION_LOST:
                self._try_later(error)
            return
        connection.setblocking(False)
        try:
            self._serve(connection, peer)
        except Exception as error:  # noqa: BLE001 - else the reactor would drop the listener
            connection.close()
            self._cannot_serve(error)

    def connectionLost(self, reason: Failure) -> None:
        """Hear from the reactor that the socket is broken, or that all ends."""

    def _cannot_serve(self, error: Exception) -> None:
        if not isinstance(error, OSError):
            self._log.failure("cannot serve a connection")
        # The client may have left between accept and getpeername.
        elif error.errno != errno.ENOTCONN:
            self._try_later(error)

    def _try_later(self, error: OSError) -> None:
        """Wait: as a rule there is no descriptor left, not even to refuse with."""
        self._log.error(
            "cannot accept: {error}; trying again in {seconds} s",
            error=error,
            seconds=PAUSE_WITHOUT_DESCRIPTORS,
        )
        self._reactor.removeReader(self)
        self._pause = self._reactor.callLater(PAUSE_WITHOUT_DESCRIPTORS, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._reactor.addReader(self)


class Adopting:
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
