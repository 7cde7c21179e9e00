"""Wrapper of a Twisted transport, for code that uses `request.transport` in a core."""

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IAddress, ISSLTransport
from twisted.internet.protocol import Protocol
from zope.interface import alsoProvides, directlyProvides, providedBy

from clusterapp.http.server.deadlines import CLOSE_SENT, CLOSING
from clusterapp.http.server.server_interfaces import StreamChannel
from clusterapp.http.syntax.socket_addresses import as_ip
from clusterapp.http.tls.x509 import pyopenssl_certificate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IProducer, IProtocol


class TwistedTransport:
    """
    Wrapper of a connection's transport.

    It provides the interfaces of the transport, and delegates all attributes that are
    not defined here. The connection stays the protocol and the producer of the
    transport itself, even if it is replaced on this wrapper: so it is notified of
    back-pressure, and of the end of the connection.

    :param connection: the connection.
    :param adapter: the adapter of its transport, which is the transport's protocol.
    """

    def __init__(self, connection: StreamChannel, adapter: Protocol) -> None:
        self._connection = connection
        self._adapter = adapter
        self._native: Any = adapter.transport
        self._protocol: IProtocol | None = None
        directlyProvides(self, providedBy(self._native))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    @property
    def protocol(self) -> Any:
        """The protocol that receives input: the adapter, unless replaced."""
        return self._adapter if self._protocol is None else self._protocol

    @protocol.setter
    def protocol(self, protocol: "IProtocol") -> None:
        # autobahn's resource assigns its protocol, as Twisted's transports allow.
        self._protocol = protocol
        self._connection.upgrade.take_over(protocol)

    # ITransport

    def write(self, data: bytes) -> None:
        """Write bytes; do nothing once the connection is closing."""
        if self._connection.deadlines.phase not in CLOSE_SENT:
            self._native.write(data)

    def writeSequence(self, data: "Iterable[bytes]") -> None:
        """Write the pieces, joined."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close the connection once everything is written."""
        if self._connection.deadlines.phase not in CLOSING:
            self._connection.loseConnection()

    def abortConnection(self) -> None:
        """Abort the connection: close at once."""
        self._connection.abortConnection()

    def loseWriteConnection(self) -> None:
        """Close the write side; reading continues."""
        self._native.unregisterProducer()
        self._native.loseWriteConnection()

    def getPeer(self) -> Any:
        """Return the client's address."""
        return self._connection.getPeer()

    def getHost(self) -> Any:
        """Return the address that the client has connected to."""
        return self._connection.getHost()

    # IConsumer

    def registerProducer(self, producer: "IProducer", streaming: bool) -> None:
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


class ForwardedTransport(TwistedTransport):
    """
    Transport of a request that a worker has forwarded, with its client's addresses.

    It provides `ISSLTransport` if the client uses TLS, whether or not the connection
    between worker and core does.

    :param connection: the connection of the request, with its client's addresses.
    :param adapter: the adapter of the transport to the worker.
    """

    def __init__(self, connection: StreamChannel, adapter: Protocol) -> None:
        super().__init__(connection, adapter)
        # Stored, since the next request on the connection may be of another client.
        self._peer = as_ip(connection.getPeer())
        self._host = as_ip(connection.getHost())
        self._certificate = connection.peer.certificate
        directlyProvides(self, providedBy(self._native) - ISSLTransport)
        if connection.isSecure():
            alsoProvides(self, ISSLTransport)

    def getPeer(self) -> IAddress:
        """Return the client's address; 127.0.0.1 and port 0 if it has no IP address."""
        return self._peer

    def getHost(self) -> IAddress:
        """Return the address that the client has connected to; as `getPeer` does."""
        return self._host

    def getPeerCertificate(self) -> Any:
        """Return the client certificate as an X509 of pyOpenSSL, or None."""
        return pyopenssl_certificate(self._certificate)

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """None: the protocol negotiated by ALPN with the worker is not forwarded."""
        return None
