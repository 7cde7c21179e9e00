"""Peeking at the first request of a connection with MSG_PEEK (recv(2))."""

import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from clusterapp.guards import guarded
from clusterapp.http.connection_limits import Limits
from clusterapp.http.syntax.proxy_protocol import LONGEST, ProxyHeaderError, read
from clusterapp.http.syntax.request_head import END, BadMessageError, Head, HeadReader
from clusterapp.listening.socket_watching import WatchingReactor
from clusterapp.system.descriptor_limit import part_of_descriptors

#: Seconds to wait for the first request head: the worker that gets the connection
#: reads a later one.
TIMEOUT = 1.0

#: The most connections peeked at concurrently, if the process may have enough
#: descriptors; beyond that, the oldest one is passed on to a worker.
MOST = 1024

#: Seconds before an incomplete head is peeked at again; each time the pause doubles.
#: Readiness is of no use here: the socket is readable already.
_FIRST_LOOK = 0.01


#: Guards the callbacks of a connection that is peeked at: after an exception the
#: connection is passed on to a worker, which reads its head anew.
_ends_look = guarded(
    "peek at a connection", lambda _failure, watched, **_: watched.end(None)
)


class RequestPeek:
    """
    Peeks at the first requests of connections.

    :param reactor: the master's reactor.
    :param seen: called once for each connection, with the socket, `about`, the peer's
        address (from a PROXY header, if there is one) and the head of its first
        request; None for the head if none arrives in time, or it cannot be parsed.
    """

    def __init__(
        self,
        reactor: WatchingReactor,
        seen: Callable[[socket.socket, Any, Any, Head | None], None],
    ) -> None:
        self.reactor = reactor
        self.seen = seen
        self.reader = HeadReader(Limits())
        self.most_bytes = Limits().head + LONGEST
        self.most = part_of_descriptors(MOST)
        #: The connections that are waited for, the oldest first.
        self.watched: OrderedDict[_PeekedConnection, None] = OrderedDict()

    def look(
        self, connection: socket.socket, peer: Any, versions: str | None, about: Any
    ) -> None:
        """
        Peek at a connection.

        :param connection: the non-blocking socket; `seen` receives it.
        :param peer: the peer's address, as returned by accept(2).
        :param versions: the versions of the PROXY protocol whose header comes first and
            has the client's address; None if none do.
        :param about: passed on to `seen`.
        """
        _PeekedConnection(self, connection, peer, versions, about).look()

    def wait_for(self, watched: "_PeekedConnection") -> None:
        """Register a connection to wait for; end the oldest wait to make room."""
        if watched not in self.watched and len(self.watched) >= self.most:
            next(iter(self.watched)).late()
        self.watched[watched] = None

    def stop(self) -> None:
        """End all waits with what has arrived."""
        for watched in tuple(self.watched):
            watched.late()


@implementer(IReadDescriptor)
class _PeekedConnection:
    """One connection that is peeked at."""

    def __init__(
        self,
        request_peek: RequestPeek,
        connection: socket.socket,
        peer: Any,
        versions: str | None,
        about: Any,
    ) -> None:
        self._request_peek = request_peek
        self._connection = connection
        self._peer = peer
        self._versions = versions
        self._about = about
        self._late: IDelayedCall | None = None
        self._again: IDelayedCall | None = None
        self._pause = _FIRST_LOOK
        self._is_reading = False
        self._has_ended = False

    @_ends_look
    def look(self, *, last: bool = False) -> None:
        """
        Peek at the bytes that have arrived.

        :param last: whether to end the wait, complete or not.
        """
        request_peek = self._request_peek
        try:
            data = self._connection.recv(request_peek.most_bytes, socket.MSG_PEEK)
        except BlockingIOError:
            if last:
                self.end(None)
            else:
                self._wait(some=False)
            return
        except OSError:
            data = b""
        last = last or not data or len(data) >= request_peek.most_bytes
        try:
            head = self._head(data)
        except (ProxyHeaderError, BadMessageError):
            self.end(None)  # the worker refuses it
            return
        if head is None and not last:
            self._wait(some=True)
        else:
            self.end(head)

    @_ends_look
    def late(self) -> None:
        """Called when the wait is over: end it with what has arrived."""
        self._stop_waiting()
        self.look(last=True)

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._connection.fileno()

    def logPrefix(self) -> str:
        """Return the name of this object in Twisted's log."""
        return "peek"

    @_ends_look
    def doRead(self) -> None:
        """Called when the socket is readable: peek at what has arrived."""
        self._stop_waiting()
        self.look()

    def connectionLost(self, reason: Failure) -> None:
        """Called by the reactor when the socket is broken, or the reactor stops."""

    def _wait(self, *, some: bool) -> None:
        reactor = self._request_peek.reactor
        self._request_peek.wait_for(self)
        if self._late is None:
            self._late = reactor.callLater(TIMEOUT, self.late)
        if some:
            self._again = reactor.callLater(self._pause, self._look_again)
            self._pause *= 2
        else:
            self._is_reading = True
            reactor.addReader(self)

    @_ends_look
    def _look_again(self) -> None:
        self._again = None
        self.look()

    def _stop_waiting(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._request_peek.reactor.removeReader(self)
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def end(self, head: Head | None) -> None:
        """
        End the wait and pass the connection on; does so only once.

        :param head: the head of its first request; None if it is missing or invalid.
        """
        if self._has_ended:
            return
        self._has_ended = True
        self._request_peek.watched.pop(self, None)
        self._stop_waiting()
        if self._late is not None and self._late.active():
            self._late.cancel()
        self._request_peek.seen(self._connection, self._about, self._peer, head)

    def _head(self, data: bytes) -> Head | None:
        """Parse a request head and a PROXY header before it; None if incomplete."""
        start = 0
        if self._versions is not None:
            header = read(data[:LONGEST], self._versions)
            if header is None:
                return None
            start = header.length
            if header.source is not None:
                self._peer = header.source
        end = data.find(END, start) + len(END)
        return (
            None if end < len(END) else self._request_peek.reader.read(data[start:end])
        )
