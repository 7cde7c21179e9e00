"""Twisted transport interface of a connection on an asyncio transport."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import (
    IConsumer,
    IProducer,
    IProtocol,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
)
from zope.interface import alsoProvides, implementer

from clusterapp.http.server.deadlines import CLOSE_SENT, CLOSING
from clusterapp.http.server.server_interfaces import StreamChannel
from clusterapp.http.syntax.socket_addresses import as_ip
from clusterapp.http.tls.x509 import pyopenssl_certificate

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable


class AsyncioTransportAdapter(Protocol):
    """What the transport of a request needs of the adapter of its connection."""

    #: Writes bytes to it.
    write: Callable[[bytes], None]

    @property
    def native(self) -> Any:
        """The current transport, with the methods of `asyncio.Transport`."""


@implementer(ITCPTransport, IConsumer, IPushProducer)
class AsyncioTransport:
    """
    Transport of a request, for code that uses `request.transport`.

    It bypasses the HTTP framing of the connection: its user is responsible for valid
    HTTP. Over TLS it provides `ISSLTransport`, too.

    :param connection: the connection of the request.
    :param adapter: the adapter of the connection.
    """

    def __init__(
        self, connection: StreamChannel, adapter: AsyncioTransportAdapter
    ) -> None:
        self._connection = connection
        self._adapter = adapter
        self._protocol: IProtocol | None = None
        self._ended = False
        # Stored, since the next request on a connection between workers may be of
        # another client.
        self._peer = as_ip(connection.getPeer())
        self._host = as_ip(connection.getHost())
        self._certificate = connection.peer.certificate
        if connection.peer.encrypted:
            alsoProvides(self, ISSLTransport)

    @property
    def _native(self) -> Any:
        # A new connection replaces its early transport.
        return self._adapter.native

    # ITransport

    def write(self, data: bytes) -> None:
        """Write bytes; do nothing once the write side is closed."""
        ended = self._ended or self._connection.deadlines.phase in CLOSE_SENT
        if not (ended or self._native.is_closing()):
            self._adapter.write(data)

    def writeSequence(self, data: "Iterable[bytes]") -> None:
        """Write the pieces, joined."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close the connection once everything is written."""
        if self._connection.deadlines.phase not in CLOSING:
            self._connection.loseConnection()

    def getPeer(self) -> Any:
        """Return the client's address; 127.0.0.1 and port 0 on a Unix socket."""
        return self._peer

    def getHost(self) -> Any:
        """Return the address that the client has connected to; as `getPeer` does."""
        return self._host

    @property
    def disconnecting(self) -> bool:
        """Whether the transport is closing."""
        return not self.connected

    @property
    def connected(self) -> bool:
        """Whether the transport is not closing."""
        closing = (
            self._connection.deadlines.phase in CLOSING or self._native.is_closing()
        )
        return not closing

    @property
    def protocol(self) -> Any:
        """The protocol that receives input: the adapter, unless replaced."""
        return self._adapter if self._protocol is None else self._protocol

    @protocol.setter
    def protocol(self, protocol: IProtocol) -> None:
        # autobahn's resource assigns its protocol, as Twisted's transports allow.
        self._protocol = protocol
        self._connection.upgrade.take_over(protocol)

    # ITCPTransport

    def loseWriteConnection(self) -> None:
        """Close the write side; reading continues."""
        if not self._native.is_closing() and self._native.can_write_eof():
            self._ended = True
            self._native.write_eof()

    def abortConnection(self) -> None:
        """Abort the connection: close at once."""
        self._connection.abortConnection()

    def getTcpNoDelay(self) -> bool:
        """Return whether TCP_NODELAY is set: small writes are sent at once."""
        return bool(self._option(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Set TCP_NODELAY, by which small writes are sent at once."""
        self._set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Return whether SO_KEEPALIVE is set: the kernel probes an idle client."""
        return bool(self._option(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Set SO_KEEPALIVE, by which the kernel probes an idle client."""
        self._set_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def getHandle(self) -> Any:
        """Return the socket; reading or writing it disturbs the connection."""
        return self._native.get_extra_info("socket")

    # ISSLTransport

    def getPeerCertificate(self) -> Any:
        """Return the client certificate as an X509 of pyOpenSSL, or None."""
        return pyopenssl_certificate(self._certificate)

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """The protocol negotiated by ALPN (RFC 7301), or None."""
        layer: ssl.SSLObject | None = self._native.get_extra_info("ssl_object")
        chosen = None if layer is None else layer.selected_alpn_protocol()
        return None if chosen is None else chosen.encode("ascii")

    # IConsumer

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Register a producer, which is paused and resumed as the client reads."""
        self._connection.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Unregister the producer."""
        self._connection.unregisterProducer()

    # IPushProducer

    def pauseProducing(self) -> None:
        """Pause reading from the client."""
        self._connection.upgrade.pause()

    def resumeProducing(self) -> None:
        """Resume reading from the client."""
        self._connection.upgrade.resume()

    def stopProducing(self) -> None:
        """Close the connection once everything is written."""
        self.loseConnection()

    def _option(self, level: int, name: int) -> int:
        there = self._native.get_extra_info("socket")
        value: int = there.getsockopt(level, name)
        return value

    def _set_option(self, level: int, name: int, enabled: bool) -> None:
        there = self._native.get_extra_info("socket")
        there.setsockopt(level, name, int(enabled))
