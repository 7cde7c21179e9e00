"""
HTTP/1.1 server connection of one client, without an event loop (RFC 9112).

A connection is the policy that its parts follow: which message is answered, and when
the connection closes. The parts are its transport adapter, `RequestInput`,
`FlowControl`, `Deadlines`; and when they are needed `LingeringClose`,
`ProtocolUpgrade` and `ConnectionDrain`.

For each request there is one current *message*, which answers it: a request object of
the application, an exchange that streams the request elsewhere, or a file that is
being sent. The request body goes to a *sink*: the message itself, or a `Discard` that
drops the rest.
"""

import errno
from collections.abc import Callable
from http import HTTPStatus
from math import inf
from typing import Any, Final

from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.interfaces import IAddress, IProducer, IProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from clusterapp.guards import guarded, report
from clusterapp.http.access_log.access_record import Answered
from clusterapp.http.limits import (
    CLOSE_NOTICE_SECONDS,
    CLOSE_NOTIFY_SECONDS,
    DISCARD_LIMIT,
    DISCARD_SECONDS,
    FIRST_REQUEST_SECONDS,
    LINGER_CHECK,
    LINGER_SECONDS,
    WRITE_STALL,
)
from clusterapp.http.server.body_discard import Discard
from clusterapp.http.server.connection_drain import ConnectionDrain
from clusterapp.http.server.connection_guard import ends_connection
from clusterapp.http.server.deadlines import Deadlines, Phase
from clusterapp.http.server.file_response import FileSending
from clusterapp.http.server.flow_control import FlowControl
from clusterapp.http.server.interfaces import Message, Server, TransportAdapter
from clusterapp.http.server.lingering_close import Lingering, LingeringClose
from clusterapp.http.server.peer_kind import PeerKind
from clusterapp.http.server.prepared_response import Prepared
from clusterapp.http.server.protocol_upgrade import ProtocolUpgrade
from clusterapp.http.server.request_input import RequestInput
from clusterapp.http.syntax.client_origin import Origin
from clusterapp.http.syntax.request_head import BadMessageError, Head, HeadReader
from clusterapp.http.syntax.websocket_frames import INTERNAL_ERROR
from clusterapp.interfaces import Fields

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE: Final = b"Connection: close\r\n"
_KEEP: Final = b"Connection: keep-alive\r\n"
_OLD: Final = b"HTTP/1.0"

# Members of an Enum are looked up slowly, and these are used for each request.
_REQUEST: Final = Phase.REQUEST
_CLIENT: Final = PeerKind.CLIENT
_RELAY: Final = PeerKind.RELAY

#: The phases of a connection that has no request.
_BETWEEN_REQUESTS: Final = (Phase.REQUEST, Phase.REST)

#: The logged reason why the rest of a file cannot be sent.
SHORTER: Final = "the file has become shorter than was announced"

#: The errno values for a full disk or an exceeded quota.
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Connection:
    """
    HTTP server connection.

    :param site: the site that is served.
    :param adapter: the adapter of its transport.
    :param peer_kind: what the peer is, and so whose its requests are.
    :param heads: the parser of request heads with its limits; by default, the site's.
    :param listener: the name of the listener that accepted the connection; empty if
        not known.
    :ivar write: writes bytes to the client; set by the adapter.
    :ivar count: the number of requests received.
    :ivar head: the head of the current request.
    :ivar message: the current message.
    :ivar response_deadline: the deadline of the response; `math.inf` for none.
    """

    __slots__ = (
        "_began",
        "_client_closes",
        "_closing",
        "_linger",
        "_noted",
        "_origin",
        "_peer_kind",
        "_upgrade",
        "adapter",
        "count",
        "deadlines",
        "flow",
        "head",
        "input",
        "limits",
        "listener",
        "message",
        "response_deadline",
        "site",
        "write",
    )

    _log = Logger()

    def __init__(
        self,
        site: Server,
        adapter: TransportAdapter,
        peer_kind: PeerKind = _CLIENT,
        *,
        heads: HeadReader | None = None,
        listener: str = "",
    ) -> None:
        self.site = site
        self.adapter = adapter
        self.listener = listener
        heads = heads or site.heads
        self.limits = site.limits if heads is site.heads else heads.limits
        self.deadlines = Deadlines(site.clock)
        self.input: RequestInput = RequestInput(self, heads)
        self.flow = FlowControl(site.clock, self._producer_failed)
        self.write: Callable[[bytes], None]
        self.count = 0
        self.head: Head | None = None
        self.message: Message | None = None
        self.response_deadline = inf
        self._peer_kind = peer_kind
        self._origin: Origin | None = None
        self._began = 0.0
        # Whether the client has announced that it sends no further request.
        self._client_closes = False
        # Whether the connection is closed after this response, whose head tells the
        # client so.
        self._closing = False
        self._linger: LingeringClose | None = None
        self._upgrade: ProtocolUpgrade | None = None
        # The number of the current request in the site's request record; 0 if the
        # request is not recorded.
        self._noted = 0

    @property
    def connection(self) -> "Connection":
        """The connection itself, which an exception in one of its callbacks ends."""
        return self

    @property
    def factory(self) -> Server:
        """The site, under the name that channels of twisted.web use for it."""
        return self.site

    # The peer.

    @property
    def of_client(self) -> bool:
        """Whether the peer is a client or a proxy, not another worker."""
        return self._peer_kind is not _RELAY

    @property
    def of_agent(self) -> bool:
        """Whether the peer is a `CoreAgent`, which closes upon a close notice."""
        return self.site.serves_agents or self._peer_kind is _RELAY

    @property
    def origin(self) -> Origin:
        """The addresses, TLS state and certificate of the client's connection."""
        if self._origin is None:
            self._origin = Origin(
                self.getPeer(),
                self.getHost(),
                self.isSecure(),
                certificate=self.client_certificate(),
            )
        return self._origin

    def getPeer(self) -> IAddress:
        """Return the client's address."""
        origin = self._origin
        return self.adapter.getPeer() if origin is None else origin.peer

    def getHost(self) -> IAddress:
        """Return the address that the client has connected to."""
        origin = self._origin
        return self.adapter.getHost() if origin is None else origin.host

    def isSecure(self) -> bool:
        """Return whether the client uses TLS, as far as the connection shows."""
        origin = self._origin
        return self.adapter.secure if origin is None else origin.secure

    @property
    def encrypted(self) -> bool:
        """Whether the client's connection itself uses TLS."""
        if self._peer_kind is _CLIENT:
            return self.adapter.encrypted
        return self.isSecure()

    def client_certificate(self) -> bytes | None:
        """Return the client certificate in DER, or None."""
        if self._origin is not None:
            return self._origin.certificate
        # Of another process the certificate is its own.
        is_client = self._peer_kind is _CLIENT
        return self.adapter.client_certificate() if is_client else None

    def _take_origin(self, head: Head) -> None:
        """
        Take the client's addresses from a request of another process.

        :raises BadMessageError: if a relayed request does not name its client.
        """
        self._origin = head.origin
        self._upgrade = None  # its transport has the previous client's addresses
        if head.origin is None and self._peer_kind is _RELAY:
            raise BadMessageError(HTTPStatus.BAD_REQUEST, "it is of no worker")

    # Exceptions in callbacks.

    def described(self) -> str:
        """Return a description of what the connection is doing, for the log."""
        head = self.head
        if self.input.upgraded is not None:
            return self.upgrade.described(self.input.upgraded)
        if head is None:
            return "serve a connection"
        method, path = head.method.decode("ascii"), head.path.decode("latin-1")
        return f"serve {method} {path}"

    def report(self, doing: str, failure: Failure) -> None:
        """
        Log an exception in one of the connection's callbacks.

        On an upgraded connection the exception is logged as an error of the
        application, with the request that has asked for the upgrade.

        :param doing: the action that failed, as in ``cannot {doing}``.
        :param failure: the exception.
        """
        facts = self.upgrade.facts() if self.switched else None
        if facts is None:
            report(doing, failure)
        else:
            report(f"{doing}: {facts}", failure, LogLevel.error, request=facts)

    def fail(self, failure: Failure) -> None:
        """
        Close the connection after an exception in one of its callbacks.

        If no part of a response was sent, the client gets a 500, or a 507 if there
        is no space for its request (RFC 4918, section 11.5); otherwise the connection
        is aborted, so that the client does not take a partial response for a complete
        one. A WebSocket is closed with 1011 (RFC 6455, section 7.4.1).

        :param failure: the exception, which has already been logged.
        """
        is_upgraded = self.input.upgraded is not None
        if is_upgraded and self.upgrade.speaks_websocket:
            why = "an exception in the application"
            self.upgrade.fail_websocket(INTERNAL_ERROR, why)
            return
        if self.input.closed or is_upgraded or self.is_idle:
            # The client would take an unrequested response as the answer to its next
            # request.
            self.abortConnection()
            return
        try:
            self.refuse(
                HTTPStatus.INSUFFICIENT_STORAGE
                if _is_without_space(failure.value)
                else HTTPStatus.INTERNAL_SERVER_ERROR
            )
        finally:
            if not self.input.closed:  # sending the error has failed, too
                self.abortConnection()

    # Called by the transport adapter.

    @ends_connection
    def opened(self) -> None:
        """Called when the transport is connected: start the first-request timeout."""
        self.site.opened(self)
        limits = self.limits
        seconds = limits.first_request_timeout or limits.keepalive_timeout
        if self.site.draining:
            agent = self.of_agent
            seconds = CLOSE_NOTICE_SECONDS if agent else FIRST_REQUEST_SECONDS
        self.deadlines.wait_for(Phase.REQUEST, seconds)

    @ends_connection
    def writing_paused(self) -> None:
        """Called when the write buffer is full: the client reads too slowly."""
        if self.flow.paused:
            return  # a connection's second transport calls this once more
        self.deadlines.stall = self.site.now + WRITE_STALL
        self.flow.pause()
        if self.input.upgraded is not None:
            self.input.upgraded.full(True)

    @ends_connection
    def writing_resumed(self) -> None:
        """Called when the write buffer has drained: continue to write, or to parse."""
        self.deadlines.stall = inf
        self.flow.resume()
        if self.input.upgraded is not None:
            self.input.upgraded.full(False)
        else:
            self.input.go_on()

    @ends_connection
    def peer_closed(self) -> None:
        """Called when the peer has closed its side, and its input is served."""
        if self.input.closed:
            # Both sides are closed. The transport that replaced an early transport
            # stays open at the peer's EOF until it is closed here.
            if not self.adapter.encrypted:
                self.adapter.close()
            return
        self._client_closes = True
        message = self.message
        if message is not None and (message.responded or self.adapter.unsent):
            # The client must not take a partial response for a complete one, nor
            # should its producer have to wait until the write buffer is sent.
            self.abortConnection()
        else:
            self.loseConnection()

    @guarded(
        "tell of the end of a connection",
        log=lambda doing, failure, connection, _: connection.report(doing, failure),
    )
    def lost(self, reason: Failure) -> None:
        """Called when the connection is lost: notify the message, protocol and site."""
        self.deadlines.clear()
        stream, self.input.upgraded = self.input.upgraded, None
        try:
            self.input.lost()
            if stream is None:
                self.flow.stop()
            else:
                self.flow.unregister()
                stream.lost(reason)
            if stream is None and self.message is not None:
                self.give_up(self.message, reason)
        finally:
            self._forget_message()
            # Also if the application's protocol raises: a drain waits for this call.
            self.site.closed(self)

    # Requests.

    @property
    def can_serve(self) -> bool:
        """Whether the next request may be served now."""
        return self.message is None and not self.flow.paused

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way, and none has begun to arrive."""
        return (
            self.deadlines.phase in _BETWEEN_REQUESTS
            and not self.input.closed
            and not self.input.stream.pending
            and self.message is None
        )

    @property
    def is_new(self) -> bool:
        """Whether the connection is open and has received no request yet."""
        return self.count == 0 and not self.input.closed

    @property
    def active(self) -> bool:
        """Whether a request is being answered."""
        return self.message is not None

    @property
    def is_slow(self) -> bool:
        """Whether the body arrives below the minimum rate, if known already."""
        return self.input.is_slow

    def under_way(self) -> tuple[bytes, bytes, str | None, float] | None:
        """
        Return the current request, or None; may be called from another thread.

        :return: method, target, client, and the seconds since the request began.
        """
        head = self.head
        if self.message is None or head is None:
            return None
        client = self.site.proxies.client_of(self.getPeer(), head.fields)
        seconds = self.site.clock.seconds() - self._began
        return head.method, head.target, client, seconds

    def begin(self, head: Head) -> None:
        """Start serving a request whose head has been received."""
        site = self.site
        if self._peer_kind is not _CLIENT:
            self._take_origin(head)
        self.deadlines.clear()
        self.head = head
        self.count += 1
        self._client_closes = not head.keeps
        self._closing = (
            self._client_closes or site.draining or self.count == self.limits.requests
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
        body = self.input
        body.begin_body()
        self.message = body.sink = message = self._make(head)
        message.begin()
        if head.expects and not body.stream.pending and body.sink is message:
            message.expected()
        if body.stream.pending:
            body.read_body()

    def _make(self, head: Head) -> Message:
        record = self.site.request_record
        if record is not None:
            self._noted = record.begin(head.method, head.path)
        return self.site.message(head, self)

    def expect_response(self) -> None:
        """Start the response timeout, if the request is still unanswered."""
        message = self.message
        if message is None:
            return
        seconds = self.limits.request_timeout
        if seconds is not None and not self.input.closed:
            self.deadlines.wait_for(Phase.RESPONSE, seconds)
            self.response_deadline = self.deadlines.at
        if self.site.draining:
            ConnectionDrain(self).end_message(message)

    def send_continue(self) -> None:
        """Send 100 Continue to a client that waits for it before it sends the body."""
        self.write(_CONTINUE)

    def pause_reading(self) -> None:
        """Pause reading from the client."""
        self.input.pause()

    def resume_reading(self) -> None:
        """Resume reading from the client."""
        self.input.resume()

    # Responses.

    def _answer(self, head: Head, prepared: Prepared) -> None:
        """Send a prepared response."""
        empty = head.method == b"HEAD"
        if head.length != 0:
            # The request body is not needed, and closing is the cheapest way to
            # refuse it. Its unread rest decides how the connection is closed.
            self._closing = True
        if not (self._closing or prepared.has_files or empty or head.version == _OLD):
            self.write(prepared.whole(self.site.lines))
        else:
            opening = prepared.opening(
                self.site.lines, self.connection_header(head.version)
            )
            if prepared.has_files and not empty:
                self.message = message = FileSending(self, opening, prepared)
                message.begin()
                return
            self.write(opening)
            if not empty:
                self.writeSequence(prepared.parts)  # type: ignore[arg-type]
        self.site.requests += 1
        if self.site.recorder is not None:
            self._record(prepared.status, 0 if empty else prepared.length)
        self._next()

    def connection_header(self, version: bytes) -> bytes:
        """
        Return the Connection header line of a response; empty if none is needed.

        :param version: the client's HTTP version; a client of 1.0 must be told that
            the connection is kept alive (RFC 9112, section 9.3).
        """
        if self._closing or self.site.draining:
            self._closing = True
            return _CLOSE
        return _KEEP if version == _OLD else b""

    @property
    def will_close(self) -> bool:
        """Whether the connection is closed after the current response."""
        return self._closing or self.site.draining

    def close_after(self) -> None:
        """Close the connection after the current response."""
        self._closing = True

    def response_ended(self, status: int, sent: int) -> None:
        """
        Called when the response is complete; the request body may not be.

        :param status: the status code of the response.
        :param sent: the number of bytes of its body.
        """
        self.site.requests += 1
        if self.site.recorder is not None:
            self._record(status, sent)
        self._forget_message()
        if self.flow.producer is not None:
            self.flow.unregister()
        body = self.input
        if body.closed:
            return
        if body.sink is None:
            self._next()
        elif self._closing or body.stream.left > DISCARD_LIMIT:
            self.linger()
        else:
            body.sink = Discard(self)
            self.deadlines.wait_for(Phase.DISCARD, DISCARD_SECONDS)
            body.resume()

    def _next(self) -> None:
        """Continue with the next request, or close the connection."""
        site = self.site
        if self._closing:
            if self.input.stream.has_unread:
                self.linger()
            else:
                self.loseConnection()
            return
        deadlines = self.deadlines
        deadlines.phase = _REQUEST
        deadlines.at = site.now + self.limits.keepalive_timeout
        if self.input.stream.pending:
            self.input.go_on()
        elif site.draining:
            ConnectionDrain(self).transfer_or_close()

    def body_discarded(self) -> None:
        """Called when the rest of the request body has been read and discarded."""
        self._next()

    def too_much_to_discard(self) -> None:
        """Called when the body to discard exceeds its bound: close the connection."""
        self.linger()

    def refuse(self, status: HTTPStatus, fields: Fields = ()) -> None:
        """
        Send an error response and close; no input after the request is parsed.

        :param status: the status code of the response.
        :param fields: header fields that the response has besides the usual ones.
        """
        message = self.message
        self._forget_message()
        begins = self.input.end()
        head = self.head
        empty = begins == b"HEAD " if head is None else head.method == b"HEAD"
        self.flow.unregister()
        if message is not None and message.responded:
            # The head of a response was sent already and cannot be replaced.
            self._record(*message.outcome(), complete=False)
            message.abort_response()
        else:
            text = b"" if empty else _text(status)
            self.write(_refusal(status, fields, self.site.lines) + text)
            self._record(status, len(text))
            self.linger()
        if message is not None:
            message.lose(Failure(ConnectionLost(f"refused: {status}")))

    def _forget_message(self) -> None:
        self.message = None
        record = self.site.request_record
        if self._noted and record is not None:
            record.end(self._noted)
            self._noted = 0

    def give_up(self, message: Message, reason: Failure) -> None:
        """Drop a message whose response ends early, and record that."""
        self._forget_message()
        if self.site.recorder is not None:
            self._record(*message.outcome(), complete=False)
        message.lose(reason)

    def _record(self, status: int, sent: int, *, complete: bool = True) -> None:
        recorder = self.site.recorder
        # Of a relayed request the worker that its client is connected to logs.
        if recorder is not None and self._peer_kind is not _RELAY:
            answered = self._answered(status, sent)
            if not complete:
                answered = answered._replace(complete=False)
            recorder.record(answered)

    def _answered(self, status: int, sent: int) -> Answered:
        head, self.head = self.head, None
        if head is None:  # the input was not a valid request head
            client = self.site.proxies.client_of(self.getPeer(), ()) or "-"
            return Answered(client, b"-", b"-", b"HTTP/1.1", (), status, sent, 0.0)
        return Answered(
            client=self.site.proxies.client_of(self.getPeer(), head.fields) or "-",
            method=head.method,
            target=head.target,
            version=head.version,
            fields=head.fields,
            status=status,
            sent=sent,
            seconds=self.site.clock.seconds() - self._began,
        )

    def write_before_file(self, data: bytes) -> None:
        """Write bytes that a part of a file follows at once."""
        try:
            self.adapter.write_before_file(data)
        except OSError:  # the client has disconnected
            self.abortConnection()

    def send_file(self, fd: int, offset: int, length: int) -> int:
        """
        Send a part of a file.

        :param fd: the file descriptor.
        :param offset: the offset of the part, in bytes.
        :param length: the length of the part, in bytes.
        :return: how many bytes were written; 0 if it must wait, or if the file cannot
            be read and the connection has been aborted.
        """
        try:
            sent = self.adapter.send_file(fd, offset, length)
        except OSError as error:
            self._file_failed(error)
            return 0
        if sent is None:
            self.writing_paused()
            return 0
        if not sent:
            self._file_failed()
        return sent

    def _file_failed(self, error: OSError | None = None) -> None:
        if not isinstance(error, ConnectionError):  # the client has disconnected
            target = b"-" if self.head is None else self.head.target
            self._log.error(
                "cannot send {path}: {why}; its response is aborted",
                path=target.partition(b"?")[0].decode("latin-1"),
                why=error or SHORTER,
            )
        self.abortConnection()

    def writeSequence(self, pieces: list[bytes]) -> None:
        """Write the pieces to the client, joined."""
        self.write(b"".join(pieces))

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Register a producer; see `FlowControl.register`."""
        self.flow.register(producer, streaming=streaming)

    def unregisterProducer(self) -> None:
        """Unregister the producer."""
        self.flow.unregister()

    def _producer_failed(self, failure: Failure) -> None:
        """Called when a producer has raised an exception: end its response."""
        if self.input.upgraded is None and self.message is not None:
            self.flow.stop()  # the producer may hold open files
            self.message.fail(failure)
        else:
            self.report("let a producer follow the client", failure)
            self.fail(failure)

    # When the response cannot be completed.

    def refuse_request(self, status: HTTPStatus) -> None:
        """
        Answer the current request with an error response, and close.

        :param status: the status code; no part of another response may have been sent.
        """
        self.refuse(status)

    def abort_response(self, message: Message) -> None:
        """
        Abort the connection, so that the client sees that a response is incomplete.

        :param message: the message that responds, which is dropped.
        """
        self.abortConnection()
        if self.message is message:
            self.give_up(message, Failure(ConnectionAborted()))

    # The upgrade to another protocol.

    @property
    def upgrade(self) -> ProtocolUpgrade:
        """The raw stream, and its use by another protocol; made on first use."""
        if self._upgrade is None:
            self._upgrade = ProtocolUpgrade(self)
        return self._upgrade

    @property
    def switched(self) -> bool:
        """Whether the connection has been upgraded."""
        return self._upgrade is not None and self._upgrade.switched

    @property
    def transport(self) -> Any:
        """The raw stream as an `ITransport`; None once a resource has detached it."""
        return self.upgrade.transport

    @transport.setter
    def transport(self, nothing: None) -> None:
        # Some WebSocket libraries detach the transport by setting it to None.
        assert nothing is None  # noqa: S101
        self.upgrade.detach()

    def hand_over(self, protocol: IProtocol) -> None:
        """Upgrade the connection; see `ProtocolUpgrade.connect`."""
        self.upgrade.connect(protocol)

    def take_over(self, protocol: IProtocol) -> None:
        """Upgrade the connection; see `ProtocolUpgrade.take_over`."""
        self.upgrade.take_over(protocol)

    def _protocolUpgradeForWebsockets(self, protocol: IProtocol) -> None:
        # The name that twisted.web.websocket calls.
        self.upgrade.connect_websocket(protocol)

    def pause_protocol(self) -> None:
        """Called when code that uses the transport pauses it: pause reading."""
        stream = self.input.upgraded
        if stream is None:
            self.input.pause()
        else:
            stream.pause()

    def resume_protocol(self) -> None:
        """Called when code that uses the transport resumes it: resume reading."""
        stream = self.input.upgraded
        if stream is None:
            self.input.resume()
        else:
            stream.resume()

    def record_upgrade(self) -> None:
        """Write the line of the access log, and forget the message."""
        if self.message is not None:
            self._record(HTTPStatus.SWITCHING_PROTOCOLS, 0)
        self.message = None

    # Closing.

    def loseConnection(self) -> None:
        """
        Close the connection once everything is written.

        If the client may send more while it has yet to read, the close is a lingering
        one.
        """
        if not self._client_closes and self.adapter.unacknowledged() > 0:
            self.linger(LINGER_CHECK)
        else:
            self._close()

    def _close(self) -> None:
        """Close once everything is written, without waiting for the client to read."""
        if self.adapter.closes_by_peer:
            self.linger(CLOSE_NOTIFY_SECONDS)
            return
        self.flow.unregister()
        self.input.closed = True
        self.deadlines.wait_for(Phase.END, WRITE_STALL)
        self.adapter.close()

    def linger(self, seconds: float = LINGER_SECONDS) -> None:
        """
        Close with a lingering close, so that the client can read the response.

        Only the write side is closed, and input is read and discarded until the client
        closes or has acknowledged everything: if a socket is closed before, input that
        is not read, or comes later, resets the connection, and the client loses what
        it has not read (RFC 9112, section 9.6).

        :param seconds: how long to wait for the client to close, even if it has
            acknowledged everything.
        """
        self.flow.unregister()
        if self.input.upgraded is not None:
            self.input.upgraded.close()  # the protocol gets no further input
        self.input.closed = True
        self.deadlines.wait_for(Phase.LINGER, seconds)
        self._linger = LingeringClose(
            self.adapter.unacknowledged(), self.deadlines.at + WRITE_STALL
        )
        self.input.resume()
        if not self.adapter.close_writing():
            self.adapter.end_linger()

    def end_linger_in(self, seconds: float) -> None:
        """Bound how long a lingering close waits for a client that reads nothing."""
        if self._linger is not None:
            self._linger.ends = self.site.clock.seconds() + seconds

    def check_linger(self) -> None:
        """Called after some time of a lingering close: end it if it may end."""
        left, now = self.adapter.unacknowledged(), self.site.clock.seconds()
        linger = self._linger
        outcome = Lingering.COMPLETE if linger is None else linger.check(left, now)
        if outcome is Lingering.COMPLETE:
            self.adapter.end_linger()
        elif outcome is Lingering.STALLED:
            self.abortConnection()
        else:
            self.deadlines.wait_for(Phase.LINGER, LINGER_CHECK)

    @property
    def has_been_read(self) -> bool:
        """Whether only the client's closing is awaited: it has acknowledged all."""
        is_lingering = self.deadlines.phase == Phase.LINGER
        return is_lingering and not self.adapter.unacknowledged()

    def abortConnection(self) -> None:
        """Abort the connection: close at once, so that the client sees an error."""
        self.input.closed = True
        self.flow.stop()
        self.deadlines.clear()
        self.adapter.abort()

    # Called by the site.

    @ends_connection
    def overdue(self, now: float) -> None:
        """
        Called by the site when a deadline of the connection has passed.

        :param now: the current time on the site's clock, in seconds.
        """
        if self.deadlines.stall <= now:
            self.abortConnection()
        elif self.deadlines.at <= now:
            _AT_THE_END.get(self.deadlines.phase, Connection.abortConnection)(self)

    @ends_connection
    def end_early(self) -> None:
        """
        Close the connection now, since file descriptors are scarce.

        An idle connection is closed as after its keep-alive timeout, but without
        waiting for the client to close, and so is a lingering one whose client has
        acknowledged everything. Any other one is aborted.
        """
        if self.deadlines.phase == Phase.REQUEST:
            self._close()
        elif not self.has_been_read:
            self.abortConnection()
        # Also if it has only begun, and waits for a close_notify.
        if self.deadlines.phase == Phase.LINGER:
            self.adapter.end_linger()

    @ends_connection
    def end_late(self) -> None:
        """
        Close the connection now, since the graceful timeout is over.

        It is aborted, unless the whole response is written: then the kernel sends on.
        """
        if self.deadlines.phase == Phase.LINGER and not self.adapter.unsent:
            self.adapter.end_linger()
        else:
            self.abortConnection()

    @ends_connection
    def drain(self) -> None:
        """Start to drain: finish the current request; close or transfer when idle."""
        upgrade = self._upgrade
        if not self.adapter.is_connected:
            ConnectionDrain(self).keep()  # until the transport has been made
        elif self.input.upgraded is not None:
            self.upgrade.drain()
        elif upgrade is not None and upgrade.detached and not self.input.closed:
            self.loseConnection()
        elif self.message is not None:
            ConnectionDrain(self).end_message(self.message)
        elif self.is_idle:
            ConnectionDrain(self).transfer_or_close()

    @property
    def can_be_asked_to_close(self) -> bool:
        """Whether the connection is idle, and the agent was not asked to close it."""
        notice_ends = self.site.clock.seconds() + CLOSE_NOTICE_SECONDS
        # A connection without a request yet was opened for one.
        return (
            self.deadlines.phase == Phase.REQUEST
            and self.count > 0
            and self.deadlines.at > notice_ends
        )

    def ask_to_close(self) -> None:
        """Ask the agent at the other end to close the idle connection."""
        ConnectionDrain(self).ask_to_close()

    def head_is_late(self) -> None:
        """Called when the header timeout is over: answer 408 and close."""
        self.refuse(HTTPStatus.REQUEST_TIMEOUT)

    def response_is_late(self) -> None:
        """Called when the request timeout is over: answer 504 or 503, and close."""
        message, head = self.message, self.head
        self.deadlines.clear()
        if message is None or head is None or message.responded:
            return
        self._log.error(
            "{method} {path} is given up: no response within {seconds:g} s",
            method=head.method.decode("ascii"),
            path=head.target.partition(b"?")[0].decode("latin-1"),
            seconds=self.limits.request_timeout,
        )
        self.refuse(message.late_status)


#: What is called when the deadline of each phase has passed.
_AT_THE_END: Final[dict[Phase, Callable[[Connection], None]]] = {
    Phase.REQUEST: Connection.loseConnection,
    Phase.REST: lambda connection: ConnectionDrain(connection).transfer_or_close(),
    Phase.HEAD: Connection.head_is_late,
    Phase.BODY: lambda connection: connection.input.check_rate(),
    Phase.RESPONSE: Connection.response_is_late,
    Phase.STREAM: lambda connection: ConnectionDrain(connection).end_stream(),
    Phase.UPGRADED: lambda connection: connection.upgrade.send_close_frame(),
    Phase.CLOSE_FRAME: lambda connection: connection.upgrade.close(),
    Phase.DISCARD: Connection.linger,
    Phase.LINGER: Connection.check_linger,
}


def _is_without_space(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in _NO_SPACE


def _text(status: HTTPStatus) -> bytes:
    return b"%d %b\n" % (status, status.phrase.encode())


def _refusal(status: HTTPStatus, fields: Fields, common_header_lines: bytes) -> bytes:
    fields = [(b"Content-Type", b"text/plain; charset=utf-8"), *fields]
    return Prepared(status, fields, [_text(status)]).opening(
        common_header_lines, _CLOSE
    )
