"""Wrapper of a Twisted transport, for code that uses `request.transport` in a core."""

from typing import TYPE_CHECKING, Any

from zope.interface import directlyProvides, providedBy

from clusterapp.http.server.deadlines import CLOSING, Phase
from clusterapp.http.server.interfaces import StreamChannel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IProducer, IProtocol


#: The phases in which nothing more is written: also after a WebSocket's close frame.
_OVER = (*CLOSING, Phase.GOODBYE)


class HostedTransport:
    """
    Wrapper of a connection's transport.

    It provides the interfaces of the transport, and delegates all attributes that are
    not defined here. The connection stays the protocol and the producer of the
    transport itself, even if it is replaced on this wrapper: so it is notified of
    back-pressure, and of the end of the connection.

    :param connection: the connection.
    :param native: the transport of the connection.
    """

    def __init__(self, connection: StreamChannel, native: Any) -> None:
        self._connection = connection
        self._native = native
        self._protocol: IProtocol | None = None
        directlyProvides(self, providedBy(native))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    @property
    def protocol(self) -> Any:
        """The protocol that receives input: the connection, unless replaced."""
        return self._connection if self._protocol is None else self._protocol

    @protocol.setter
    def protocol(self, protocol: "IProtocol") -> None:
        # autobahn's resource assigns its protocol, as Twisted's transports allow.
        self._protocol = protocol
        self._connection.take_over(protocol)

    # ITransport

    def write(self, data: bytes) -> None:
        """Write bytes; do nothing once the connection is closing."""
        if self._connection.deadlines.phase not in _OVER:
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
        self._connection.pause_protocol()

    def resumeProducing(self) -> None:
        """Resume reading from the client."""
        self._connection.resume_protocol()

    def stopProducing(self) -> None:
        """Close the connection once everything is written."""
        self.loseConnection()
