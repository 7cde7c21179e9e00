"""
HTTP/1.1 server connection of one client, without an event loop (RFC 9112).

A connection holds its parts together, and is the channel of its messages: of
`twisted.web.server.Request` among others. The parts are the transport adapter,
`RequestInput`, `RequestCycle`, `FlowControl`, `Deadlines`, `ConnectionPeer`,
`ConnectionClose`, and where they are needed `ProtocolUpgrade` and `ConnectionDrain`.
"""

import errno
from collections.abc import Callable
from http import HTTPStatus
from math import inf
from typing import Any, Final

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IAddress, IProducer, IProtocol
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from clusterapp.guards import guarded, report
from clusterapp.http.connection.closing import ConnectionClose
from clusterapp.http.connection.draining import ConnectionDrain
from clusterapp.http.connection.flow_control import FlowControl
from clusterapp.http.connection.guard import ends_connection
from clusterapp.http.connection.peer import ConnectionPeer
from clusterapp.http.connection.peer_kind import PeerKind
from clusterapp.http.connection.protocol_upgrade import ProtocolUpgrade
from clusterapp.http.connection.request_cycle import RequestCycle
from clusterapp.http.connection.request_input import RequestInput
from clusterapp.http.connection_limits import (
    CLOSE_NOTICE_SECONDS,
    FIRST_REQUEST_SECONDS,
    LINGER_SECONDS,
    WRITE_STALL,
)
from clusterapp.http.server.deadlines import Deadlines, Phase
from clusterapp.http.server.server_interfaces import Message, Server, TransportAdapter
from clusterapp.http.syntax.client_origin import Origin
from clusterapp.http.syntax.request_head import HeadReader
from clusterapp.http.websocket.frames import INTERNAL_ERROR

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

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
    :ivar write: writes bytes to the client; set by the adapter, with its transport.
    :ivar cycle: its requests, one at a time.
    :ivar input: its input side.
    :ivar flow: its output side.
    :ivar closing: the ways to close it.
    :ivar peer: who sends the requests.
    """

    __slots__ = (
        "_upgrade",
        "adapter",
        "closing",
        "cycle",
        "deadlines",
        "flow",
        "input",
        "limits",
        "listener",
        "peer",
        "site",
        "write",
    )

    def __init__(
        self,
        site: Server,
        adapter: TransportAdapter,
        peer_kind: PeerKind = PeerKind.CLIENT,
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
        self.peer = ConnectionPeer(adapter, peer_kind)
        self.cycle: RequestCycle = RequestCycle(self)
        self.input: RequestInput = RequestInput(self, self.cycle, heads)
        self.flow: FlowControl = FlowControl(self)
        self.closing: ConnectionClose = ConnectionClose(self)
        self.write: Callable[[bytes], None]
        self._upgrade: ProtocolUpgrade | None = None

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
    def is_relay(self) -> bool:
        """Whether the peer is a worker that relays requests of its clients."""
        return self.peer.is_relay

    @property
    def origin(self) -> Origin:
        """The addresses, TLS state and certificate of the client's connection."""
        return self.peer.origin

    def getPeer(self) -> IAddress:
        """Return the client's address."""
        return self.peer.address

    def getHost(self) -> IAddress:
        """Return the address that the client has connected to."""
        return self.peer.host

    def isSecure(self) -> bool:
        """Return whether the client uses TLS, as far as the connection shows."""
        return self.peer.secure

    # Exceptions in callbacks.

    def described(self) -> str:
        """Return a description of what the connection is doing, for the log."""
        head = self.cycle.head
        if self.input.upgraded is not None:
            return self.input.upgraded.described
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
        if self.input.closed or is_upgraded or self.cycle.is_idle:
            # The client would take an unrequested response as the answer to its next
            # request.
            self.abortConnection()
            return
        try:
            self.cycle.refuse(
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
            client = self.peer.is_client
            seconds = FIRST_REQUEST_SECONDS if client else CLOSE_NOTICE_SECONDS
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
        self.closing.client_sends_no_more = True
        message = self.cycle.message
        if message is not None and (message.responded or self.adapter.unsent):
            # The client must not take a partial response for a complete one, nor
            # should its producer have to wait until the write buffer is sent.
            self.abortConnection()
        else:
            self.loseConnection()

    def lost(self, reason: Failure) -> None:
        """Called when the connection is lost: notify the message, protocol and site."""
        self._notify_of_loss(reason)
        # The parts refer to each other, and so wait for the garbage collector; the
        # head, which may be large, does not.
        self.cycle.head = None

    @guarded(
        "tell of the end of a connection",
        log=lambda doing, failure, connection, _: connection.report(doing, failure),
    )
    def _notify_of_loss(self, reason: Failure) -> None:
        self.deadlines.clear()
        stream, self.input.upgraded = self.input.upgraded, None
        try:
            self.input.lost()
            if stream is None:
                self.flow.stop()
            else:
                self.flow.unregister()
                stream.lost(reason)
            if stream is None and self.cycle.message is not None:
                self.cycle.give_up(self.cycle.message, reason)
        finally:
            self.cycle.forget_message()
            # Also if the application's protocol raises: a drain waits for this call.
            self.site.closed(self)

    def writeSequence(self, pieces: list[bytes]) -> None:
        """Write the pieces to the client, joined."""
        self.write(b"".join(pieces))

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Register a producer; see `FlowControl.register`."""
        self.flow.register(producer, streaming=streaming)

    def unregisterProducer(self) -> None:
        """Unregister the producer."""
        self.flow.unregister()

    def producer_failed(self, failure: Failure) -> None:
        """Called when a producer has raised an exception: end its response."""
        if self.input.upgraded is None and self.cycle.message is not None:
            self.flow.stop()  # the producer may hold open files
            self.cycle.message.fail(failure)
        else:
            self.report("let a producer follow the client", failure)
            self.fail(failure)

    # When the response cannot be completed.

    def refuse_request(self, status: HTTPStatus) -> None:
        """
        Answer the current request with an error response, and close.

        :param status: the status code; no part of another response may have been sent.
        """
        self.cycle.refuse(status)

    def abort_response(self, message: Message) -> None:
        """
        Abort the connection, so that the client sees that a response is incomplete.

        :param message: the message that responds, which is dropped.
        """
        self.abortConnection()
        if self.cycle.message is message:
            self.cycle.give_up(message, Failure(ConnectionAborted()))

    # Requests and responses.

    @property
    def is_new(self) -> bool:
        """Whether the connection is open and has received no request yet."""
        return self.cycle.count == 0 and not self.input.closed

    @property
    def active(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle.message is not None

    @property
    def is_slow(self) -> bool:
        """Whether the body arrives below the minimum rate, if known already."""
        return self.input.is_slow

    def under_way(self) -> tuple[bytes, bytes, str | None, float] | None:
        """Return the current request, or None; may be called from another thread."""
        return self.cycle.under_way()

    def send_continue(self) -> None:
        """Send 100 Continue to a client that waits for it before it sends the body."""
        self.write(_CONTINUE)

    def pause_reading(self) -> None:
        """Pause reading from the client."""
        self.input.pause()

    def resume_reading(self) -> None:
        """Resume reading from the client."""
        self.input.resume()

    def connection_header(self, version: bytes) -> bytes:
        """Return the Connection header line of a response; empty if none is needed."""
        return self.cycle.connection_header(version)

    @property
    def will_close(self) -> bool:
        """Whether the connection is closed after the current response."""
        return self.cycle.will_close

    def close_after(self) -> None:
        """Close the connection after the current response."""
        self.cycle.closes_after = True

    def response_ended(self, status: int, sent: int) -> None:
        """Called when the response is complete; the request body may not be."""
        self.cycle.response_ended(status, sent)

    # The upgrade to another protocol.

    @property
    def upgrade(self) -> ProtocolUpgrade:
        """The raw stream, and its use by another protocol; made on first use."""
        if self._upgrade is None:
            self._upgrade = ProtocolUpgrade(self)
        return self._upgrade

    def forget_upgrade(self) -> None:
        """Called when the next request may be of another client."""
        self._upgrade = None  # its transport has the previous client's addresses

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

    def _protocolUpgradeForWebsockets(self, protocol: IProtocol) -> None:
        # The name that twisted.web.websocket calls.
        self.upgrade.connect_websocket(protocol)

    # Closing.

    def loseConnection(self) -> None:
        """Close the connection once everything is written; see `ConnectionClose`."""
        self.closing.close()

    def linger(self, seconds: float = LINGER_SECONDS) -> None:
        """Close with a lingering close; see `ConnectionClose.linger`."""
        self.closing.linger(seconds)

    def abortConnection(self) -> None:
        """Abort the connection: close at once, so that the client sees an error."""
        self.closing.abort()

    @ends_connection
    def end_early(self) -> None:
        """Close the connection now, since file descriptors are scarce."""
        self.closing.end_early()

    @ends_connection
    def end_late(self) -> None:
        """Close the connection now, since the graceful timeout is over."""
        self.closing.end_late()

    @property
    def has_been_read(self) -> bool:
        """Whether only the client's closing is awaited: it has acknowledged all."""
        return self.closing.has_been_read

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
    def drain(self) -> None:
        """Start to drain: finish the current request; close or transfer when idle."""
        upgrade = self._upgrade
        if not self.adapter.is_connected:
            ConnectionDrain(self).keep()  # until the transport has been made
        elif self.input.upgraded is not None:
            self.upgrade.drain()
        elif upgrade is not None and upgrade.detached and not self.input.closed:
            self.loseConnection()
        elif self.cycle.message is not None:
            ConnectionDrain(self).end_message(self.cycle.message)
        elif self.cycle.is_idle:
            ConnectionDrain(self).transfer_or_close()

    def drain_message(self, message: Message) -> None:
        """Called for a request that is complete while the site drains."""
        ConnectionDrain(self).end_message(message)

    @property
    def can_be_asked_to_close(self) -> bool:
        """Whether the connection is idle, and the agent was not asked to close it."""
        notice_ends = self.site.clock.seconds() + CLOSE_NOTICE_SECONDS
        # A connection without a request yet was opened for one.
        return (
            self.deadlines.phase == Phase.REQUEST
            and self.cycle.count > 0
            and self.deadlines.at > notice_ends
        )

    def ask_to_close(self) -> None:
        """Ask the agent at the other end to close the idle connection."""
        ConnectionDrain(self).ask_to_close()


#: What is called when the deadline of each phase has passed.
_AT_THE_END: Final[dict[Phase, Callable[[Connection], None]]] = {
    Phase.REQUEST: Connection.loseConnection,
    Phase.REST: lambda connection: ConnectionDrain(connection).transfer_or_close(),
    Phase.HEAD: lambda connection: connection.cycle.head_is_late(),
    Phase.BODY: lambda connection: connection.input.check_rate(),
    Phase.RESPONSE: lambda connection: connection.cycle.response_is_late(),
    Phase.STREAM: lambda connection: ConnectionDrain(connection).end_stream(),
    Phase.UPGRADED: lambda connection: connection.upgrade.send_close_frame(),
    Phase.CLOSE_FRAME: lambda connection: connection.upgrade.close(),
    Phase.DISCARD: Connection.linger,
    Phase.LINGER: lambda connection: connection.closing.check(),
}


def _is_without_space(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in _NO_SPACE
