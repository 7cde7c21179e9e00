"""
Connections to a Unix socket on an asyncio loop's own transports (in a worker).

Twisted's transports call the loop for every single read and write; the loop's own do
that work themselves, on uvloop without any Python.  The protocol on them remains a
Twisted one: the loop calls it directly, and it writes to an object with the interface
of Twisted's transports.
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
from clusterapp.system.turn_end import TurnEnd

#: The most bytes that wait for the end of the loop's turn. More are passed to the
#: loop's transport, which then pauses their producer.
_MAX_PENDING = 1 << 16


@implementer(IStreamClientEndpoint)
class NativeUnixEndpoint:
    """
    Connects Twisted protocols to a Unix socket, on a loop's own transports.

    :param loop: the loop that the reactor runs on.
    :param path: the path of the socket.
    :param turn_end: sends what was written in a turn of the loop, at the turn's end.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        path: str,
        turn_end: TurnEnd | None = None,
    ) -> None:
        self._loop = loop
        self._path = path
        self._turn_end = turn_end or TurnEnd(loop.call_soon)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect a protocol.

        :return: fires with the protocol, or fails with a ConnectError.
        """
        connecting = self._loop.create_task(self._connect(protocolFactory))

        def give_up(_: Deferred[IProtocol]) -> None:
            connecting.cancel()

        connected: Deferred[IProtocol] = Deferred(give_up)
        connecting.add_done_callback(lambda done: _settle(done, connected))
        return connected

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # For a Unix socket connect succeeds or fails immediately.
            sock.connect(self._path)
            transport, carrier = await self._loop.create_unix_connection(
                _Carrier, sock=sock
            )
        except BaseException:
            sock.close()
            raise
        address = UNIXAddress(self._path)
        protocol = cast("IProtocol", factory.buildProtocol(address))
        face = NativeStream(transport, protocol, sock, address, self._turn_end)
        transport.set_protocol(face)
        carrier.hand_over(protocol, face)
        return protocol


@guarded("report a connection")
def _settle(done: asyncio.Task[IProtocol], connected: Deferred[IProtocol]) -> None:
    """Report the result of a connection attempt, unless it was cancelled."""
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
        # The meaning of EAGAIN for a Unix socket: connect(2).
        return ConnectError(error.errno, "the socket's queue is full")
    return getConnectError(error) if isinstance(error, OSError) else error


class _Carrier(asyncio.Protocol):
    """The loop's protocol until the connection has been set up."""

    #: Events that arrive before the Twisted protocol is connected.
    _buffered: list[Callable[["NativeStream"], object]]

    def __init__(self) -> None:
        self._buffered = []

    def data_received(self, data: bytes) -> None:
        self._buffered.append(lambda face: face.data_received(data))

    def eof_received(self) -> None:
        self._buffered.append(NativeStream.eof_received)

    def connection_lost(self, exc: Exception | None) -> None:
        # As by a reset: the loop reports it once, and only to the protocol of then.
        self._buffered.append(lambda face: face.connection_lost(exc))

    def hand_over(self, protocol: IProtocol, face: "NativeStream") -> None:
        """Connect the Twisted protocol, and pass on the events so far."""
        protocol.makeConnection(face)
        for came in self._buffered:
            came(face)


#: Guards the loop's callbacks of a stream: an exception closes that stream.
_ends_stream = guarded(
    "handle flow control of a connection",
    lambda _failure, stream: stream.abortConnection(),
)


@implementer(ITransport, IConsumer, IPushProducer, ISystemHandle)
class NativeStream(asyncio.Protocol):
    """
    A Twisted transport over a loop's transport, whose protocol it is.

    :param transport: the loop's transport.
    :param protocol: the Twisted protocol.
    :param sock: the socket, for `getHandle`.
    :param address: the peer's address.
    :param turn_end: sends what was written in a turn of the loop, at the turn's end.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: IProtocol,
        sock: socket.socket,
        address: UNIXAddress,
        turn_end: TurnEnd,
    ) -> None:
        self.disconnecting = False
        self.data_received = guarded(  # type: ignore[method-assign]
            "read from a connection", lambda *_: self.abortConnection()
        )(protocol.dataReceived)
        self._transport = transport
        self._protocol = protocol
        self._socket = sock
        self._address = address
        self._turn_end = turn_end
        self._pending = b""
        self._producer: IPushProducer | None = None
        self._full = False
        self._lost = False
        self._aborted = False

    # Called by the Twisted side.

    def write(self, data: bytes) -> None:
        """
        Send bytes at the end of the loop's turn, together with what else is written.

        So the requests of a turn are sent one after the other when all of them are
        there: the core preempts this process less often, and finds more at a time.
        After the connection is closed bytes are dropped.
        """
        if not self._pending:
            self._turn_end.add(self._send)
        self._pending += data
        if len(self._pending) > _MAX_PENDING:
            self._send()

    def writeSequence(self, data: Any) -> None:
        """Send a sequence of bytes."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close the connection after all pending writes."""
        self._send()
        self.disconnecting = True
        self._transport.close()

    def abortConnection(self) -> None:
        """Close the connection at once."""
        self._aborted = True
        self._transport.abort()

    stopProducing = loseConnection

    def pauseProducing(self) -> None:
        """Pause reading."""
        self._transport.pause_reading()

    def resumeProducing(self) -> None:
        """Resume reading."""
        self._transport.resume_reading()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Register a push producer, which is paused while the send buffer is full.

        :raise RuntimeError: if one is registered already.
        :raise ValueError: for a pull producer.
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
        """Unregister the producer."""
        self._producer = None

    def getHandle(self) -> socket.socket:
        """Return the socket."""
        return self._socket

    def getPeer(self) -> UNIXAddress:
        """Return the address that was connected to."""
        return self._address

    def getHost(self) -> UNIXAddress:
        """Return this end's address, which has no name."""
        return UNIXAddress(None)

    @_ends_stream
    def _send(self) -> None:
        data, self._pending = self._pending, b""
        if data and not self._lost and not self._aborted:
            self._transport.write(data)

    # Called by the loop; `data_received` is the Twisted protocol's own method.

    @_ends_stream
    def pause_writing(self) -> None:
        """Called when the send buffer is full: pause the producer."""
        self._full = True
        if self._producer is not None:
            self._producer.pauseProducing()

    @_ends_stream
    def resume_writing(self) -> None:
        """Called when the send buffer has drained: resume the producer."""
        self._full = False
        if self._producer is not None:
            self._producer.resumeProducing()

    @_ends_stream
    def eof_received(self) -> None:
        """
        Called at end of file; close the connection without writing the rest, like
        Twisted.
        """
        self._lose(ConnectionDone())
        self._transport.abort()

    @guarded("report the end of a connection")
    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection is closed: notify the protocol, unless it was."""
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
