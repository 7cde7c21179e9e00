"""
The requests of one connection, one at a time: which message answers, and what follows.

For each request there is one current *message*, which answers it: a request object of
the application, an exchange that streams the request elsewhere, or a file that is
being sent. The request body goes to a *sink*: the message itself, or a `Discard` that
drops the rest.
"""

from http import HTTPStatus
from math import inf
from typing import Final, Protocol

from twisted.internet.error import ConnectionLost
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.http.access_log.access_record import AccessRecord
from clusterapp.http.connection.body_discard import Discard
from clusterapp.http.connection.closing import ConnectionClose
from clusterapp.http.connection.file_response import FileChannel, FileSending
from clusterapp.http.connection.flow_control import FlowControl
from clusterapp.http.connection.peer import ConnectionPeer
from clusterapp.http.connection.request_input import RequestInput
from clusterapp.http.connection_limits import DISCARD_LIMIT, DISCARD_SECONDS, Limits
from clusterapp.http.server.deadlines import Deadlines, Phase
from clusterapp.http.server.prepared_response import Prepared
from clusterapp.http.server.server_interfaces import Message
from clusterapp.http.syntax.request_head import Head
from clusterapp.interfaces import Fields

_CLOSE: Final = b"Connection: close\r\n"
_KEEP: Final = b"Connection: keep-alive\r\n"
_OLD: Final = b"HTTP/1.0"

# Members of an Enum are looked up slowly, and this one is set for each request.
_REQUEST: Final = Phase.REQUEST

#: The phases of a connection that has no request.
_BETWEEN_REQUESTS: Final = (Phase.REQUEST, Phase.REST)


# Not of the class: an event would then hold the instance, and so the connection.
_log = Logger()


class RequestChannel(FileChannel, Protocol):
    """What the requests need of their connection: its other parts."""

    closing: ConnectionClose
    deadlines: Deadlines
    flow: FlowControl
    input: RequestInput
    limits: Limits
    peer: ConnectionPeer

    def forget_upgrade(self) -> None:
        """Called when the next request may be of another client."""

    def loseConnection(self) -> None:
        """Close the connection once everything is written."""

    def drain(self) -> None:
        """Start to drain."""

    def drain_message(self, message: Message) -> None:
        """Called for a request that is complete while the site drains."""


class RequestCycle:
    """
    The requests of one connection, which are answered one after the other.

    :param connection: the connection.
    :ivar head: the head of the current request.
    :ivar message: the current message.
    :ivar count: the number of requests received.
    :ivar closes_after: whether the connection is closed after the current response,
        whose head tells the client so.
    :ivar deadline: the deadline of the response; `math.inf` for none.
    """

    __slots__ = (
        "_began",
        "_connection",
        "_noted",
        "_site",
        "closes_after",
        "count",
        "deadline",
        "head",
        "message",
    )

    def __init__(self, connection: RequestChannel) -> None:
        self._connection = connection
        self._site = connection.site
        self.head: Head | None = None
        self.message: Message | None = None
        self.count = 0
        self.closes_after = False
        self.deadline = inf
        self._began = 0.0
        # The number of the current request in the site's request record; 0 if the
        # request is not recorded.
        self._noted = 0

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way, and none has begun to arrive."""
        connection = self._connection
        return (
            connection.deadlines.phase in _BETWEEN_REQUESTS
            and not connection.input.closed
            and not connection.input.stream.pending
            and self.message is None
        )

    def under_way(self) -> tuple[bytes, bytes, str | None, float] | None:
        """
        Return the current request, or None; may be called from another thread.

        :return: method, target, client, and the seconds since the request began.
        """
        head = self.head
        if self.message is None or head is None:
            return None
        client = self._client_of(head.fields)
        seconds = self._site.clock.seconds() - self._began
        return head.method, head.target, client, seconds

    def begin(self, head: Head) -> None:
        """Start serving a request whose head has been received."""
        site, connection = self._site, self._connection
        if not connection.peer.is_client:
            connection.forget_upgrade()
            connection.peer.take_origin(head)
        connection.deadlines.clear()
        self.head = head
        self.count += 1
        closes = connection.closing.client_sends_no_more = not head.keeps
        self.closes_after = (
            closes or site.draining or self.count == connection.limits.requests
        )
        # The exact time is read for the access log only: for listing the current
        # requests, an error of a second does not matter.
        self._began = site.now if site.recorder is None else site.clock.seconds()
        if site.answer is not None:
            prepared = site.answer(head.method, head.target, head.fields)
            if prepared is not None:
                self._answer(head, prepared)
                return
        if head.length == 0:
            self.message = message = self._make(head)
            message.serve()
            if self.message is message:
                self.expect_response()
        else:
            self._begin_with_body(head)

    def _begin_with_body(self, head: Head) -> None:
        body = self._connection.input
        body.begin_body()
        self.message = body.sink = message = self._make(head)
        message.begin()
        if head.expects and not body.stream.pending and body.sink is message:
            message.expected()
        if body.stream.pending:
            body.read_body()

    def _make(self, head: Head) -> Message:
        record = self._site.request_record
        if record is not None:
            self._noted = record.begin(head.method, head.path)
        return self._site.message(head, self._connection)

    def expect_response(self) -> None:
        """Start the response timeout, if the request is still unanswered."""
        message = self.message
        if message is None:
            return
        connection = self._connection
        seconds = connection.limits.request_timeout
        if seconds is not None and not connection.input.closed:
            connection.deadlines.wait_for(Phase.RESPONSE, seconds)
            self.deadline = connection.deadlines.at
        if self._site.draining:
            connection.drain_message(message)

    def head_is_late(self) -> None:
        """Called when the header timeout is over: answer 408 and close."""
        self.refuse(HTTPStatus.REQUEST_TIMEOUT)

    def response_is_late(self) -> None:
        """Called when the request timeout is over: answer 504 or 503, and close."""
        message, head = self.message, self.head
        self._connection.deadlines.clear()
        if message is None or head is None or message.responded:
            return
        _log.error(
            "{method} {path} is given up: no response within {seconds:g} s",
            method=head.method.decode("ascii"),
            path=head.target.partition(b"?")[0].decode("latin-1"),
            seconds=self._connection.limits.request_timeout,
        )
        self.refuse(message.late_status)

    def _answer(self, head: Head, prepared: Prepared) -> None:
        """Send a prepared response."""
        connection, lines = self._connection, self._site.lines
        empty = head.method == b"HEAD"
        if head.length != 0:
            # The request body is not needed, and closing is the cheapest way to
            # refuse it. Its unread rest decides how the connection is closed.
            self.closes_after = True
        is_old = head.version == _OLD
        if not (self.closes_after or prepared.has_files or empty or is_old):
            connection.write(prepared.whole(lines))
        else:
            opening = prepared.opening(lines, self.connection_header(head.version))
            if prepared.has_files and not empty:
                self.message = message = FileSending(
                    connection, head.path, opening, prepared
                )
                message.begin()
                return
            connection.write(opening)
            if not empty:
                connection.writeSequence(prepared.parts)  # type: ignore[arg-type]
        self._site.requests += 1
        if self._site.recorder is not None:
            self._record(prepared.status, 0 if empty else prepared.length)
        self._next()

    def connection_header(self, version: bytes) -> bytes:
        """
        Return the Connection header line of a response; empty if none is needed.

        :param version: the client's HTTP version; a client of 1.0 must be told that
            the connection is kept alive (RFC 9112, section 9.3).
        """
        if self.closes_after or self._site.draining:
            self.closes_after = True
            return _CLOSE
        return _KEEP if version == _OLD else b""

    @property
    def will_close(self) -> bool:
        """Whether the connection is closed after the current response."""
        return self.closes_after or self._site.draining

    def response_ended(self, status: int, sent: int) -> None:
        """
        Called when the response is complete; the request body may not be.

        :param status: the status code of the response.
        :param sent: the number of bytes of its body.
        """
        self._site.requests += 1
        if self._site.recorder is not None:
            self._record(status, sent)
        self.forget_message()
        connection = self._connection
        if connection.flow.producer is not None:
            connection.flow.unregister()
        body = connection.input
        if body.closed:
            return
        if body.sink is None:
            self._next()
        elif self.closes_after or body.stream.left > DISCARD_LIMIT:
            connection.linger()
        else:
            body.sink = Discard(self)
            connection.deadlines.wait_for(Phase.DISCARD, DISCARD_SECONDS)
            body.resume()

    def _next(self) -> None:
        """Continue with the next request, or close the connection."""
        site, connection = self._site, self._connection
        if self.closes_after:
            if connection.input.stream.has_unread:
                connection.linger()
            else:
                connection.loseConnection()
            return
        deadlines = connection.deadlines
        deadlines.phase = _REQUEST
        deadlines.at = site.now + connection.limits.keepalive_timeout
        if connection.input.stream.pending:
            connection.input.go_on()
        elif site.draining:
            connection.drain()

    def body_discarded(self) -> None:
        """Called when the rest of the request body has been read and discarded."""
        self._next()

    def too_much_to_discard(self) -> None:
        """Called when the body to discard exceeds its bound: close the connection."""
        self._connection.linger()

    def refuse(self, status: HTTPStatus, fields: Fields = ()) -> None:
        """
        Send an error response and close; no input after the request is parsed.

        :param status: the status code of the response.
        :param fields: header fields that the response has besides the usual ones.
        """
        connection, message = self._connection, self.message
        self.forget_message()
        begins = connection.input.end()
        head = self.head
        empty = begins == b"HEAD " if head is None else head.method == b"HEAD"
        connection.flow.unregister()
        if message is not None and message.responded:
            # The head of a response was sent already and cannot be replaced.
            self._record(*message.outcome(), complete=False)
            message.abort_response()
        else:
            text = b"" if empty else _text(status)
            connection.write(_refusal(status, fields, self._site.lines) + text)
            self._record(status, len(text))
            connection.linger()
        if message is not None:
            message.lose(Failure(ConnectionLost(f"refused: {status}")))

    def forget_message(self) -> None:
        """Drop the message: its response is complete, or is given up."""
        self.message = None
        record = self._site.request_record
        if self._noted and record is not None:
            record.end(self._noted)
            self._noted = 0

    def give_up(self, message: Message, reason: Failure) -> None:
        """Drop a message whose response ends early, and record that."""
        self.forget_message()
        if self._site.recorder is not None:
            self._record(*message.outcome(), complete=False)
        message.lose(reason)

    def _record(self, status: int, sent: int, *, complete: bool = True) -> None:
        recorder = self._site.recorder
        # A relayed request is logged by the worker that its client is connected to.
        if recorder is None or self._connection.peer.is_relay:
            return
        head, self.head = self.head, None
        recorder.record(
            AccessRecord(
                client=self._client_of(head.fields if head else ()) or "-",
                method=head.method if head else b"-",
                target=head.target if head else b"-",
                version=head.version if head else b"HTTP/1.1",
                fields=head.fields if head else (),
                status=status,
                sent=sent,
                seconds=self._site.clock.seconds() - self._began if head else 0.0,
                complete=complete,
            )
        )

    def _client_of(self, fields: Fields) -> str | None:
        """Return the address of the client, behind trusted proxies."""
        return self._site.proxies.client_of(self._connection.getPeer(), fields)

    def record_upgrade(self) -> None:
        """Write the line of the access log, and forget the message."""
        if self.message is not None:
            self._record(HTTPStatus.SWITCHING_PROTOCOLS, 0)
        self.message = None


def _text(status: HTTPStatus) -> bytes:
    return b"%d %b\n" % (status, status.phrase.encode())


def _refusal(status: HTTPStatus, fields: Fields, common_header_lines: bytes) -> bytes:
    fields = [(b"Content-Type", b"text/plain; charset=utf-8"), *fields]
    return Prepared(status, fields, [_text(status)]).opening(
        common_header_lines, _CLOSE
    )
