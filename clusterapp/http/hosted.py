"""The face of a connection on one of Twisted's transports: a core's, on any reactor."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from clusterapp.http.connection import Connection
from clusterapp.http.hosted_transport import HostedTransport
from clusterapp.http.wire import ends_connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from clusterapp.http.site import ClusterSite


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
        self._face: HostedTransport | None = None
        self._taken = False

    @property
    def transport(self) -> Any:
        """What code sees that asks for the transport; None once that was taken."""
        if self._taken:
            return None
        if self._face is None:
            self._face = HostedTransport(self, self._native)
        return self._face

    @transport.setter
    def transport(self, transport: Any) -> None:
        # Some WebSocket libraries take the transport away by setting it to None.
        if transport is None:
            self._taken = True
        else:
            self._native = transport

    # From the transport.

    @ends_connection
    def connectionMade(self) -> None:
        """Begin."""
        self._native.registerProducer(self, True)
        self.opened()

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the client."""
        self.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell everyone."""
        self.lost(reason)

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
        return bool(ISSLTransport.providedBy(self._native))

    @ends_connection
    def drain(self) -> None:
        """Close if idle; otherwise close after the response."""
        if self._taken and self._protocol is None and not self._deaf:
            self.loseConnection()
        else:
            super().drain()

    def _call_soon(self, callback: "Callable[[], object]") -> None:
        self.site.clock.callLater(0, callback)

    def _stop_reading(self) -> None:
        self._native.pauseProducing()

    def _start_reading(self) -> None:
        self._native.resumeProducing()

    def _close_writing(self) -> bool:
        if self.isSecure():
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
