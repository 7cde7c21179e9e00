"""
Input half of a client connection: parse request heads one at a time, then bodies.

The next head is parsed only when the response and the body of the request before it
are complete: so responses are sent in the order of their requests, and input behind a
bad message is never parsed.
"""

from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING

from clusterapp.http.connection_limits import (
    BODY_RATE,
    BODY_WINDOW,
    CHUNKS,
    MAX_PENDING_INPUT,
    PIPELINED,
)
from clusterapp.http.server.deadlines import Phase
from clusterapp.http.server.interfaces import Message, Server, Sink
from clusterapp.http.server.wire import Cancellable, Wire, ends_connection
from clusterapp.http.syntax.request_head import BadMessageError, Head
from clusterapp.http.syntax.request_stream import PAUSED, EndOfMessage, RequestStream
from clusterapp.interfaces import Fields

if TYPE_CHECKING:
    from clusterapp.http.server.upgraded_stream import Upgraded


class Reading(Wire):
    """
    Input side of a connection: parses what is received and dispatches it.

    :param site: the site that is served.
    """

    __slots__ = (
        "_head",
        "_late",
        "_marked",
        "_message",
        "_next_turn",
        "_parsing",
        "_protocol",
        "_sink",
        "limits",
        "stream",
    )

    def __init__(self, site: Server) -> None:
        super().__init__(site)
        self.limits = site.limits
        #: The parser of the client's requests.
        self.stream = RequestStream(site.heads, site.limits)
        self._head: Head | None = None
        self._message: Message | None = None
        self._sink: Sink | None = None
        self._protocol: Upgraded | None = None
        # The bytes of the body that were received at the last check of its rate.
        self._marked = 0
        self._parsing = False
        # The scheduled call that continues with pending input in the next turn of the
        # event loop.
        self._next_turn: Cancellable | None = None
        #: The deadline of the response, if it has one.
        self._late = inf

    def _begin(self, head: Head) -> None:
        """Start serving a request whose head has been received."""
        raise NotImplementedError

    def _make(self, head: Head) -> Message:
        """Return a new message, which will answer the request."""
        raise NotImplementedError

    def _expect_response(self) -> None:
        """Start the response timeout, if the request is still unanswered."""
        seconds = self.limits.request_timeout
        if seconds is not None and self._message is not None and not self._input_closed:
            self.deadlines.wait_for(Phase.RESPONSE, seconds)
            self._late = self.deadlines.at

    def _refuse(self, status: HTTPStatus, fields: Fields = ()) -> None:
        """Send an error response and close; no input after the request is parsed."""
        raise NotImplementedError

    @ends_connection
    def received(self, data: bytes) -> None:
        """Called with bytes that the client has sent."""
        if self._input_closed:
            return
        if self._protocol is not None:
            self._protocol.received(data)
            return
        stream = self.stream
        stream.feed(data)
        if self._sink is not None:
            self._read_body()
            self._go_on()
        elif self._may_parse:
            self._parse()
        elif len(stream.pending) > MAX_PENDING_INPUT:
            self.pause_reading()

    @ends_connection
    def writing_paused(self) -> None:
        """Called when the write buffer is full: the client reads too slowly."""
        super().writing_paused()
        if self._protocol is not None:
            self._protocol.full(True)

    @ends_connection
    def writing_resumed(self) -> None:
        """Called when the write buffer has drained: continue to write, or to parse."""
        super().writing_resumed()
        if self._protocol is not None:
            self._protocol.full(False)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Parse pending input behind a message, if the next request may be served."""
        if (
            self.stream.pending
            and self._may_parse
            and not (self._input_closed or self._parsing)
        ):
            self._parse()

    @property
    def _may_parse(self) -> bool:
        """Whether the next request may be served now."""
        return (
            self._message is None
            and not self._writing_paused
            and self._next_turn is None
        )

    def share(self, most: int) -> int:
        """
        Return this connection's share of the work allowed per event-loop turn.

        :param most: the bound per turn, shared by all connections that wait for the
            next turn.
        """
        waiting = self.site.waiting
        return most if waiting < 2 else max(1, most // waiting)  # noqa: PLR2004

    def _wait_for_turn(self) -> None:
        """Continue in the next turn of the event loop, after other connections."""
        if self._next_turn is None:
            self._next_turn = self._call_soon(self._take_turn)
            self.site.waiting += 1

    @ends_connection
    def _take_turn(self) -> None:
        self._next_turn = None
        self.site.waiting -= 1
        self.stream.resume()
        if self._sink is not None and not self._input_closed:
            self._read_body()
        if self._next_turn is None and not self._reading_paused:
            self._start_reading()
        self._go_on()

    def _give_up_turn(self) -> None:
        """Cancel the scheduled call that would continue with pending input."""
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None
            self.site.waiting -= 1

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
            self._refuse(error.status, error.fields)
        finally:
            self._parsing = False
        if self._sink is not None:
            return
        if len(stream.pending) > MAX_PENDING_INPUT or self._next_turn is not None:
            self.pause_reading()
        else:
            self.resume_reading()

    def _parse_one(self, stream: RequestStream) -> bool:
        """
        Start serving the next request, if its head is complete.

        :return: whether to parse another request.
        """
        self._head = None
        head = stream.next_event()
        if isinstance(head, Head):
            self._begin(head)
            return not (self._message or self._input_closed or self._writing_paused)
        if stream.pending and self.deadlines.phase != Phase.HEAD:
            self.deadlines.wait_for(Phase.HEAD, self.limits.header_timeout)
        return False

    def _begin_body(self, head: Head) -> None:
        stream = self.stream
        stream.check_length()
        self._marked = 0
        self.deadlines.wait_for(Phase.BODY, BODY_WINDOW)
        self._message = self._sink = message = self._make(head)
        message.begin()
        if head.expects and not stream.pending and self._sink is message:
            message.expected()
        if stream.pending:
            self._read_body()

    def _read_body(self) -> None:
        """Pass the received part of the body to the sink."""
        stream = self.stream
        try:
            while self._sink is not None and not self._input_closed:
                event = stream.next_event(self.share(CHUNKS))
                if isinstance(event, bytes):
                    self._sink.received(event)
                elif isinstance(event, EndOfMessage):
                    self._end_body(event.trailers)
                elif event is PAUSED:
                    # `_reading_paused` stays False: it is for consumers that apply
                    # back-pressure, and this pause is the parser's own.
                    self._stop_reading()
                    self._wait_for_turn()
                    return
                else:
                    return
        except BadMessageError as error:
            self._refuse(error.status)

    def _end_body(self, trailers: Fields) -> None:
        sink, self._sink = self._sink, None
        self.deadlines.clear()
        # Back-pressure may have paused reading. From now on only reading detects that
        # the client disconnects, and the input that it may still send is bounded.
        self.resume_reading()
        if sink is not None:
            sink.completed(trailers)
        self._expect_response()

    @property
    def is_slow(self) -> bool:
        """Whether the body arrives below the minimum rate, if known already."""
        if self.deadlines.phase != Phase.BODY or self._reading_paused:
            return False
        seconds = BODY_WINDOW - (self.deadlines.at - self.site.clock.seconds())
        return seconds > 1 and self.stream.received - self._marked < BODY_RATE * seconds

    def check_rate(self) -> None:
        """
        Called at the end of each rate window: refuse a body that is too slow.

        While reading is paused on our side, the rate is not checked.
        """
        if not self._reading_paused and self.stream.received - self._marked < (
            BODY_RATE * BODY_WINDOW
        ):
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
            return
        self._marked = self.stream.received
        self.deadlines.wait_for(Phase.BODY, BODY_WINDOW)
