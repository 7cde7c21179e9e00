"""The `Exchange` of a connection."""

from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol, IPushProducer
from twisted.python.failure import Failure

from clusterapp.guards import report
from clusterapp.http.exchange.exchange import Exchange
from clusterapp.http.exchange.request_body import IncomingBody
from clusterapp.http.syntax.client_origin import Origin
from clusterapp.http.syntax.message_head import ResponseHead, end_to_end, values
from clusterapp.http.syntax.response_framing import Framing, encode
from clusterapp.interfaces import Fields

if TYPE_CHECKING:
    from clusterapp.http.server.connection import Connection
    from clusterapp.http.syntax.request_head import Head


class StreamedExchange:
    """
    One request and its response; see `clusterapp.http.exchange.exchange.Exchange`.

    :param head: the request's head.
    :param connection: what it came by.
    :param take: who responds.
    """

    def __init__(
        self,
        head: "Head",
        connection: "Connection",
        take: Callable[[Exchange], object],
    ) -> None:
        self.method = head.method
        self.target = head.target
        self.version = head.version
        self.fields = head.fields
        self.length = head.length
        self.body = IncomingBody(head.length, connection)
        self.gone: Deferred[None] = Deferred()
        self._connection = connection
        self._take = take
        self._framing: Framing | None = None
        self._status = 0
        self._sent = 0
        self._finished = False
        self._lost = False
        self._came = False
        self._may_withhold_body = head.expects
        #: Whether the client asks to speak WebSocket.
        self.wants_upgrade = head.websocket

    @property
    def origin(self) -> Origin:
        """The connection that the client, or a proxy before us, has made."""
        origin = self._connection.origin
        if self.version == b"HTTP/1.0" and not values(self.fields, b"host"):
            return replace(origin, has_host=False)
        return origin

    @property
    def peer(self) -> IAddress:
        """The other end of the connection."""
        return self._connection.getPeer()

    @property
    def responded(self) -> bool:
        """Whether the response's head has been sent."""
        return self._framing is not None

    # What the forwarder calls.

    def interim(self, head: ResponseHead) -> None:
        """Send a 1xx response."""
        opening = encode(head)
        if self._lost or self.responded or self.version != b"HTTP/1.1":
            return
        if head.status == HTTPStatus.CONTINUE:
            self._may_withhold_body = False
        self._connection.write(opening)

    def respond(self, head: ResponseHead, body: bytes = b"") -> None:
        """Begin the response, with what there is of its body already."""
        if self._lost:
            return
        if self._finished or self.responded:
            raise RuntimeError("the response has begun before")
        framing = Framing(self.method, self.version, head)
        # Without a 100 the client may send its body or not, and the bytes
        # would not tell: such a connection cannot be used again.
        withheld = self._may_withhold_body and not self._came
        closing = self._connection.will_close or withheld or framing.until_close
        opening = framing.opening(closing=closing)
        pieces = framing.piece(body)
        self._framing = framing
        self._status = head.status
        if closing:
            self._connection.close_after()
        # One write, and so one system call.
        self._connection.write(b"".join((opening, *pieces)))
        if pieces:
            self._sent += len(body)

    def write(self, body: bytes) -> None:
        """Send a piece of the response's body."""
        if self._framing is not None and not self._lost:
            pieces = self._framing.piece(body)
            if pieces:
                self._sent += len(body)
                self._connection.writeSequence(pieces)

    def finish(self, trailers: Fields = ()) -> None:
        """End the response."""
        if self._lost or self._finished or self._framing is None:
            return
        if self._framing.owed:
            self.abort()
            return
        ending = self._framing.ending(trailers)
        self._finished = True
        if ending:
            self._connection.write(ending)
        if not self.body.complete:
            self.body.stopProducing()
        self._connection.response_ended(self._status, self._sent)

    def abort(self) -> None:
        """Break the response off."""
        if self._lost or self._finished:
            return
        self._finished = True
        self.break_off()

    def ending(self) -> None:
        """Give nothing: the forwarder knows what is endless, and ends it."""

    def break_off(self) -> None:
        """Close the connection, so that the client sees what is incomplete."""
        # A framed body is visibly incomplete without its end, and what was
        # sent can still be read; any other must not end like a whole one.
        if self._framing is None or self._framing.until_close:
            self._connection.abortConnection()
        else:
            self._connection.linger()

    def register(self, producer: IPushProducer) -> None:
        """Pause and resume the producer as the client reads."""
        if not self._lost:
            self._connection.registerProducer(producer, True)

    def unregister(self) -> None:
        """Forget the producer."""
        if not self._lost:
            self._connection.unregisterProducer()

    def upgrade(self, protocol: IProtocol) -> None:
        """Connect a protocol to the raw stream."""
        if not self._lost:
            self._finished = True
            self._connection.hand_over(protocol)

    # What the connection calls.

    def outcome(self) -> tuple[int, int]:
        """Give the status, 0 if none was sent, and the bytes of the body so far."""
        return self._status, self._sent

    def serve(self) -> None:
        """Let the forwarder respond; there is no body."""
        self.body.ended(())
        self._take(self)

    def begin(self) -> None:
        """Let the forwarder respond."""
        self._take(self)

    def expected(self) -> None:
        """Leave it to the forwarder to ask for the body."""

    def received(self, piece: bytes) -> None:
        """Take a piece of the request's body."""
        self._came = True
        self.body.received(piece)

    def completed(self, trailers: Fields) -> None:
        """Know that the request's body has ended."""
        self.body.ended(end_to_end(trailers))

    def fail(self, reason: Failure) -> None:
        """Break it off: who has begun to respond cannot go on."""
        report("pass a response on", reason)
        self._connection.abortConnection()

    def lose(self, reason: Failure) -> None:
        """Know that the connection is lost."""
        if self._lost:
            return
        self._lost = True
        if not self._finished:
            self.gone.callback(None)
        self.body.broken(reason)
