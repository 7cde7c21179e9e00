"""Sending of a prepared response with file parts, as fast as the client reads."""

from http import HTTPStatus
from typing import Final, Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from clusterapp.guards import report
from clusterapp.http.server.prepared_response import FilePart, Prepared
from clusterapp.http.server.server_interfaces import Channel, TransportAdapter
from clusterapp.interfaces import Fields

# Not of the class: an event would then hold the instance, and so its open file.
_log = Logger()

#: The logged reason why the rest of a file cannot be sent.
SHORTER: Final = "the file has become shorter than was announced"


class FileChannel(Channel, Protocol):
    """What the sending of a file needs of its connection."""

    adapter: TransportAdapter


@implementer(IPushProducer)
class FileSending:
    """
    Message that sends a prepared response with parts of files.

    It is a push producer and the current message of its connection.

    :param connection: the connection to send on.
    :param path: the path of the request, for the log.
    :param opening: the head of the response.
    :param prepared: the response.
    """

    #: Always True: the head is sent before any other callback can run.
    responded = True

    __slots__ = ("_connection", "_offset", "_path", "_paused", "_prepared", "_todo")

    late_status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(
        self, connection: FileChannel, path: bytes, opening: bytes, prepared: Prepared
    ) -> None:
        self._connection: FileChannel | None = connection
        self._path = path
        self._prepared = prepared
        self._todo = [*filter(len, reversed(prepared.parts)), opening]
        self._offset = 0
        self._paused = False

    def begin(self) -> None:
        """Register as the connection's producer, and start to send."""
        if self._connection is not None:
            self._connection.registerProducer(self, True)
            self.resumeProducing()

    def pauseProducing(self) -> None:
        """Called when the client reads too slowly: stop sending for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Called when the client can be sent more: send until paused or complete."""
        self._paused = False
        while self._todo and not self._paused and self._connection is not None:
            if not self._send(self._connection, self._todo[-1]):
                return  # the part must wait, or the connection has been aborted
        if not self._todo and self._connection is not None:
            connection, self._connection = self._connection, None
            connection.response_ended(self._prepared.status, self._prepared.length)

    def stopProducing(self) -> None:
        """Called when the connection is closed: stop sending."""
        self._connection = None

    def outcome(self) -> tuple[int, int]:
        """Return the status, and the number of body bytes sent so far."""
        left = sum(map(len, self._todo)) - self._offset
        return self._prepared.status, max(0, self._prepared.length - left)

    def serve(self) -> None:
        """Start to send the response."""
        self.begin()

    def completed(self, trailers: Fields) -> None:
        """Do nothing: the request body is not used."""

    def expected(self) -> None:
        """Do nothing: the request body is not used."""

    def received(self, piece: bytes) -> None:
        """Do nothing: the request body is not used."""

    def ending(self) -> None:
        """Return None: a file response ends by itself."""

    def abort_response(self) -> None:
        """Abort the connection, so that the client sees an incomplete response."""
        if self._connection is not None:
            self._connection.abortConnection()

    def fail(self, reason: Failure) -> None:
        """Log the exception and abort: the head of the response has been sent."""
        report("send a file", reason)
        self.abort_response()

    def lose(self, _reason: Failure) -> None:
        """Called when the connection is lost: stop sending."""
        self._connection = None

    def _send(self, connection: FileChannel, part: bytes | FilePart) -> bool:
        """Send a part, as far as possible; return whether to send on."""
        if isinstance(part, bytes):
            self._todo.pop()
            if self._todo:
                self._send_before_file(connection, part)
            else:  # nothing follows, so the kernel must send it without delay
                connection.write(part)
            return True
        left = part.length - self._offset
        offset = part.offset + self._offset
        try:
            sent = connection.adapter.send_file(part.file.fd, offset, left)
        except OSError as error:
            self._abort_by_file(connection, error)
            return False
        if not sent:
            if sent is not None:
                self._abort_by_file(connection, SHORTER)
            return False
        self._offset += sent
        if sent == left:
            self._todo.pop()
            self._offset = 0
        return True

    def _send_before_file(self, connection: FileChannel, part: bytes) -> None:
        try:
            connection.adapter.write_before_file(part)
        except OSError:  # the client has disconnected
            connection.abortConnection()

    def _abort_by_file(self, connection: FileChannel, reason: OSError | str) -> None:
        """Abort the connection, since the rest of a file cannot be sent."""
        if not isinstance(reason, ConnectionError):  # the client has disconnected
            _log.error(
                "cannot send {path}: {why}; its response is aborted",
                path=self._path.decode("latin-1"),
                why=str(reason),  # not itself: its traceback holds the file
            )
        connection.abortConnection()
