"""Upgrade of a client connection from HTTP to another protocol (RFC 9110, 7.8)."""

from typing import Any, Protocol

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from clusterapp.channel.log_pipe.log_events import RequestFacts
from clusterapp.http.connection.closing import ConnectionClose
from clusterapp.http.connection.flow_control import FlowControl
from clusterapp.http.connection.guard import Guarded, ends_connection
from clusterapp.http.connection.request_cycle import RequestCycle
from clusterapp.http.connection.request_input import RequestInput
from clusterapp.http.connection.upgraded_stream import RawBytes, Upgraded
from clusterapp.http.connection_limits import (
    CLOSE_FRAME_SECONDS,
    LINGER_SECONDS,
    Limits,
)
from clusterapp.http.server.deadlines import CLOSE_SENT, Deadlines, Phase
from clusterapp.http.server.request_context import (
    WithContext,
    protocol_in_context,
)
from clusterapp.http.server.request_facts import client_of, request_facts
from clusterapp.http.server.server_interfaces import (
    StreamChannel,
    TransportAdapter,
)
from clusterapp.http.websocket.frame_boundaries import SERVICE_RESTART, IFramedOutput
from clusterapp.http.websocket.frames import (
    ClientFrames,
    FramingError,
    close_frame,
)


class Upgradable(Guarded, StreamChannel, Protocol):
    """What an upgrade needs of its connection."""

    adapter: TransportAdapter
    closing: ConnectionClose
    limits: Limits
    deadlines: Deadlines
    flow: FlowControl
    input: RequestInput
    cycle: RequestCycle

    def drain(self) -> None:
        """Start to drain."""


class ProtocolUpgrade:
    """
    The raw stream of a connection, and the protocol that it was upgraded to.

    :param connection: the connection.
    :ivar detached: whether a resource has taken the transport away from its request.
    :ivar switched: whether the connection has been upgraded.
    :ivar speaks_websocket: whether it was upgraded to the WebSocket protocol.
    """

    def __init__(self, connection: Upgradable) -> None:
        self.connection = connection
        self.detached = False
        self.switched = False
        self.speaks_websocket = False
        self._transport: Any = None
        self._routed: tuple[Any, str] | None = None

    @property
    def transport(self) -> Any:
        """The raw stream as an `ITransport`, made on first use; None if detached."""
        if self.detached:
            return None
        if self._transport is None:
            connection = self.connection
            self._transport = connection.adapter.raw_transport(connection)
        return self._transport

    def detach(self) -> None:
        """Called when a resource detaches the transport for a protocol of its own."""
        if not self.detached:
            if self._transport is not None:
                self.connection.adapter.detached(self._transport)
            self.detached = True

    # The upgrade.

    def connect(self, protocol: IProtocol) -> None:
        """
        Upgrade the connection: connect a protocol to the raw stream.

        The protocol gets the bytes first that the client sent behind its request.
        """
        self._switch(protocol)
        self.connection.cycle.record_upgrade()
        protocol.makeConnection(self.transport)
        self.read_on()
        if self.connection.site.draining:
            self.connection.drain()

    def take_over(self, protocol: IProtocol) -> None:
        """
        Upgrade the connection to a protocol that has assigned itself to the transport.

        Bytes that the client sent behind its request are passed on in the next turn of
        the event loop, when the protocol has its transport and has answered the
        handshake.
        """
        stream = self._switch(protocol)
        self.connection.cycle.record_upgrade()
        self._begin_soon(stream)

    def connect_websocket(self, protocol: IProtocol) -> None:
        """Upgrade for twisted.web.websocket, which sends the 101 response later."""
        stream = self._switch(protocol)
        try:
            protocol.makeConnection(self.transport)
        except Exception:
            self.connection.input.upgraded = None  # so that the client gets a 500
            raise
        self.connection.cycle.record_upgrade()
        self._begin_soon(stream)

    def _switch(self, protocol: IProtocol) -> Upgraded:
        """Switch from HTTP: all further input goes to the returned stream."""
        connection = self.connection
        connection.flow.unregister()
        connection.input.resume()
        connection.deadlines.clear()
        head = connection.cycle.head
        self.speaks_websocket = head is not None and head.websocket
        self.switched = True
        self._routed = getattr(connection.cycle.message, "routed", None)
        most = connection.limits.message
        stream = Upgraded(
            self,
            self._in_request_context(protocol),
            ClientFrames(most) if self.speaks_websocket else RawBytes(),
            is_full=connection.flow.paused,
        )
        connection.input.upgraded = stream
        stream.feed(connection.input.stream.take_rest())
        return stream

    def _in_request_context(self, protocol: IProtocol) -> IProtocol:
        """Return a wrapper that calls a protocol in the current request's context."""
        message = self.connection.cycle.message
        if isinstance(message, WithContext):
            return protocol_in_context(message.in_context, protocol)
        return protocol  # the request is forwarded

    def _begin_soon(self, stream: Upgraded) -> None:
        if stream.waiting:
            stream.schedule()
        if self.connection.site.draining:
            self.connection.adapter.call_soon(self.connection.drain)

    # Called by the raw stream.

    def pause(self) -> None:
        """Called when code that uses the transport pauses it: pause reading."""
        stream = self.connection.input.upgraded
        if stream is None:
            self.connection.input.pause()
        else:
            stream.pause()

    def resume(self) -> None:
        """Called when code that uses the transport resumes it: resume reading."""
        stream = self.connection.input.upgraded
        if stream is None:
            self.connection.input.resume()
        else:
            stream.resume()

    # For the log.

    def facts(self) -> RequestFacts | None:
        """Return the log fields of the upgrade request; None without a request."""
        connection, head = self.connection, self.connection.cycle.head
        if head is None:
            return None
        client = client_of(connection.site.proxies, connection.getPeer(), head.fields)
        return request_facts(
            head.method, head.target, head.fields, client, self._routed
        )

    # Called by the upgraded stream.

    def pause_reading(self) -> None:
        """Pause reading from the client."""
        self.connection.input.pause()

    def resume_reading(self) -> None:
        """Resume reading from the client."""
        self.connection.input.resume()

    def share(self, most: int) -> int:
        """Return this connection's share of the work allowed per event-loop turn."""
        return self.connection.input.share(most)

    def read_on_soon(self) -> None:
        """Schedule a call of `read_on` in the next turn of the event loop."""
        self.connection.site.waiting += 1
        self.connection.adapter.call_soon(self._take_turn)

    @ends_connection
    def _take_turn(self) -> None:
        self.connection.site.waiting -= 1
        self.read_on()

    @ends_connection
    def read_on(self) -> None:
        """Pass pending input of an upgraded connection to its protocol."""
        stream = self.connection.input.upgraded
        if stream is not None:
            stream.go_on()

    def input_ended(self) -> None:
        """
        Called when the peer has closed its side: close the connection.

        As for twisted.web, a client that half-closes is taken to have disconnected.
        """
        self.connection.loseConnection()

    def fail_framing(self, error: FramingError) -> None:
        """Called on an invalid frame of a client: fail the WebSocket connection."""
        self.fail_websocket(error.code, str(error))

    # The end.

    def fail_websocket(self, code: int, reason: str) -> None:
        """
        Fail a WebSocket connection (RFC 6455, section 7.1.7).

        The client gets a close frame, unless that would stand within another frame or
        behind another close frame. The protocol's connectionLost is called at once, and
        further input is discarded.

        :param code: the status code of the close frame.
        :param reason: the reason in the exception that the protocol gets.
        """
        connection = self.connection
        stream, connection.input.upgraded = connection.input.upgraded, None
        if stream is None:
            return
        protocol = stream.protocol
        if not (
            connection.deadlines.phase in CLOSE_SENT
            or (IFramedOutput.providedBy(protocol) and not protocol.between_frames)
        ):
            connection.write(close_frame(code))
        connection.linger()
        stream.lost(Failure(ConnectionLost(f"the WebSocket was closed: {reason}")))

    def drain(self) -> None:
        """Start to close, as the drain policy says."""
        connection = self.connection
        if connection.deadlines.phase != Phase.NOTHING:
            return  # closing has begun already
        if not self.speaks_websocket:
            self.close()
        elif seconds := connection.site.drain_policy.moment():
            connection.deadlines.wait_for(Phase.UPGRADED, seconds)
        else:
            self.send_close_frame()

    def send_close_frame(self) -> None:
        """Send a WebSocket close frame with 1012, and wait briefly for the peer's."""
        connection = self.connection
        connection.deadlines.clear()
        stream = connection.input.upgraded
        protocol = stream and stream.protocol
        if IFramedOutput.providedBy(protocol):
            # The core's frames arrive in pieces: the close frame must wait for the
            # end of a frame.
            protocol.end_with(SERVICE_RESTART, self._wait_for_close_frame)
        else:
            connection.write(SERVICE_RESTART)
            self._wait_for_close_frame()

    def _wait_for_close_frame(self) -> None:
        self.connection.deadlines.wait_for(Phase.CLOSE_FRAME, CLOSE_FRAME_SECONDS)

    def close(self) -> None:
        """
        Close a connection that was upgraded to another protocol.

        Its client, which is to come back elsewhere, has less time to read than that of
        a response.
        """
        self.connection.loseConnection()
        self.connection.closing.end_in(LINGER_SECONDS)
