"""A prepared answer on its way out, piece by piece, as fast as the client reads."""

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from clusterapp.guards import report
from clusterapp.http.server.prepared_response import FilePart, Prepared
from clusterapp.interfaces import Fields

if TYPE_CHECKING:
    from clusterapp.http.server.connection import Connection


@implementer(IPushProducer)
class FileSending:
    """
    Sends an answer with parts of files.

    It is the message that is under way on its connection.

    :param connection: where to.
    :param opening: the answer's head.
    :param prepared: the answer.
    """

    #: Its head is sent before anything else may happen.
    responded = True

    __slots__ = ("_connection", "_offset", "_paused", "_prepared", "_todo")

    def __init__(
        self, connection: "Connection", opening: bytes, prepared: Prepared
    ) -> None:
        self._connection: Connection | None = connection
        self._prepared = prepared
        self._todo = [*filter(len, reversed(prepared.parts)), opening]
        self._offset = 0
        self._paused = False

    def begin(self) -> None:
        """Send as much as the client takes, and go on when it takes more."""
        if self._connection is not None:
            self._connection.registerProducer(self, True)
            self.resumeProducing()

    def pauseProducing(self) -> None:
        """Wait: the client is slow."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Go on."""
        self._paused = False
        while self._todo and not self._paused and self._connection is not None:
            if not self._send(self._connection, self._todo[-1]):
                return  # it must wait, or has been broken off
        if not self._todo and self._connection is not None:
            connection, self._connection = self._connection, None
            connection.response_ended(self._prepared.status, self._prepared.length)

    def stopProducing(self) -> None:
        """Stop: the connection is gone."""
        self._connection = None

    def outcome(self) -> tuple[int, int]:
        """Give the status, and the bytes of the body so far."""
        left = sum(map(len, self._todo)) - self._offset
        return self._prepared.status, max(0, self._prepared.length - left)

    def serve(self) -> None:
        """Begin."""
        self.begin()

    def completed(self, trailers: Fields) -> None:
        """Know that the request's body has ended."""

    def expected(self) -> None:
        """Want no body."""

    def received(self, piece: bytes) -> None:
        """Want no body."""

    def ending(self) -> None:
        """Give nothing: a file ends."""

    def break_off(self) -> None:
        """Close the connection, so that the client sees what is incomplete."""
        if self._connection is not None:
            self._connection.abortConnection()

    def fail(self, reason: Failure) -> None:
        """Break it off: its head has been sent."""
        report("send a file", reason)
        self.break_off()

    def lose(self, _reason: Failure) -> None:
        """Stop: the client has gone."""
        self._connection = None

    def _send(self, connection: "Connection", part: bytes | FilePart) -> bool:
        if isinstance(part, bytes):
            self._todo.pop()
            if self._todo:
                connection.write_before_file(part)
            else:  # the kernel must not wait for more
                connection.write(part)
            return True
        left = part.length - self._offset
        sent = connection.send_file(part.file.fd, part.offset + self._offset, left)
        self._offset += sent
        if sent == left:
            self._todo.pop()
            self._offset = 0
        return sent > 0
