"""Upgrade of a client connection from HTTP to another protocol (RFC 9110, 7.8)."""

from http import HTTPStatus
from typing import Any, Final

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from clusterapp.channel.log_events import RequestFacts
from clusterapp.http.connection_limits import LINGER_SECONDS
from clusterapp.http.server.deadlines import CLOSING, Phase
from clusterapp.http.server.ending import Ending
from clusterapp.http.server.interfaces import Server
from clusterapp.http.server.request_context import WithContext, protocol_in_context
from clusterapp.http.server.request_facts import client_of, request_facts
from clusterapp.http.server.upgraded_stream import RawBytes, Upgraded
from clusterapp.http.server.wire import ends_connection
from clusterapp.http.syntax.frame_boundaries import IFramedOutput
from clusterapp.http.syntax.websocket_frames import (
    ClientFrames,
    FramingError,
    close_frame,
)

#: The phases of a connection on which a WebSocket close frame has been sent.
_CLOSING: Final = (*CLOSING, Phase.GOODBYE)


class Switching(Ending):
    """
    Upgrade of a connection, and its state while another protocol uses it.

    :param site: the site that is served.
    :ivar switched: whether the connection has been upgraded.
    """

    __slots__ = ("_face", "_routed", "_taken", "switched")

    def __init__(self, site: Server) -> None:
        super().__init__(site)
        self.switched = False
        self._face: Any = None
        self._routed: tuple[Any, str] | None = None
        self._taken = False

    @property
    def transport(self) -> Any:
        """
        The raw stream as an `ITransport`, made on first use.

        It is None once a resource has detached it.
        """
        if self._taken:
            return None
        if self._face is None:
            self._face = self._make_face()
        return self._face

    @transport.setter
    def transport(self, nothing: None) -> None:
        # Some WebSocket libraries detach the transport by setting it to None.
        assert nothing is None  # noqa: S101
        self._take_away()

    def _make_face(self) -> Any:
        """Return a new transport object for code that asks for the raw stream."""
        raise NotImplementedError

    def _take_away(self) -> None:
        """Called when a resource detaches the transport for a protocol of its own."""
        self._taken = True

    @ends_connection
    def drain(self) -> None:
        """Close if idle; otherwise close after the response."""
        if self._taken and self._protocol is None and not self._input_closed:
            self.loseConnection()
        else:
            super().drain()

    def _record(self, status: int, sent: int) -> None:
        """Write a line of the access log."""
        raise NotImplementedError

    def hand_over(self, protocol: IProtocol) -> None:
        """
        Upgrade the connection: connect a protocol to the raw stream.

        The protocol gets the bytes first that the client sent behind its request.
        """
        self._switch(protocol)
        self._record_switch()
        protocol.makeConnection(self.transport)
        self.read_on()
        if self.site.draining:
            self.drain()

    def take_over(self, protocol: IProtocol) -> None:
        """
        Upgrade the connection to a protocol that has assigned itself to the transport.

        Bytes that the client sent behind its request are passed on in the next turn of
        the event loop, when the protocol has its transport and has answered the
        handshake.
        """
        stream = self._switch(protocol)
        self._record_switch()
        self._begin_soon(stream)

    def _protocolUpgradeForWebsockets(self, protocol: IProtocol) -> None:
        # twisted.web.websocket calls this, and writes the 101 response afterwards.
        stream = self._switch(protocol)
        try:
            protocol.makeConnection(self.transport)
        except Exception:
            self._protocol = None  # so that the client gets a 500
            raise
        self._record_switch()
        self._begin_soon(stream)

    def _switch(self, protocol: IProtocol) -> Upgraded:
        """Switch from HTTP: all further input goes to the returned stream."""
        self.unregisterProducer()
        self.resume_reading()
        self.deadlines.clear()
        head = self._head
        self._speaks_websocket = head is not None and head.websocket
        self.switched = True
        self._routed = getattr(self._message, "routed", None)
        self._protocol = stream = Upgraded(
            self,
            self._in_request_context(protocol),
            ClientFrames(self.limits.message) if self._speaks_websocket else RawBytes(),
            is_full=self._writing_paused,
        )
        stream.feed(self.stream.take_rest())
        return stream

    def _in_request_context(self, protocol: IProtocol) -> IProtocol:
        """Return a wrapper that calls a protocol in the current request's context."""
        message = self._message
        if isinstance(message, WithContext):
            return protocol_in_context(message.in_context, protocol)
        return protocol  # the request is forwarded

    def linger(self, seconds: float = LINGER_SECONDS) -> None:
        """Close with a lingering close; the protocol gets no further input."""
        if self._protocol is not None:
            self._protocol.close()
        super().linger(seconds)

    def upgrade_facts(self) -> RequestFacts | None:
        """Return the log fields of the upgrade request; None without a request."""
        head = self._head
        if head is None:
            return None
        client = client_of(self.site.proxies, self.getPeer(), head.fields)
        return request_facts(
            head.method, head.target, head.fields, client, self._routed
        )

    def _record_switch(self) -> None:
        if self._message is not None:
            self._record(HTTPStatus.SWITCHING_PROTOCOLS, 0)
        self._message = None

    def _begin_soon(self, stream: Upgraded) -> None:
        if stream.waiting:
            stream.schedule()
        if self.site.draining:
            self._call_soon(self.drain)

    def pause_protocol(self) -> None:
        """Called when code that uses the transport pauses it: pause reading."""
        if self._protocol is None:
            self.pause_reading()
        else:
            self._protocol.pause()

    def resume_protocol(self) -> None:
        """Called when code that uses the transport resumes it: resume reading."""
        if self._protocol is None:
            self.resume_reading()
        else:
            self._protocol.resume()

    # Called by the upgraded stream.

    def read_on_soon(self) -> None:
        """Schedule a call of `read_on` in the next turn of the event loop."""
        self.site.waiting += 1
        self._call_soon(self._take_upgraded_turn)

    @ends_connection
    def _take_upgraded_turn(self) -> None:
        self.site.waiting -= 1
        self.read_on()

    @ends_connection
    def read_on(self) -> None:
        """Pass pending input of an upgraded connection to its protocol."""
        if self._protocol is not None:
            self._protocol.go_on()

    def input_ended(self) -> None:
        """
        Called when the peer has closed its side: close the connection.

        As for twisted.web, a client that half-closes is taken to have disconnected.
        """
        self.loseConnection()

    def break_rules(self, error: FramingError) -> None:
        """Called on an invalid frame of a client: fail the WebSocket connection."""
        self.fail_websocket(error.code, str(error))

    def fail_websocket(self, code: int, reason: str) -> None:
        """
        Fail a WebSocket connection (RFC 6455, section 7.1.7).

        The client gets a close frame, unless that would stand within another frame or
        behind another close frame. The protocol's connectionLost is called at once, and
        further input is discarded.

        :param code: the status code of the close frame.
        :param reason: the reason in the exception that the protocol gets.
        """
        stream, self._protocol = self._protocol, None
        if stream is None:
            return
        protocol = stream.protocol
        if not (
            self.deadlines.phase in _CLOSING
            or (IFramedOutput.providedBy(protocol) and not protocol.between_frames)
        ):
            self.write(close_frame(code))
        self.linger()
        stream.lost(Failure(ConnectionLost(f"the WebSocket was closed: {reason}")))
