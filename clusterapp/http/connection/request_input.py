"""
Input side of a client connection: reads request heads one at a time, then bodies.

The next head is parsed only when the response and the body of the request before it
are complete: so responses are sent in the order of their requests, and input behind a
bad message is never parsed.
"""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from clusterapp.http.connection.flow_control import FlowControl
from clusterapp.http.connection.guard import Guarded, ends_connection
from clusterapp.http.connection_limits import (
    BODY_RATE,
    BODY_WINDOW,
    CHUNKS,
    MAX_PENDING_INPUT,
    PIPELINED,
    Limits,
)
from clusterapp.http.server.deadlines import Deadlines, Phase
from clusterapp.http.server.server_interfaces import (
    Cancellable,
    Message,
    Server,
    Sink,
    TransportAdapter,
)
from clusterapp.http.syntax.request_head import BadMessageError, Head, HeadReader
from clusterapp.http.syntax.request_stream import PAUSED, EndOfMessage, RequestStream
from clusterapp.interfaces import Fields

if TYPE_CHECKING:
    from clusterapp.http.connection.upgraded_stream import Upgraded


class InputConnection(Guarded, Protocol):
    """What the input of a connection needs of it: the other parts."""

    site: Server
    adapter: TransportAdapter
    deadlines: Deadlines
    flow: FlowControl
    limits: Limits

    def peer_closed(self) -> None:
        """Called when the peer has closed its side, and its input is served."""


class RequestServer(Protocol):
    """What the input of a connection needs: that its requests are served."""

    #: The head of the current request.
    head: Head | None
    #: The message that answers the current request.
    message: Message | None

    def begin(self, head: Head) -> None:
        """Start serving a request whose head has been received."""

    def expect_response(self) -> None:
        """Called when a request is complete: start its response timeout."""

    def refuse(self, status: HTTPStatus, fields: Fields = ()) -> None:
        """Send an error response and close; no input after the request is parsed."""


class RequestInput:
    """
    Input side of a connection: parses what is received and passes it on.

    :param connection: the connection.
    :param cycle: the requests of the connection, which it serves.
    :param heads: the parser of request heads.
    :ivar stream: the parser of the client's requests.
    :ivar sink: what receives the current request's body.
    :ivar upgraded: what receives all input, once the connection is upgraded.
    :ivar closed: whether all further input is discarded.
    :ivar paused: whether reading is paused, for a consumer that applies back-pressure.
    """

    __slots__ = (
        "_cycle",
        "_marked",
        "_next_turn",
        "_parsing",
        "_peer_closed",
        "closed",
        "connection",
        "paused",
        "sink",
        "stream",
        "upgraded",
    )

    def __init__(
        self, connection: InputConnection, cycle: RequestServer, heads: HeadReader
    ) -> None:
        self.connection = connection
        self._cycle = cycle
        self.stream = RequestStream(heads, connection.limits)
        self.sink: Sink | None = None
        self.upgraded: Upgraded | None = None
        self.closed = False
        self.paused = False
        # The bytes of the body that were received at the last check of its rate.
        self._marked = 0
        self._parsing = False
        # The scheduled call that continues with pending input in the next turn of the
        # event loop.
        self._next_turn: Cancellable | None = None
        # Whether the peer has closed its side while pipelined requests of it wait.
        self._peer_closed = False

    # Called by the transport adapter.

    @ends_connection
    def received(self, data: bytes) -> None:
        """Called with bytes that the client has sent."""
        if self.closed:
            return
        if self.upgraded is not None:
            self.upgraded.received(data)
            return
        stream = self.stream
        stream.feed(data)
        if self.sink is not None:
            self.read_body()
            self.go_on()
        elif self._may_parse():
            self._parse()
        elif len(stream.pending) > MAX_PENDING_INPUT:
            self.pause()

    def ended(self) -> bool:
        """
        Called when the peer has closed its side.

        As for twisted.web, a client that half-closes is taken to have disconnected.

        :return: whether the transport must stay open, until the pipelined requests
            that wait have been served, or pending input has been passed to the protocol
            of an upgraded connection.
        """
        upgraded = self.upgraded
        if upgraded is not None and upgraded.waiting and not self.closed:
            upgraded.ended()
            return True
        self._peer_closed = self._next_turn is not None and not self.closed
        if not self._peer_closed:
            self.connection.peer_closed()
        return self._peer_closed

    # Called by the connection and by its messages.

    def pause(self) -> None:
        """Pause reading from the client."""
        if not self.paused:
            self.paused = True
            self.connection.adapter.pause_reading()

    def resume(self) -> None:
        """Resume reading from the client."""
        if self.paused:
            self.paused = False
            self.connection.adapter.resume_reading()

    def end(self) -> bytes:
        """Drop all input, and return the first of the bytes that were not parsed."""
        self.sink = None
        return self.stream.end()

    def lost(self) -> None:
        """Called when the connection is lost: drop all input."""
        self.closed = True
        self.end()
        self._give_up_turn()

    def go_on(self) -> None:
        """Parse pending input behind a message, if the next request may be served."""
        if (
            self.stream.pending
            and not (self.closed or self._parsing)
            and self._may_parse()
        ):
            self._parse()

    def _may_parse(self) -> bool:
        """Return whether the next request may be served now."""
        return (
            self._next_turn is None
            and self._cycle.message is None
            and not self.connection.flow.paused
        )

    # The turns of the event loop, which all connections share.

    def share(self, most: int) -> int:
        """
        Return this connection's share of the work allowed per event-loop turn.

        :param most: the bound per turn, shared by all connections that wait for the
            next turn.
        """
        waiting = self.connection.site.waiting
        return most if waiting < 2 else max(1, most // waiting)  # noqa: PLR2004

    def _wait_for_turn(self) -> None:
        """Continue in the next turn of the event loop, after other connections."""
        if self._next_turn is None:
            self._next_turn = self.connection.adapter.call_soon(self._take_turn)
            self.connection.site.waiting += 1

    def _take_turn(self) -> None:
        self._read_in_turn()
        # Also after an exception: the peer closes its side only once.
        if self._peer_closed and self._next_turn is None:
            self.connection.peer_closed()

    @ends_connection
    def _read_in_turn(self) -> None:
        self._next_turn = None
        self.connection.site.waiting -= 1
        self.stream.resume()
        if self.sink is not None and not self.closed:
            self.read_body()
        if self._next_turn is None and not self.paused:
            self.connection.adapter.resume_reading()
        self.go_on()

    def _give_up_turn(self) -> None:
        """Cancel the scheduled call that would continue with pending input."""
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None
            self.connection.site.waiting -= 1

    # Requests.

    def _parse(self) -> None:
        """Serve the complete requests in the pending input, one after the other."""
        self._parsing = True
        served = 0
        stream = self.stream
        try:
            # Nearly always there is one request, with nothing behind it.
            while self._parse_one(stream) and stream.pending:
                served += 1
                if served >= self.share(PIPELINED):
                    self._wait_for_turn()
                    break
        except BadMessageError as error:
            self._cycle.refuse(error.status, error.fields)
        finally:
            self._parsing = False
        if self.sink is not None:
            return
        if len(stream.pending) > MAX_PENDING_INPUT or self._next_turn is not None:
            self.pause()
        elif self.paused:
            self.resume()

    def _parse_one(self, stream: RequestStream) -> bool:
        """
        Start serving the next request, if its head is complete.

        :return: whether to parse another request.
        """
        cycle = self._cycle
        cycle.head = None
        head = stream.next_event()
        if isinstance(head, Head):
            cycle.begin(head)
            is_answered = cycle.message is None and not self.connection.flow.paused
            return is_answered and not self.closed
        deadlines = self.connection.deadlines
        if stream.pending and deadlines.phase != Phase.HEAD:
            seconds = self.connection.limits.header_timeout
            deadlines.wait_for(Phase.HEAD, seconds)
        return False

    # Bodies.

    def begin_body(self) -> None:
        """
        Called when a request has a body: watch the rate of its arrival.

        :raises BadMessageError: if the body is known to exceed its limit.
        """
        self.stream.check_length()
        self._marked = 0
        self.connection.deadlines.wait_for(Phase.BODY, BODY_WINDOW)

    def read_body(self) -> None:
        """Pass the received part of the body to the sink."""
        stream = self.stream
        try:
            while self.sink is not None and not self.closed:
                event: Any = stream.next_event(self.share(CHUNKS))
                if isinstance(event, bytes):
                    self.sink.received(event)
                elif isinstance(event, EndOfMessage):
                    self._end_body(event.trailers)
                elif event is PAUSED:
                    # `paused` stays False: it is for consumers that apply
                    # back-pressure, and this pause is the parser's own.
                    self.connection.adapter.pause_reading()
                    self._wait_for_turn()
                    return
                else:
                    return
        except BadMessageError as error:
            self._cycle.refuse(error.status)

    def _end_body(self, trailers: Fields) -> None:
        sink, self.sink = self.sink, None
        self.connection.deadlines.clear()
        # Back-pressure may have paused reading. From now on only reading detects that
        # the client disconnects, and the input that it may still send is bounded.
        self.resume()
        if sink is not None:
            sink.completed(trailers)
        self._cycle.expect_response()

    @property
    def is_slow(self) -> bool:
        """Whether the body arrives below the minimum rate, if known already."""
        deadlines = self.connection.deadlines
        if deadlines.phase != Phase.BODY or self.paused:
            return False
        now = self.connection.site.clock.seconds()
        seconds = BODY_WINDOW - (deadlines.at - now)
        return seconds > 1 and self.stream.received - self._marked < BODY_RATE * seconds

    def check_rate(self) -> None:
        """
        Called at the end of each rate window: refuse a body that is too slow.

        While reading is paused on our side, the rate is not checked.
        """
        received = self.stream.received
        if not self.paused and received - self._marked < BODY_RATE * BODY_WINDOW:
            self._cycle.refuse(HTTPStatus.REQUEST_TIMEOUT)
            return
        self._marked = received
        self.connection.deadlines.wait_for(Phase.BODY, BODY_WINDOW)
