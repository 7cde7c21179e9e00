"""
One client's connection, on twisted.web's HTTP channel.

This module alone touches the private parts of `twisted.web.http`; each such
place says which. They were read in Twisted 26.10.
"""

from typing import TYPE_CHECKING, Any

from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IProtocol, IPushProducer
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.http_headers import Headers

from clusterapp.http.messages import options
from clusterapp.http.streamed import Incoming, StreamedExchange

if TYPE_CHECKING:
    from clusterapp.http.site import ClusterSite

#: For how long the rest of an unwanted body is read, in seconds.
DISCARD_SECONDS = 30.0
#: How long a client may read the response of a connection we have closed, in s.
LINGER_SECONDS = 10.0
#: How long a connection that has brought nothing yet holds up a drain, in s.
FIRST_REQUEST_SECONDS = 1.0


class ClusterRequest(server.Request):
    """A request for the site's resources, or the stand-in of a streamed one."""

    channel: "ClusterChannel"
    exchange: StreamedExchange | None = None

    def handleContentChunk(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self.exchange is None:
            super().handleContentChunk(data)
        else:
            self.exchange.received(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Know that the body has ended."""
        if self.exchange is None:
            super().requestReceived(command, path, version)
        else:
            self.channel.streamed_body_ended()

    def getRequestHostname(self) -> bytes:
        """Name the host that was asked for; a Unix socket has no name of its own."""
        if isinstance(self.getHost(), UNIXAddress) and not self.getHeader(b"host"):
            return b"localhost"
        name: bytes = super().getRequestHostname()
        return name

    def connectionLost(self, reason: Failure) -> None:
        """Know that the client has gone."""
        if self.exchange is not None:
            self.exchange.lose(reason)
        super().connectionLost(reason)


class ClusterChannel(http.HTTPChannel):
    """
    A connection whose requests may be streamed to a forwarder.

    Requests are answered in their order, as in every `HTTPChannel`: the next
    one is not looked at before the response and the body of the one before it
    are complete.
    """

    site: "ClusterSite"
    #: A server's transport: TCP, Unix or TLS. `HTTPChannel` has no annotations.
    transport: Any
    _networkProducer: Any

    def __init__(self) -> None:
        super().__init__()
        self._fields: list[tuple[bytes, bytes]] = []
        self._exchange: StreamedExchange | None = None
        self._decoder: Any = None
        self._protocol: IProtocol | None = None
        self._deaf = False
        self._served = False
        self._deadline: IDelayedCall | None = None

    # From the transport.

    def connectionMade(self) -> None:
        """Begin, and be known to the site."""
        super().connectionMade()
        self.site.opened(self)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._protocol is not None:
            self._protocol.dataReceived(data)
        else:
            super().dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Tell everyone that the client has gone."""
        self._forget_deadline()
        super().connectionLost(reason)
        if self._protocol is not None:
            self._protocol.connectionLost(reason)
        self.site.closed(self)

    def pauseProducing(self) -> None:
        """Slow down the response, as the client reads slowly."""
        if self._exchange is None:
            super().pauseProducing()
            return
        # HTTPChannel.pauseProducing would stop reading the body as well: a
        # client that reads only once it has sent everything would hang.
        self._waitingForTransport = True
        if self._requestProducer is not None:
            self._requestProducer.pauseProducing()

    def resumeProducing(self) -> None:
        """Go on with the response."""
        if self._exchange is None:
            super().resumeProducing()
            return
        self._waitingForTransport = False
        if self._requestProducer is not None:
            self._requestProducer.resumeProducing()

    # From the parser.

    def lineReceived(self, line: bytes) -> None:
        """Take a line of a head."""
        # LineReceiver still has lines when a request has been refused.
        if not self._deaf:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """Take bytes of a body, or of the request after this one."""
        if self._protocol is not None:
            self._protocol.dataReceived(data)
        elif not self._deaf:
            super().rawDataReceived(data)

    def headerReceived(self, line: bytes) -> bool:
        """Keep a field as it was written; `Headers` keeps no order or spelling."""
        accepted: bool = super().headerReceived(line)
        if accepted:
            name, _, value = line.partition(b":")
            self._fields.append((name, value.strip(b" \t")))
        return accepted

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        """Tell whether another request may follow; every `Connection` line counts."""
        if version != b"HTTP/1.1":
            return False
        if self.site.draining or b"close" in options(self._fields):
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return True

    def allHeadersReceived(self) -> None:
        """Offer the request to the forwarder, or else to the site's resources."""
        if self.site.draining:
            self.setTimeout(self.site.timeOut)
        self._served = True
        request = self.requests[-1]
        # Both are `HTTPChannel`'s: the line is kept there until the body ends,
        # and the decoder is what decides where the body ends.
        self._decoder = self._transferDecoder
        self.persistent = self.checkPersistence(request, self._version)
        exchange = StreamedExchange(self._incoming(), self)
        self._exchange = request.exchange = exchange
        if not self.site.offer(exchange):
            self._exchange = request.exchange = None
            super().allHeadersReceived()  # it asks checkPersistence once more
        self._fields = []

    def _incoming(self) -> Incoming:
        return Incoming(
            method=self._command,
            target=self._path,
            version=self._version,
            fields=self._fields,
            length=self.length,
            peer=self.getPeer(),
            secure=self.isSecure(),
        )

    def streamed_body_ended(self) -> None:
        """Know that the body of a streamed request is complete."""
        exchange = self._exchange
        if exchange is None or self._deaf:
            return
        # Back-pressure may have stopped the reading; now only reading tells
        # that the client goes away. `HTTPChannel` bounds what it buffers.
        self._networkProducer.resumeProducing()
        # Twisted keeps the lines of a chunked body's trailers here, unparsed.
        lines = getattr(self._decoder, "_trailerHeaders", [])
        try:
            exchange.complete([bytes(line) for line in lines])
        except ValueError:
            self._respondToBadRequestAndDisconnect()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # HTTPChannel calls this for everything it cannot parse. It would send
        # its 400 in the middle of a response, and parse on what follows.
        self._deaf = True
        exchange = self._exchange
        if exchange is None or not exchange.responded:
            super()._respondToBadRequestAndDisconnect()
        else:
            exchange.break_off()
        if exchange is not None:
            exchange.lose(Failure(ConnectionLost("the request is malformed")))

    def requestDone(self, request: http.Request) -> None:
        """Go on with the next request, or close."""
        if self.site.draining:
            self.persistent = False
        super().requestDone(request)

    def writeHeaders(
        self, version: bytes, code: bytes, reason: bytes, headers: Headers
    ) -> None:
        """Begin the response of one of the site's resources."""
        if self.site.draining:
            self.persistent = False
            headers.setRawHeaders(b"Connection", [b"close"])
        super().writeHeaders(version, code, reason, headers)

    def _protocolUpgradeForWebsockets(self, protocol: IProtocol) -> None:
        # twisted.web.websocket calls this. HTTPChannel's would replace our
        # connectionLost, and the site could not drain.
        self.hand_over(protocol)

    # From the site.

    def drain(self) -> None:
        """Close if idle; otherwise close after the response."""
        if self.transport is None:
            # A resource took the transport away, as some WebSocket libraries
            # do: we shall not be told when it closes.
            self.site.closed(self)
        elif self._protocol is not None:
            # With a producer, a transport goes on for as long as that has more.
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        elif self.requests or self._buffer:
            return  # `will_close` and `writeHeaders` see that the site drains
        elif self._served:
            self.loseConnection()
        else:
            self.setTimeout(FIRST_REQUEST_SECONDS)

    # From the exchange: its `Wire`.

    def pause_reading(self) -> None:
        """Read nothing more, and do not blame the client for its silence."""
        self._networkProducer.pauseProducing()
        if self.timeOut:
            self._savedTimeOut = self.setTimeout(None)

    def resume_reading(self) -> None:
        """Read on, and expect something to come."""
        self._networkProducer.resumeProducing()
        if self._savedTimeOut and self.timeOut is None:
            self.setTimeout(self._savedTimeOut)

    def will_close(self) -> bool:
        """Whether the connection ends with this response."""
        return self.site.draining or not self.persistent

    def close_after(self) -> None:
        """Let the connection end with this response."""
        self.persistent = False

    def send(self, pieces: list[bytes]) -> None:
        """Write to the client."""
        self.resetTimeout()
        self.transport.writeSequence(pieces)

    def produce(self, producer: IPushProducer | None) -> None:
        """Let this producer, or none, follow how fast the client reads."""
        if producer is None:
            self.unregisterProducer()
            return
        self.registerProducer(producer, True)
        if self._waitingForTransport:
            producer.pauseProducing()

    def answered(self) -> None:
        """Go on with the next request."""
        self._forget_deadline()
        self._exchange = None
        self.requestDone(self.requests[0])

    def discard(self) -> None:
        """Read the rest of the request's body, for a bounded time."""
        self._deadline = self.callLater(DISCARD_SECONDS, self.linger)
        self.resume_reading()

    def linger(self) -> None:
        """Close after what was written, so that the client can read it."""
        # Closing a socket with unread input resets the connection, and the
        # client may lose what it has not read (RFC 9112, section 9.6).
        self._deaf = True
        self._forget_deadline()
        self.setTimeout(None)
        self._deadline = self.callLater(LINGER_SECONDS, self.cut)
        if self.isSecure():
            # TLS has no half-closed connections.
            self.loseConnection()
            return
        self._networkProducer.unregisterProducer()
        self.transport.loseWriteConnection()
        self._networkProducer.resumeProducing()

    def cut(self) -> None:
        """Close at once, so that the client sees a broken connection."""
        self._deaf = True
        self._forget_deadline()
        self.transport.abortConnection()

    def hand_over(self, protocol: IProtocol) -> None:
        """Give the raw stream to a protocol, early bytes first."""
        self._networkProducer.unregisterProducer()
        self._networkProducer.resumeProducing()
        self._exchange = None
        self._protocol = protocol
        protocol.makeConnection(self.transport)
        # Twisted keeps here what followed the request.
        early = b"".join(self._dataBuffer)
        self._dataBuffer = []
        if early:
            protocol.dataReceived(early)
        if self.site.draining:
            self.drain()

    def _forget_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()
