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
from clusterapp.http.wire import ends_connection

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol

    from clusterapp.http.site import ClusterSite

#: How often a transport that was taken away is looked at, in seconds.
_LOOK_SECONDS = 5.0

#: What a connection is in while something else has its transport, unless its end has
#: begun.
_TAKEN = frozenset({"nothing", "response"})


@implementer(IPushProducer)
class HostedConnection(Connection, Protocol):
    """
    A connection on a transport of a Twisted reactor: TCP, Unix or TLS.

    To the transport it is a producer: so it hears how fast the client reads.

    :param site: what is served.
    """

    def __init__(self, site: "ClusterSite") -> None:
        Connection.__init__(self, site)
        self._stream: Any = None

    @property
    def transport(self) -> Any:
        """The transport; None once a resource has taken it away."""
        return self._stream

    @transport.setter
    def transport(self, transport: Any) -> None:
        self._stream = transport
        if transport is None:
            self.deadline = self.site.now + _LOOK_SECONDS

    # From the transport.

    @ends_connection
    def connectionMade(self) -> None:
        """Begin."""
        self._native = self.transport
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

    @ends_connection
    def overdue(self, now: float) -> None:
        """Look for the end of a transport that was taken away: nobody tells of it."""
        if self._stream is not None or self.phase not in _TAKEN:
            super().overdue(now)
        elif self._native.connected:
            self.deadline = now + _LOOK_SECONDS
        else:
            self._forget()

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
        """Come to an end; of a transport that was taken away there is no news."""
        head = self._head
        if self.transport is not None:
            super().drain()
        elif head is None or head.upgrade != b"websocket" or not self._native.connected:
            self._forget()
        elif self.phase != "goodbye":
            self.say_goodbye()

    def take_over(self, protocol: "IProtocol") -> None:
        """Leave the transport to a protocol, which may be its producer now."""
        self._native.unregisterProducer()
        super().take_over(protocol)

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
        if self.transport is None:
            self._forget()

    def _call_soon(self, callback: Callable[[], None]) -> IDelayedCall:
        return self.site.clock.callLater(0, callback)

    def _abort(self) -> None:
        self._native.abortConnection()
