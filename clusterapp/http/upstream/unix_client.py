"""
Connections to a Unix socket on an asyncio loop's own transports (in a worker).

Twisted's transports ask a loop for every single read and write; the loop's own do
that work by themselves, on uvloop without any Python.  What speaks over them stays a
Twisted protocol: the loop calls it without a detour, and what it writes to looks like
one of Twisted's transports.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    getConnectError,
)
from twisted.internet.interfaces import (
    IConsumer,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IStreamClientEndpoint,
    ISystemHandle,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from clusterapp.guards import guarded


@implementer(IStreamClientEndpoint)
class NativeUnixEndpoint:
    """
    Connects Twisted protocols to a Unix socket, on a loop's own transports.

    :param loop: the loop that the reactor runs on.
    :param path: the path of the socket.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str) -> None:
        self._loop = loop
        self._path = path

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect a protocol.

        :return: fires with the protocol, or fails with a ConnectError.
        """
        connecting = self._loop.create_task(self._connect(protocolFactory))

        def give_up(_: Deferred[IProtocol]) -> None:
            connecting.cancel()

        connected: Deferred[IProtocol] = Deferred(give_up)
        connecting.add_done_callback(lambda done: _tell(done, connected))
        return connected

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # On a Unix socket that happens at once, or not at all.
            sock.connect(self._path)
            transport, carrier = await self._loop.create_unix_connection(
                _Carrier, sock=sock
            )
        except BaseException:
            sock.close()
            raise
        address = UNIXAddress(self._path)
        protocol = cast("IProtocol", factory.buildProtocol(address))
        face = NativeStream(transport, protocol, sock, address)
        transport.set_protocol(face)
        carrier.hand_over(protocol, face)
        return protocol


@guarded("tell of a connection")
def _tell(done: asyncio.Task[IProtocol], connected: Deferred[IProtocol]) -> None:
    """Hand over what became of an attempt, unless it was given up."""
    if done.cancelled():
        return
    error = done.exception()
    if connected.called:
        if error is None:
            cast("Any", done.result()).transport.abortConnection()
    elif error is None:
        connected.callback(done.result())
    else:
        connected.errback(Failure(_as_twisted(error)))


def _as_twisted(error: BaseException) -> BaseException:
    if isinstance(error, BlockingIOError):
        # What EAGAIN means on a Unix socket: connect(2).
        return ConnectError(error.errno, "the socket's queue is full")
    return getConnectError(error) if isinstance(error, OSError) else error


class _Carrier(asyncio.Protocol):
    """What the loop calls until it has let go of the making of the connection."""

    #: What came already, though nobody has asked for anything yet.
    _early: list[Callable[["NativeStream"], object]]

    def __init__(self) -> None:
        self._early = []

    def data_received(self, data: bytes) -> None:
        self._early.append(lambda face: face.data_received(data))

    def eof_received(self) -> None:
        self._early.append(NativeStream.eof_received)

    def hand_over(self, protocol: IProtocol, face: "NativeStream") -> None:
        """Connect the protocol, and tell it what there is to tell."""
        protocol.makeConnection(face)
        for came in self._early:
            came(face)


#: Guards what the loop calls of a stream: an exception ends that stream.
_ends_stream = guarded(
    "follow the pace of a connection", lambda _failure, stream: stream.abortConnection()
)


@implementer(ITransport, IConsumer, IPushProducer, ISystemHandle)
class NativeStream(asyncio.Protocol):
    """
    A Twisted transport that is a loop's own, and hears from it in the protocol's place.

    :param transport: the loop's transport.
    :param protocol: the Twisted protocol.
    :param sock: the socket, for those who look at it.
    :param address: the other end.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: IProtocol,
        sock: socket.socket,
        address: UNIXAddress,
    ) -> None:
        self.disconnecting = False
        self.data_received = guarded(  # type: ignore[method-assign]
            "read from a connection", lambda *_: self.abortConnection()
        )(protocol.dataReceived)
        self._transport = transport
        self._protocol = protocol
        self._socket = sock
        self._address = address
        self._producer: IPushProducer | None = None
        self._full = False
        self._lost = False
        self._aborted = False

    # What the Twisted side calls.

    def write(self, data: bytes) -> None:
        """Send bytes; after the end of the connection they are dropped."""
        if not self._lost:
            self._transport.write(data)

    def writeSequence(self, data: Any) -> None:
        """Send pieces of bytes."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close the connection when all is written."""
        self.disconnecting = True
        self._transport.close()

    def abortConnection(self) -> None:
        """Close the connection at once."""
        self._aborted = True
        self._transport.abort()

    stopProducing = loseConnection

    def pauseProducing(self) -> None:
        """Read nothing for now."""
        self._transport.pause_reading()

    def resumeProducing(self) -> None:
        """Read on."""
        self._transport.resume_reading()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Let a producer follow how fast the other end reads.

        :raise RuntimeError: when there is another.
        :raise ValueError: for one that wants to be asked for every piece.
        """
        if self._producer is not None:
            raise RuntimeError(f"there is a producer already: {self._producer!r}")
        if not streaming:
            raise ValueError(f"not a push producer: {producer!r}")
        if self._lost:
            producer.stopProducing()
            return
        self._producer = producer
        if self._full:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self._producer = None

    def getHandle(self) -> socket.socket:
        """Give the socket itself."""
        return self._socket

    def getPeer(self) -> UNIXAddress:
        """Tell the address that was connected to."""
        return self._address

    def getHost(self) -> UNIXAddress:
        """Tell this end's address: it has no name."""
        return UNIXAddress(None)

    # What the loop calls; and `data_received`, which is the protocol's own.

    @_ends_stream
    def pause_writing(self) -> None:
        """Hold the producer back."""
        self._full = True
        if self._producer is not None:
            self._producer.pauseProducing()

    @_ends_stream
    def resume_writing(self) -> None:
        """Let the producer go on."""
        self._full = False
        if self._producer is not None:
            self._producer.resumeProducing()

    @_ends_stream
    def eof_received(self) -> None:
        """End the connection: Twisted's own do not wait to write the rest, either."""
        self._lose(ConnectionDone())
        self._transport.abort()

    @guarded("tell of the end of a connection")
    def connection_lost(self, exc: Exception | None) -> None:
        """Tell of the end, unless that is known."""
        if self._aborted:
            self._lose(ConnectionAborted())
        elif exc is None:
            self._lose(ConnectionDone())
        else:
            self._lose(ConnectionLost(str(exc)))

    def _lose(self, error: Exception) -> None:
        if self._lost:
            return
        self._lost = True
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self._protocol.connectionLost(Failure(error))
