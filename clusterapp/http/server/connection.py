"""
HTTP/1.1 server connection of one client, without an event loop (RFC 9112).

For each request there is one current *message*, which answers it: a request object of
the application, an exchange that streams the request elsewhere, or a file that is
being sent. The request body goes to a *sink*: the message itself, or a `Discard` that
drops the rest.
"""

import errno
from http import HTTPStatus
from typing import Final

from twisted.internet.error import ConnectionLost
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from clusterapp.guards import guarded, report
from clusterapp.http.access_log.access_record import AccessRecord
from clusterapp.http.connection_limits import (
    CLOSE_NOTICE_SECONDS,
    DISCARD_LIMIT,
    DISCARD_SECONDS,
    FIRST_REQUEST_SECONDS,
)
from clusterapp.http.server.body_discard import Discard
from clusterapp.http.server.deadlines import Phase
from clusterapp.http.server.file_response import FileSending
from clusterapp.http.server.interfaces import Message, Server
from clusterapp.http.server.prepared_response import Prepared
from clusterapp.http.server.request_context import unwrapped
from clusterapp.http.server.switching import Switching
from clusterapp.http.server.wire import ends_connection
from clusterapp.http.syntax.client_origin import Origin
from clusterapp.http.syntax.request_head import Head
from clusterapp.http.syntax.websocket_frames import INTERNAL_ERROR
from clusterapp.interfaces import Fields

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE: Final = b"Connection: close\r\n"
_KEEP: Final = b"Connection: keep-alive\r\n"
_OLD: Final = b"HTTP/1.0"

# Members of an Enum are looked up slowly, and this one is set for each request.
_REQUEST: Final = Phase.REQUEST

#: The errno values for a full disk or an exceeded quota.
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Connection(Switching):
    """
    HTTP server connection: the base class of the adapters to each kind of transport.

    :param site: the site that is served.
    """

    __slots__ = ("_began", "_noted", "_origin")

    def __init__(self, site: Server) -> None:
        super().__init__(site)
        self._began = 0.0
        self._origin: Origin | None = None
        # The number of the current request in the site's request record; 0 if the
        # request is not recorded.
        self._noted = 0

    @property
    def factory(self) -> Server:
        """The site, under the name that channels of twisted.web use for it."""
        return self.site

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

    # Called by the transport adapter.

    def described(self) -> str:
        """Return a description of what the connection is doing, for the log."""
        head = self._head
        if self._protocol is not None:
            name = type(unwrapped(self._protocol.protocol)).__name__
            return f"serve an upgraded connection by {name}"
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
        facts = self.upgrade_facts() if self.switched else None
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
        if self._speaks_websocket and self._protocol is not None:
            self.fail_websocket(INTERNAL_ERROR, "an exception in the application")
            return
        if self._input_closed or self._protocol is not None or self._is_idle:
            # The client would take an unrequested response as the answer to its next
            # request.
            self.abortConnection()
            return
        try:
            self._refuse(
                HTTPStatus.INSUFFICIENT_STORAGE
                if _is_without_space(failure.value)
                else HTTPStatus.INTERNAL_SERVER_ERROR
            )
        finally:
            if not self._input_closed:  # sending the error has failed, too
                self.abortConnection()

    @ends_connection
    def opened(self) -> None:
        """Called when the transport is connected: start the first-request timeout."""
        self.site.opened(self)
        limits = self.limits
        seconds = limits.first_request_timeout or limits.keepalive_timeout
        if self.site.draining:
            agent = self._of_agent
            seconds = CLOSE_NOTICE_SECONDS if agent else FIRST_REQUEST_SECONDS
        self.deadlines.wait_for(Phase.REQUEST, seconds)

    @guarded(
        "tell of the end of a connection",
        log=lambda doing, failure, connection, _: connection.report(doing, failure),
    )
    def lost(self, reason: Failure) -> None:
        """Called when the connection is lost: notify the message, protocol and site."""
        self._input_closed = True
        self.deadlines.clear()
        self.stream.end()
        self._sink = None
        protocol, self._protocol = self._protocol, None
        try:
            self._give_up_turn()
            if protocol is None:
                self._stop_producer()
            else:
                self.unregisterProducer()
            if protocol is not None:
                protocol.lost(reason)
            elif self._message is not None:
                self._give_up(self._message, reason)
        finally:
            self._forget_message()
            # Also if the application's protocol raises: a drain waits for this call.
            self.site.closed(self)

    @property
    def is_new(self) -> bool:
        """Whether the connection is open and has received no request yet."""
        return self._count == 0 and not self._input_closed

    @property
    def active(self) -> bool:
        """Whether a request is being answered."""
        return self._message is not None

    def under_way(self) -> tuple[bytes, bytes, str | None, float] | None:
        """
        Return the current request, or None; may be called from another thread.

        :return: method, target, client, and the seconds since the request began.
        """
        head = self._head
        if self._message is None or head is None:
            return None
        client = self.site.proxies.client_of(self.getPeer(), head.fields)
        seconds = self.site.clock.seconds() - self._began
        return head.method, head.target, client, seconds

    def _begin(self, head: Head) -> None:
        """Start serving a request whose head has been received."""
        site = self.site
        self.deadlines.clear()
        self._head = head
        self._count += 1
        self._client_closes = not head.keeps
        self._closing = (
            self._client_closes or site.draining or self._count == self.limits.requests
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
            self._message = message = self._make(head)
            message.serve()
            if self._message is message:
                self._expect_response()
        else:
            self._begin_body(head)

    def _make(self, head: Head) -> Message:
        record = self.site.request_record
        if record is not None:
            self._noted = record.begin(head.method, head.path)
        return self.site.message(head, self)

    def send_continue(self) -> None:
        """Send 100 Continue to a client that waits for it before it sends the body."""
        self.write(_CONTINUE)

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
                self._message = message = FileSending(self, opening, prepared)
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
        if self._producer is not None:
            self.unregisterProducer()
        if self._input_closed:
            return
        if self._sink is None:
            self._next()
        elif self._closing or self.stream.left > DISCARD_LIMIT:
            self.linger()
        else:
            self._sink = Discard(self)
            self.deadlines.wait_for(Phase.DISCARD, DISCARD_SECONDS)
            self.resume_reading()

    def _next(self) -> None:
        """Continue with the next request, or close the connection."""
        site = self.site
        if self._closing:
            if self.stream.has_unread:
                self.linger()
            else:
                self.loseConnection()
            return
        deadlines = self.deadlines
        deadlines.phase = _REQUEST
        deadlines.at = site.now + self.limits.keepalive_timeout
        if self.stream.pending:
            self._go_on()
        elif site.draining:
            self.leave()

    def body_discarded(self) -> None:
        """Called when the rest of the request body has been read and discarded."""
        self._next()

    def too_much_to_discard(self) -> None:
        """Called when the body to discard exceeds its bound: close the connection."""
        self.linger()

    def _refuse(self, status: HTTPStatus, fields: Fields = ()) -> None:
        """
        Send an error response and close; no input after the request is parsed.

        :param status: the status code of the response.
        :param fields: header fields that the response has besides the usual ones.
        """
        message = self._message
        self._forget_message()
        self._sink = None
        begins = self.stream.end()
        head = self._head
        empty = begins == b"HEAD " if head is None else head.method == b"HEAD"
        self.unregisterProducer()
        if message is not None and message.responded:
            # The head of a response was sent already and cannot be replaced.
            self._record(*message.outcome(), complete=False)
            message.break_off()
        else:
            text = b"" if empty else _text(status)
            self.write(_refusal(status, fields, self.site.lines) + text)
            self._record(status, len(text))
            self.linger()
        if message is not None:
            message.lose(Failure(ConnectionLost(f"refused: {status}")))

    def _forget_message(self) -> None:
        self._message = None
        record = self.site.request_record
        if self._noted and record is not None:
            record.end(self._noted)
            self._noted = 0

    def _give_up(self, message: Message, reason: Failure) -> None:
        self._forget_message()
        if self.site.recorder is not None:
            self._record(*message.outcome(), complete=False)
        message.lose(reason)

    def _record(self, status: int, sent: int, *, complete: bool = True) -> None:
        recorder = self.site.recorder
        if recorder is not None:
            answered = self._answered(status, sent)
            if not complete:
                answered = answered._replace(complete=False)
            recorder.record(answered)

    def _answered(self, status: int, sent: int) -> AccessRecord:
        head, self._head = self._head, None
        if head is None:  # the input was not a valid request head
            client = self.site.proxies.client_of(self.getPeer(), ()) or "-"
            return AccessRecord(client, b"-", b"-", b"HTTP/1.1", (), status, sent, 0.0)
        return AccessRecord(
            client=self.site.proxies.client_of(self.getPeer(), head.fields) or "-",
            method=head.method,
            target=head.target,
            version=head.version,
            fields=head.fields,
            status=status,
            sent=sent,
            seconds=self.site.clock.seconds() - self._began,
        )


def _is_without_space(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in _NO_SPACE


def _text(status: HTTPStatus) -> bytes:
    return b"%d %b\n" % (status, status.phrase.encode())


def _refusal(status: HTTPStatus, fields: Fields, common_header_lines: bytes) -> bytes:
    fields = [(b"Content-Type", b"text/plain; charset=utf-8"), *fields]
    return Prepared(status, fields, [_text(status)]).opening(
        common_header_lines, _CLOSE
    )
