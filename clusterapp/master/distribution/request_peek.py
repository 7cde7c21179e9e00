"""Looking at the first request of a connection, and leaving it there (recv(2))."""

import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from clusterapp.guards import guarded
from clusterapp.http.limits import Limits
from clusterapp.http.syntax.proxy_protocol import LONGEST, ProxyHeaderError, read
from clusterapp.http.syntax.request_head import END, BadMessageError, Head, HeadReader
from clusterapp.limits import part_of_descriptors
from clusterapp.listening.socket_watching import WatchingReactor

#: How long one waits for a first head, in seconds: what comes later is looked at by
#: the worker that has the connection.
PATIENCE = 1.0

#: The most connections that are waited for at a time, if the process may have enough
#: descriptors; beyond that, the one that was waited for longest goes to a worker.
MOST = 1024

#: A part of a head has come: it is looked at again after so many seconds, and each
#: time after twice as many. To wait for more is not possible: there is something.
_FIRST_LOOK = 0.01


#: Guards the callbacks of a connection that is looked at: what is raised leaves it
#: to a worker, which reads its head anew.
_ends_look = guarded(
    "look at a connection", lambda _failure, watched, **_: watched.end(None)
)


class Peeking:
    """
    Looks at the first requests of connections.

    :param reactor: the master's reactor.
    :param seen: called once for each connection, with what was given to `look`, the
        peer's address, and the head of its first request; with None for that if there
        is none in time, or none that can be read.
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
        self.watched: OrderedDict[_Watched, None] = OrderedDict()

    def look(
        self, connection: socket.socket, peer: Any, versions: str | None, about: Any
    ) -> None:
        """
        Look at a connection.

        :param connection: it does not block, and is the hearer's when it is seen.
        :param peer: the other end's address, as accept(2) gives it.
        :param versions: which versions of the PROXY protocol tell another one first;
            None if none do.
        :param about: what else is known of it.
        """
        _Watched(self, connection, peer, versions, about).look()

    def wait_for(self, watched: "_Watched") -> None:
        """Count a connection that is waited for; another one makes room, if need be."""
        if watched not in self.watched and len(self.watched) >= self.most:
            next(iter(self.watched)).late()
        self.watched[watched] = None

    def stop(self) -> None:
        """Make do with what there is of all that are looked at."""
        for watched in tuple(self.watched):
            watched.late()


@implementer(IReadDescriptor)
class _Watched:
    """One connection that is looked at."""

    def __init__(
        self,
        peeking: Peeking,
        connection: socket.socket,
        peer: Any,
        versions: str | None,
        about: Any,
    ) -> None:
        self._peeking = peeking
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
        Look at what there is.

        :param last: whether this must do.
        """
        peeking = self._peeking
        try:
            data = self._connection.recv(peeking.most_bytes, socket.MSG_PEEK)
        except BlockingIOError:
            if last:
                self.end(None)
            else:
                self._wait(some=False)
            return
        except OSError:
            data = b""
        last = last or not data or len(data) >= peeking.most_bytes
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
        """Make do with what there is."""
        self._stop_waiting()
        self.look(last=True)

    def fileno(self) -> int:
        """Tell the descriptor to wait for."""
        return self._connection.fileno()

    def logPrefix(self) -> str:
        """Name this object in Twisted's log."""
        return "peek"

    @_ends_look
    def doRead(self) -> None:
        """Look at what has come."""
        self._stop_waiting()
        self.look()

    def connectionLost(self, reason: Failure) -> None:
        """Hear from the reactor that the socket is broken, or that all ends."""

    def _wait(self, *, some: bool) -> None:
        reactor = self._peeking.reactor
        self._peeking.wait_for(self)
        if self._late is None:
            self._late = reactor.callLater(PATIENCE, self.late)
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
            self._peeking.reactor.removeReader(self)
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def end(self, head: Head | None) -> None:
        """
        Pass the connection on, once.

        :param head: the head of its first request; None if there is none to be read.
        """
        if self._has_ended:
            return
        self._has_ended = True
        self._peeking.watched.pop(self, None)
        self._stop_waiting()
        if self._late is not None and self._late.active():
            self._late.cancel()
        self._peeking.seen(self._connection, self._about, self._peer, head)

    def _head(self, data: bytes) -> Head | None:
        """Read a head, if all of it is there, and what is announced before it."""
        start = 0
        if self._versions is not None:
            announced = read(data[:LONGEST], self._versions)
            if announced is None:
                return None
            start = announced.length
            if announced.source is not None:
                self._peer = announced.source
        end = data.find(END, start) + len(END)
        return None if end < len(END) else self._peeking.reader.read(data[start:end])
