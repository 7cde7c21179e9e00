"""A transport of asyncio in the shape of one of Twisted's."""

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import (
    IConsumer,
    IProducer,
    IProtocol,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
)
from zope.interface import alsoProvides, implementer

from clusterapp.http.syntax.socket_addresses import as_ip
from clusterapp.http.tls.x509 import pyopenssl_certificate

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from clusterapp.http.transports.asyncio_connection import NativeConnection

#: When a connection says nothing more: also behind the close frame of a WebSocket.
_OVER = frozenset({"end", "goodbye"})


@implementer(ITCPTransport, IConsumer, IPushProducer)
class NativeTransport:
    """
    What code that asks a request for its transport gets.

    It writes past the connection: whoever uses it answers for what HTTP makes of it.
    Over TLS it provides `ISSLTransport`, too.

    :param connection: the connection that it belongs to.
    """

    def __init__(self, connection: "NativeConnection") -> None:
        self._connection = connection
        self._protocol: IProtocol | None = None
        self._ended = False
        # Another client's request may come by the same connection between workers.
        self._peer = as_ip(connection.getPeer())
        self._host = as_ip(connection.getHost())
        self._certificate = connection.client_certificate()
        if connection.encrypted:
            alsoProvides(self, ISSLTransport)

    @property
    def _native(self) -> Any:
        # A new connection changes its transport.
        return self._connection.native

    # ITransport

    def write(self, data: bytes) -> None:
        """Write bytes; nothing is done once the end has been written."""
        ended = self._ended or self._connection.phase in _OVER
        if not (ended or self._native.is_closing()):
            self._native.write(data)

    def writeSequence(self, data: "Iterable[bytes]") -> None:
        """Write pieces, one behind the other."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close once everything is written."""
        if self._connection.phase != "end":
            self._connection.loseConnection()

    def getPeer(self) -> Any:
        """Return the client's address; 127.0.0.1 and port 0 on a Unix socket."""
        return self._peer

    def getHost(self) -> Any:
        """Return the address that the client has connected to; as `getPeer` does."""
        return self._host

    @property
    def disconnecting(self) -> bool:
        """Whether the end has begun."""
        return bool(self._native.is_closing())

    @property
    def connected(self) -> bool:
        """Whether it has not."""
        return not self._native.is_closing()

    @property
    def protocol(self) -> Any:
        """Who gets what comes in: the connection, until somebody takes its place."""
        return self._connection if self._protocol is None else self._protocol

    @protocol.setter
    def protocol(self, protocol: IProtocol) -> None:
        # autobahn's resource assigns itself, as one may with Twisted's own.
        self._protocol = protocol
        self._connection.take_over(protocol)

    # ITCPTransport

    def loseWriteConnection(self) -> None:
        """End the stream to the client; reading goes on."""
        if not self._native.is_closing() and self._native.can_write_eof():
            self._ended = True
            self._native.write_eof()

    def abortConnection(self) -> None:
        """Close at once."""
        self._connection.abortConnection()

    def getTcpNoDelay(self) -> bool:
        """Tell whether small writes are sent at once."""
        return bool(self._option(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Have small writes sent at once, or not."""
        self._set_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Tell whether the kernel looks after an idle client."""
        return bool(self._option(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Have the kernel look after an idle client, or not."""
        self._set_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def getHandle(self) -> Any:
        """Give the socket; reading or writing it disturbs the connection."""
        return self._native.get_extra_info("socket")

    # ISSLTransport

    def getPeerCertificate(self) -> Any:
        """Return the client's certificate, an X509 of pyOpenSSL; None if none came."""
        return pyopenssl_certificate(self._certificate)

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """What both sides have agreed on by ALPN (RFC 7301)."""
        layer: ssl.SSLObject | None = self._native.get_extra_info("ssl_object")
        chosen = None if layer is None else layer.selected_alpn_protocol()
        return None if chosen is None else chosen.encode("ascii")

    # IConsumer

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Let a producer follow how fast the client reads."""
        self._connection.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self._connection.unregisterProducer()

    # IPushProducer

    def pauseProducing(self) -> None:
        """Read nothing more from the client."""
        self._connection.pause_protocol()

    def resumeProducing(self) -> None:
        """Read on."""
        self._connection.resume_protocol()

    def stopProducing(self) -> None:
        """Close once everything is written."""
        self.loseConnection()

    def _option(self, level: int, name: int) -> int:
        there = self._native.get_extra_info("socket")
        value: int = there.getsockopt(level, name)
        return value

    def _set_option(self, level: int, name: int, enabled: bool) -> None:
        there = self._native.get_extra_info("socket")
        there.setsockopt(level, name, int(enabled))
