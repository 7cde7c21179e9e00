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
from zope.interface import implementer

from clusterapp.http.connection_limits import CLOSE_NOTIFY_SECONDS
from clusterapp.http.server.connection import Connection
from clusterapp.http.server.interfaces import Server
from clusterapp.http.server.wire import ends_connection
from clusterapp.http.tls.x509 import der_of
from clusterapp.http.transports.shared_sockets import unacknowledged
from clusterapp.http.transports.twisted_transport import HostedTransport
from clusterapp.private_names.reactors import unsent_bytes

#: Bytes that a transport has not passed to the kernel yet.
_UNSENT = unsent_bytes()


@implementer(IPushProducer)
class HostedConnection(Connection, Protocol):
    """
    HTTP server connection on a transport of a Twisted reactor: TCP, Unix or TLS.

    It registers with the transport as its producer, so that it is paused and resumed
    as the client reads.

    :param site: the site that is served.
    """

    def __init__(self, site: Server) -> None:
        Connection.__init__(self, site)
        self._native: Any = None

    # Called by the transport.

    def makeConnection(self, transport: Any) -> None:
        """
        Called with the transport when it is connected.

        It is stored as `_native`, since the attribute `transport` is a wrapper of it.
        """
        self.connected = 1
        self._native = transport
        self.connectionMade()

    @ends_connection
    def connectionMade(self) -> None:
        """Called when the transport is connected."""
        self._native.registerProducer(self, True)
        self.opened()

    def dataReceived(self, data: bytes) -> None:
        """Called with bytes that the client has sent."""
        self.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the connection is lost: also free the unsent bytes."""
        self.lost(reason)
        _UNSENT.drop(self._native)

    def pauseProducing(self) -> None:
        """Called when the write buffer is full: the client reads too slowly."""
        self.writing_paused()

    def resumeProducing(self) -> None:
        """Called when the write buffer has been sent."""
        self.writing_resumed()

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` is called as well."""

    # Called by the base classes.

    def write(self, data: bytes) -> None:
        """Write bytes to the client."""
        self._native.write(data)

    def getPeer(self) -> IAddress:
        """Return the client's address."""
        address: IAddress = self._native.getPeer()
        return address

    def getHost(self) -> IAddress:
        """Return the address that the client has connected to."""
        address: IAddress = self._native.getHost()
        return address

    def isSecure(self) -> bool:
        """Return whether the connection is encrypted."""
        return self._encrypted

    def client_certificate(self) -> bytes | None:
        """Return the client certificate in DER, or None."""
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
        # With a registered producer, the transport would first wait for its data.
        self._native.unregisterProducer()
        if self._encrypted:
            self._native.loseConnection()  # and reads on for the peer's close_notify
        else:
            self._native.loseWriteConnection()
        return True

    def _close(self) -> None:
        if self._encrypted:
            self.linger(CLOSE_NOTIFY_SECONDS)
        else:
            self._native.unregisterProducer()
            self._native.loseConnection()

    def _end_linger(self) -> None:
        _below_tls(self._native).loseConnection()

    def unacknowledged(self) -> int:
        """Return how many written bytes the client has not acknowledged yet."""
        transport = _below_tls(self._native)
        if isinstance(transport, tcp.Connection) and transport.connected:
            return _UNSENT.count(self._native) + unacknowledged(transport.getHandle())
        return 0

    def _is_flushed(self) -> bool:
        return not _UNSENT.count(self._native)

    def _call_soon(self, callback: Callable[[], None]) -> IDelayedCall:
        return self.site.clock.callLater(0, callback)

    def _abort(self) -> None:
        self._native.abortConnection()


def _below_tls(transport: Any) -> Any:
    """Return the transport below TLS, or the transport itself."""
    if isinstance(transport, TLSMemoryBIOProtocol):
        return transport.transport
    return transport
