"""The face of a connection on one of Twisted's transports: a core's, on any reactor."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from clusterapp.http.server.connection import Connection
from clusterapp.http.server.wire import ends_connection
from clusterapp.http.tls.x509 import der_of
from clusterapp.http.transports.twisted_transport import HostedTransport

if TYPE_CHECKING:
    from clusterapp.http.server.site import ClusterSite


@implementer(IPushProducer)
class HostedConnection(Connection, Protocol):
    """
    A connection on a transport of a Twisted reactor: TCP, Unix or TLS.

    To the transport it is a producer: so it hears how fast the client reads.

    :param site: what is served.
    """

    def __init__(self, site: "ClusterSite") -> None:
        Connection.__init__(self, site)
        self._native: Any = None

    # From the transport.

    def makeConnection(self, transport: Any) -> None:
        """Begin, on a transport which `transport` is a stand-in for."""
        self.connected = 1
        self._native = transport
        self.connectionMade()

    @ends_connection
    def connectionMade(self) -> None:
        """Begin."""
        self._native.registerProducer(self, True)
        self.opened()

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the client."""
        self.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell everyone, and free what was not sent."""
        self.lost(reason)
        _drop_unsent(self._native)

    def pauseProducing(self) -> None:
        """Know that the client is slower than we are."""
        self.writing_paused()

    def resumeProducing(self) -> None:
        """Know that the client has taken what was written."""
        self.writing_resumed()

    def stopProducing(self) -> None:
        """Nothing: `connectionLost` says the same."""

    # For the core of the connection.

    def write(self, data: bytes) -> None:
        """Write to the client."""
        self._native.write(data)

    def getPeer(self) -> IAddress:
        """Tell the client's address."""
        address: IAddress = self._native.getPeer()
        return address

    def getHost(self) -> IAddress:
        """Tell the address that the client has connected to."""
        address: IAddress = self._native.getHost()
        return address

    def isSecure(self) -> bool:
        """Tell whether the connection is encrypted."""
        return self._encrypted

    def client_certificate(self) -> bytes | None:
        """Return the certificate that the client has shown, in DER, if any."""
        return der_of(self._native.getPeerCertificate()) if self._encrypted else None

    @property
    def _encrypted(self) -> bool:
        return bool(ISSLTransport.providedBy(self._native))

    def _make_face(self) -> HostedTransport:
        return HostedTransport(self, self._native)

    def _stop_reading(self) -> None:
        self._native.pauseProducing()

    def _start_reading(self) -> None:
        self._native.resumeProducing()

    def _close_writing(self) -> bool:
        if self._encrypted:
            return False  # TLS has no half-closed connections
        # With a producer, a transport goes on for as long as that has more.
        self._native.unregisterProducer()
        self._native.loseWriteConnection()
        return True

    def _close(self) -> None:
        self._native.unregisterProducer()
        self._native.loseConnection()

    def _call_soon(self, callback: Callable[[], None]) -> IDelayedCall:
        return self.site.clock.callLater(0, callback)

    def _abort(self) -> None:
        self._native.abortConnection()


def _drop_unsent(transport: Any) -> None:
    """
    Free what a transport that is gone has not sent.

    Twisted keeps it for as long as anything refers to the transport, as the protocol
    of an application does, in a cycle that only a full garbage collection finds. The
    attributes were read in Twisted 26.10.

    :param transport: one of a reactor's, or TLS on top of one.
    """
    if isinstance(transport, TLSMemoryBIOProtocol):
        transport._appSendBuffer.clear()  # noqa: SLF001
        transport = transport.transport
    if isinstance(transport, FileDescriptor):
        transport.dataBuffer = b""
        transport.offset = 0
        transport._tempDataBuffer = []  # noqa: SLF001
        transport._tempDataLen = 0  # noqa: SLF001
