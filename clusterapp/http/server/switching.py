"""How one client's connection leaves HTTP for another protocol (RFC 9110, 7.8)."""

from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from clusterapp.channel.log_events import RequestFacts
from clusterapp.http.application.request_context import WithContext, protocol_in_context
from clusterapp.http.application.request_facts import client_of, request_facts
from clusterapp.http.server.ending import Ending
from clusterapp.http.server.upgraded_stream import RawBytes, Upgraded
from clusterapp.http.server.wire import ends_connection
from clusterapp.http.syntax.websocket_frames import (
    ClientFrames,
    FramingError,
    close_frame,
)
from clusterapp.http.upstream.tunnel import Tunnel

if TYPE_CHECKING:
    from clusterapp.http.server.site import ClusterSite

#: What a connection waits for when a WebSocket's close frame was sent.
_CLOSING: Final = frozenset({"goodbye", "end"})


class Switching(Ending):
    """
    What a connection does when another protocol than HTTP is spoken on it.

    :param site: what is served.
    :ivar switched: whether it has left HTTP.
    """

    __slots__ = ("_face", "_routed", "_taken", "switched")

    def __init__(self, site: "ClusterSite") -> None:
        super().__init__(site)
        self.switched = False
        self._face: Any = None
        self._routed: tuple[Any, str] | None = None
        self._taken = False

    @property
    def transport(self) -> Any:
        """
        The raw stream as an `ITransport`, made when code asks for it.

        It is None once a resource has taken it away.
        """
        if self._taken:
            return None
        if self._face is None:
            self._face = self._make_face()
        return self._face

    @transport.setter
    def transport(self, nothing: None) -> None:
        # Some WebSocket libraries take the transport away like this.
        assert nothing is None  # noqa: S101
        self._take_away()

    def _make_face(self) -> Any:
        """Make what stands for the transport."""
        raise NotImplementedError

    def _take_away(self) -> None:
        """Called when a resource has taken the transport for a protocol of its own."""
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
        """Give the raw stream to a protocol, early bytes first."""
        self._switch(protocol)
        self._record_switch()
        protocol.makeConnection(self.transport)
        self.read_on()
        if self.site.draining:
            self.drain()

    def take_over(self, protocol: IProtocol) -> None:
        """
        Pass what comes to a protocol that has taken the transport for itself.

        It gets early bytes in the next turn of the event loop, when it has its
        transport and has answered the handshake.
        """
        stream = self._switch(protocol)
        self._record_switch()
        self._begin_soon(stream)

    def _protocolUpgradeForWebsockets(self, protocol: IProtocol) -> None:
        # twisted.web.websocket calls this, and writes the 101 then.
        stream = self._switch(protocol)
        try:
            protocol.makeConnection(self.transport)
        except Exception:
            self._protocol = None  # so that the client gets a 500
            raise
        self._record_switch()
        self._begin_soon(stream)

    def _switch(self, protocol: IProtocol) -> Upgraded:
        """Leave HTTP: pass what comes to a protocol from now on."""
        self.unregisterProducer()
        self.resume_reading()
        self.phase = "nothing"
        self.deadline = inf
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
        early, self._pending_input = self._pending_input, b""
        stream.feed(early)
        return stream

    def _in_request_context(self, protocol: IProtocol) -> IProtocol:
        """Return what calls a protocol in the context of the request under way."""
        message = self._message
        if isinstance(message, WithContext):
            return protocol_in_context(message.in_context, protocol)
        return protocol  # it is forwarded

    def upgrade_facts(self) -> RequestFacts | None:
        """Return what the log says of the request that has asked for the upgrade."""
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
        """Read nothing more: code that has the transport has paused it."""
        if self._protocol is None:
            self.pause_reading()
        else:
            self._protocol.pause()

    def resume_protocol(self) -> None:
        """Read on, as far as that code is concerned."""
        if self._protocol is None:
            self.resume_reading()
        else:
            self._protocol.resume()

    # What the upgraded stream calls.

    def read_on_soon(self) -> None:
        """Call `read_on` in the next turn of the event loop."""
        self.site.waiting += 1
        self._call_soon(self.read_on)

    @ends_connection
    def read_on(self) -> None:
        """Pass on what has come of an upgraded stream."""
        self.site.waiting -= 1
        if self._protocol is not None:
            self._protocol.go_on()

    def input_ended(self) -> None:
        """Close: as for twisted.web, a client that sends no more has gone."""
        self.loseConnection()

    def break_rules(self, error: FramingError) -> None:
        """Fail a WebSocket whose client breaks the protocol."""
        self.fail_websocket(error.code, str(error))

    def fail_websocket(self, code: int, reason: str) -> None:
        """
        Fail a WebSocket connection (RFC 6455, section 7.1.7).

        The client gets a close frame, unless that would stand within another frame or
        behind another close frame, and the protocol hears of the end at once. What
        the client still sends is thrown away.

        :param code: the status code of the close frame.
        :param reason: what the protocol is told.
        """
        stream, self._protocol = self._protocol, None
        if stream is None:
            return
        protocol = stream.protocol
        if not (
            self.phase in _CLOSING
            or (isinstance(protocol, Tunnel) and not protocol.between_frames)
        ):
            self.write(close_frame(code))
        self.linger()
        stream.lost(Failure(ConnectionLost(f"the WebSocket was closed: {reason}")))
