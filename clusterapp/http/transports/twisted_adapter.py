"""Adapter of a connection to a Twisted transport, on any reactor (in a core)."""

from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer, noLongerProvides

from clusterapp.http.connection.connection import Connection
from clusterapp.http.connection.guard import ends_connection
from clusterapp.http.connection.peer_kind import PeerKind
from clusterapp.http.server.server_interfaces import Server, StreamChannel
from clusterapp.http.tls.x509 import der_of
from clusterapp.http.transports.sendfile import write_part_of_file
from clusterapp.http.transports.shared_sockets import unacknowledged
from clusterapp.http.transports.twisted_transport import (
    ForwardedTransport,
    TwistedTransport,
)
from clusterapp.private_names.reactors import unsent_bytes
from clusterapp.system.turn_end import TurnEnd

#: Bytes that a transport has not passed to the kernel yet.
_UNSENT = unsent_bytes()

#: The most bytes that wait for the end of the reactor's turn. More are passed to the
#: transport, which then pauses their producer.
_MAX_PENDING = 1 << 16


@implementer(IPushProducer)
class TwistedAdapter(Protocol):
    """
    Adapter of a new HTTP server connection to a transport of a Twisted reactor.

    The transport is TCP, Unix or TLS. The adapter registers as its producer, so that it
    is paused and resumed as the client reads.

    :param site: the site that is served.
    :param peer_kind: what the peer is.
    :param turn_end: sends what was written in a turn of the reactor, at the turn's end;
        None to leave all writing to the transport.
    :ivar connection: the connection.
    """

    def __init__(
        self,
        site: Server,
        peer_kind: PeerKind = PeerKind.CLIENT,
        turn_end: TurnEnd | None = None,
    ) -> None:
        self._turn_end: Any = turn_end
        self._socket: Any = None
        self._pending = b""
        self._peer_kind = peer_kind
        self._native: Any = None
        self.connection = Connection(site, self, peer_kind)
        # Called for each piece of input: set here, it costs no call in between.
        self.dataReceived = (  # type: ignore[method-assign]
            self.connection.input.received
        )

    # Called by the transport.

    @ends_connection
    def connectionMade(self) -> None:
        """Called when the transport is connected."""
        self._native = self.transport
        self._native.registerProducer(self, True)
        self.connection.write = self._native.write
        if self._turn_end is not None and isinstance(self._native, tcp.Connection):
            self._socket = self._native.getHandle()
            self.connection.write = self._write_at_turn_end
        self.connection.opened()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the connection is lost: also free the unsent bytes."""
        self.connection.lost(reason)
        self._pending = b""
        _UNSENT.drop(self._native)

    def pauseProducing(self) -> None:
        """Called when the write buffer is full: the client reads too slowly."""
        self.connection.writing_paused()

    def resumeProducing(self) -> None:
        """Called when the write buffer has been sent."""
        self.connection.writing_resumed()

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` is called as well."""

    # Called by the connection: its peer.

    def getPeer(self) -> IAddress:
        """Return the peer's address."""
        address: IAddress = self._native.getPeer()
        return address

    def getHost(self) -> IAddress:
        """Return the address that the peer has connected to."""
        address: IAddress = self._native.getHost()
        return address

    @property
    def encrypted(self) -> bool:
        """Whether the transport itself uses TLS."""
        return bool(ISSLTransport.providedBy(self._native))

    @property
    def secure(self) -> bool:
        """Whether the client uses TLS."""
        return self.encrypted

    def client_certificate(self) -> bytes | None:
        """Return the peer's certificate in DER, or None."""
        return der_of(self._native.getPeerCertificate()) if self.encrypted else None

    # Called by the connection: reading and writing.

    def pause_reading(self) -> None:
        """Stop reading from the transport."""
        self._native.pauseProducing()

    def resume_reading(self) -> None:
        """Read from the transport again."""
        self._native.resumeProducing()

    @property
    def unsent(self) -> int:
        """The number of written bytes that have not been passed to the kernel yet."""
        return len(self._pending) + _UNSENT.count(self._native)

    def unacknowledged(self) -> int:
        """Return how many written bytes the client has not acknowledged yet."""
        transport = _below_tls(self._native)
        if isinstance(transport, tcp.Connection) and transport.connected:
            return self.unsent + unacknowledged(transport.getHandle())
        return 0

    def write_before_file(self, data: bytes) -> None:
        """Write bytes that a part of a file follows at once."""
        self.connection.write(data)

    def send_file(self, fd: int, offset: int, length: int) -> int:
        """Send a part of a file."""
        return write_part_of_file(self.connection.write, fd, offset, length)

    def call_soon(self, callback: Callable[[], None]) -> IDelayedCall:
        """Schedule a call in the next turn of the reactor."""
        return self.connection.site.clock.callLater(0, callback)

    # Called by the connection: closing.

    def _write_at_turn_end(self, data: bytes) -> None:
        """Buffer bytes until the end of the turn, together with later writes in it."""
        if not self._pending:
            self._turn_end.add(self._send)
        self._pending += data
        if len(self._pending) > _MAX_PENDING:
            self._pass_on()

    @ends_connection
    def _send(self) -> None:
        """
        Send the pending bytes, as many as the kernel takes.

        The transport gets what is left: it asks the reactor to wait until the kernel
        takes more, and meets the socket's errors by itself.
        """
        data, self._pending = self._pending, b""
        if not data:
            return
        if _UNSENT.is_empty(self._native):
            try:
                sent = self._socket.send(data)
            except OSError:
                sent = 0
            data = data[sent:]
        if data:
            self._native.write(data)

    def _pass_on(self) -> None:
        """Pass the pending bytes to the transport."""
        data, self._pending = self._pending, b""
        if data:
            self._native.write(data)

    def _write_directly(self) -> None:
        """Pass the pending bytes, and all later writes, to the transport at once."""
        self._pass_on()
        self.connection.write = self._native.write

    def close_writing(self) -> bool:
        """Close the write side."""
        self._write_directly()
        # With a registered producer, the transport would first wait for its data.
        self._native.unregisterProducer()
        if self.encrypted:
            self._native.loseConnection()  # and reads on for the peer's close_notify
        else:
            self._native.loseWriteConnection()
        return True

    @property
    def must_linger(self) -> bool:
        """Whether every close has to be a lingering one: TLS waits for the peer's."""
        return self.encrypted

    def close(self) -> None:
        """Close the transport once everything is written."""
        self._write_directly()
        self._native.unregisterProducer()
        self._native.loseConnection()

    def end_linger(self) -> None:
        """Close the transport of a connection whose write side is closed."""
        _below_tls(self._native).loseConnection()

    def abort(self) -> None:
        """Close the transport at once, and discard unsent bytes."""
        self._pending = b""
        self.connection.write = self._native.write
        self._native.abortConnection()

    # Called by the connection: transferring it to another process.

    @property
    def is_connected(self) -> bool:
        """Whether the transport is connected."""
        return self._native is not None

    @property
    def can_be_offered(self) -> bool:
        """Return True: `offer` tells that there is no duplicate."""
        return True

    def offer(self) -> None:
        """Return None: a reactor's connections are not passed to other processes."""

    def withdraw(self, *, duplicated: bool) -> None:
        """Do nothing: there is no offer to take back."""

    # Called by the connection: the raw stream.

    def raw_transport(self, connection: StreamChannel) -> TwistedTransport:
        """Return a new transport object for code that asks for the raw stream."""
        self._write_directly()
        is_client = self._peer_kind is PeerKind.CLIENT
        kind = TwistedTransport if is_client else ForwardedTransport
        return kind(connection, self)

    def detached(self, transport: TwistedTransport) -> None:
        """Called when a resource detaches the transport for a protocol of its own."""
        is_client = self._peer_kind is PeerKind.CLIENT
        if self.connection.peer.encrypted and not is_client:
            # autobahn expects an ISSLTransport to be based on pyOpenSSL, and fails.
            noLongerProvides(transport, ISSLTransport)


def _below_tls(transport: Any) -> Any:
    """Return the transport below TLS, or the transport itself."""
    if isinstance(transport, TLSMemoryBIOProtocol):
        return transport.transport
    return transport
