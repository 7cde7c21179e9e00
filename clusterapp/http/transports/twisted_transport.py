"""One of Twisted's transports, as code that asks a core's request for it gets it."""

from typing import TYPE_CHECKING, Any

from zope.interface import directlyProvides, providedBy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IProducer, IProtocol

    from clusterapp.http.transports.twisted_connection import HostedConnection

#: When a connection says nothing more: also behind the close frame of a WebSocket.
_OVER = frozenset({"end", "goodbye"})


class HostedTransport:
    """
    The stand-in for a connection's transport.

    It provides what the transport provides, and leaves to it what is not defined
    here. The connection stays the protocol and the producer of the transport itself,
    whatever takes its place here: so it hears how fast the client reads, and how the
    connection ends.

    :param connection: the connection.
    :param native: its transport.
    """

    def __init__(self, connection: "HostedConnection", native: Any) -> None:
        self._connection = connection
        self._native = native
        self._protocol: IProtocol | None = None
        directlyProvides(self, providedBy(native))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    @property
    def protocol(self) -> Any:
        """Who gets what comes in: the connection, until somebody takes its place."""
        return self._connection if self._protocol is None else self._protocol

    @protocol.setter
    def protocol(self, protocol: "IProtocol") -> None:
        # autobahn's resource assigns itself, as one may with Twisted's own.
        self._protocol = protocol
        self._connection.take_over(protocol)

    # ITransport

    def write(self, data: bytes) -> None:
        """Write bytes; nothing is done once the end has begun."""
        if self._connection.phase not in _OVER:
            self._native.write(data)

    def writeSequence(self, data: "Iterable[bytes]") -> None:
        """Write pieces, one behind the other."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close once everything is written."""
        if self._connection.phase != "end":
            self._connection.loseConnection()

    def abortConnection(self) -> None:
        """Close at once."""
        self._connection.abortConnection()

    def loseWriteConnection(self) -> None:
        """End the stream to the client; reading goes on."""
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
