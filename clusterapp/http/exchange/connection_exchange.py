"""Implementation of `Exchange` on a connection of the server."""

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
from clusterapp.http.server.server_interfaces import Channel
from clusterapp.http.syntax.client_origin import Origin
from clusterapp.http.syntax.message_head import ResponseHead, end_to_end, values
from clusterapp.http.syntax.response_framing import Framing, encode
from clusterapp.interfaces import Fields

if TYPE_CHECKING:
    from clusterapp.http.syntax.request_head import Head


class StreamedExchange:
    """
    Streamed request and response; see `clusterapp.http.exchange.exchange.Exchange`.

    It is the current message of its connection.

    :param head: the request head.
    :param connection: the connection that the request was received on.
    :param take: the handler that responds, called with this exchange.
    """

    late_status = HTTPStatus.GATEWAY_TIMEOUT

    def __init__(
        self,
        head: "Head",
        connection: Channel,
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
        #: Whether the client requests an upgrade to WebSocket.
        self.wants_upgrade = head.websocket

    @property
    def origin(self) -> Origin:
        """The connection of the client, or of a proxy in front of the cluster."""
        origin = self._connection.origin
        if self.version == b"HTTP/1.0" and not values(self.fields, b"host"):
            return replace(origin, has_host=False)
        return origin

    @property
    def peer(self) -> IAddress:
        """The address of the connection's peer."""
        return self._connection.getPeer()

    @property
    def responded(self) -> bool:
        """Whether the response head has been sent."""
        return self._framing is not None

    # Called by the handler.

    def interim(self, head: ResponseHead) -> None:
        """Send a 1xx response."""
        opening = encode(head)
        if self._lost or self.responded or self.version != b"HTTP/1.1":
            return
        if head.status == HTTPStatus.CONTINUE:
            self._may_withhold_body = False
        self._connection.write(opening)

    def respond(self, head: ResponseHead, body: bytes = b"") -> None:
        """Start the response, with the available part of its body."""
        if self._lost:
            return
        if self._finished or self.responded:
            raise RuntimeError("the response has begun before")
        framing = Framing(self.method, self.version, head)
        # Without a 100 Continue the client may send its body or not, and its next
        # bytes do not show which: such a connection cannot be used again.
        withheld = self._may_withhold_body and not self._came
        closing = self._connection.will_close or withheld or framing.until_close
        opening = framing.opening(closing=closing)
        pieces = framing.piece(body)
        self._framing = framing
        self._status = head.status
        if closing:
            self._connection.close_after()
        if pieces:
            self._sent += len(body)
        # One write, and so one system call.
        self._connection.write(b"".join((opening, *pieces)))

    def write(self, body: bytes) -> None:
        """Send a piece of the response body."""
        if self._framing is not None and not self._lost:
            pieces = self._framing.piece(body)
            if pieces:
                self._sent += len(body)
                self._connection.writeSequence(pieces)

    def finish(self, trailers: Fields = ()) -> None:
        """Complete the response."""
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
        """Abort the response, so that the client sees that it is incomplete."""
        if self._lost or self._finished:
            return
        self._finished = True
        self.abort_response()

    def ending(self) -> None:
        """Return None: the handler ends a response that would not end by itself."""

    def abort_response(self) -> None:
        """Close the connection, so that the client sees an incomplete response."""
        # A framed body is visibly incomplete without its end, so a lingering close lets
        # the client read what was sent. A body that ends with the connection needs an
        # abort, or it would look complete.
        if self._framing is None or self._framing.until_close:
            self._connection.abortConnection()
        else:
            self._connection.linger()

    def register(self, producer: IPushProducer) -> None:
        """Pause and resume the producer as the client reads."""
        if not self._lost:
            self._connection.registerProducer(producer, True)

    def unregister(self) -> None:
        """Unregister the producer."""
        if not self._lost:
            self._connection.unregisterProducer()

    def upgrade(self, protocol: IProtocol) -> None:
        """Upgrade the connection: connect a protocol to the raw stream."""
        if not self._lost:
            self._finished = True
            self._connection.hand_over(protocol)

    # Called by the connection.

    def outcome(self) -> tuple[int, int]:
        """Return the status sent, 0 if none, and the number of body bytes so far."""
        return self._status, self._sent

    def serve(self) -> None:
        """Called for a request without a body: call the handler."""
        self.body.ended(())
        self._take(self)

    def begin(self) -> None:
        """Called for a request with a body, before the body: call the handler."""
        self._take(self)

    def expected(self) -> None:
        """Do nothing: the handler decides whether to send 100 Continue."""

    def received(self, piece: bytes) -> None:
        """Called with each piece of the request body."""
        self._came = True
        self.body.received(piece)

    def completed(self, trailers: Fields) -> None:
        """Called when the request body is complete."""
        self.body.ended(end_to_end(trailers))

    def fail(self, reason: Failure) -> None:
        """Called when relaying the response has failed: abort the connection."""
        report("pass a response on", reason)
        self._connection.abortConnection()

    def lose(self, reason: Failure) -> None:
        """Called when the connection is lost, or the request will not be answered."""
        if self._lost:
            return
        self._lost = True
        if not self._finished:
            self.gone.callback(None)
        self.body.broken(reason)
