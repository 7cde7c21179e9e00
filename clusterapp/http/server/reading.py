"""
Input half of a client connection: parse request heads one at a time, then bodies.

The next head is parsed only when the response and the body of the request before it
are complete: so responses are sent in the order of their requests, and input behind a
bad message is never parsed.
"""

import re
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING

from clusterapp.http.limits import (
    BODY_RATE,
    BODY_WINDOW,
    CHUNKS,
    MANY_CHUNKS,
    MAX_PENDING_INPUT,
    PIPELINED,
)
from clusterapp.http.server.deadlines import Phase
from clusterapp.http.server.interfaces import Message, Server, Sink
from clusterapp.http.server.wire import Cancellable, Wire, ends_connection
from clusterapp.http.syntax.chunked_body import ChunkedReader
from clusterapp.http.syntax.request_head import END, BadMessageError, Head, check_start
from clusterapp.interfaces import Fields

if TYPE_CHECKING:
    from clusterapp.http.server.upgraded_stream import Upgraded


_EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")


class Reading(Wire):
    """
    Input side of a connection: parses what is received and dispatches it.

    :param site: the site that is served.
    """

    __slots__ = (
        "_chunks",
        "_got",
        "_head",
        "_late",
        "_left",
        "_marked",
        "_message",
        "_next_turn",
        "_parsing",
        "_pending_input",
        "_protocol",
        "_sink",
        "heads",
        "limits",
    )

    def __init__(self, site: Server) -> None:
        super().__init__(site)
        #: The connection's limits, and the head parser that applies them.
        self.limits = site.limits
        self.heads = site.heads
        #: Input that has been received and not parsed yet.
        self._pending_input = b""
        self._head: Head | None = None
        self._message: Message | None = None
        self._sink: Sink | None = None
        self._chunks: ChunkedReader | None = None
        self._protocol: Upgraded | None = None
        # Bytes of the body: still to come, if known; received; received at the last
        # check of the rate.
        self._left = 0
        self._got = 0
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
        elif self._sink is not None:
            self._read_body(data)
            self._go_on()
        elif self._may_parse:
            self._pending_input = (
                self._pending_input + data if self._pending_input else data
            )
            self._parse()
        else:
            self._pending_input += data
            if len(self._pending_input) > MAX_PENDING_INPUT:
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
            self._pending_input
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
        chunks = self._chunks
        if chunks is not None and chunks.pending and not self._input_closed:
            self._read_body(b"")
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
        try:
            # Nearly always there is one request, with nothing behind it.
            while self._parse_one() and self._pending_input:
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
        if len(self._pending_input) > MAX_PENDING_INPUT or self._next_turn is not None:
            self.pause_reading()
        else:
            self.resume_reading()

    def _parse_one(self) -> bool:
        """
        Start serving the next request, if its head is complete.

        :return: whether to parse another request.
        """
        data = self._pending_input
        # Empty lines before a request are ignored (RFC 9112, 2.2). They are removed
        # all at once, since removing each would copy the input behind it.
        if data.startswith(b"\r\n"):
            self._pending_input = _EMPTY_LINES.sub(b"", data, 1)
            return True
        end = data.find(END) + 4
        if end < 4:  # noqa: PLR2004 - the end of the head is missing
            if self.deadlines.phase != Phase.HEAD:
                self.deadlines.wait_for(Phase.HEAD, self.limits.header_timeout)
            self._head = None
            check_start(data, self.limits)
            return False
        # A head that cannot be parsed stays in the pending input, since `_refuse`
        # looks at its method.
        self._head = None
        if len(data) == end:
            head = self.heads.read(data)
            self._pending_input = b""
        else:
            head = self.heads.read(data[:end])
            self._pending_input = data[end:]
        self._begin(head)
        return not (self._message or self._input_closed or self._writing_paused)

    def _begin_body(self, head: Head) -> None:
        limits = self.limits
        if head.length is None:
            self._chunks = ChunkedReader(limits.head, limits.fields)
            self._left = 0
        elif limits.body is not None and head.length > limits.body:
            raise _too_large()
        else:
            self._left = head.length
        self._got = self._marked = 0
        self.deadlines.wait_for(Phase.BODY, BODY_WINDOW)
        self._message = self._sink = message = self._make(head)
        message.begin()
        if head.expects and not self._pending_input and self._sink is message:
            message.expected()
        if self._pending_input and not self._input_closed:
            data, self._pending_input = self._pending_input, b""
            self._read_body(data)

    def _read_body(self, data: bytes) -> None:
        """Pass the bytes of the body to the sink; keep the input behind the body."""
        try:
            if self._chunks is not None:
                self._read_chunks(self._chunks, data)
            else:
                self._read_length(data)
        except BadMessageError as error:
            self._refuse(error.status)

    def _read_length(self, data: bytes) -> None:
        piece = data if len(data) <= self._left else data[: self._left]
        self._left -= len(piece)
        self._got += len(piece)
        if self._sink is not None:
            self._sink.received(piece)
        if not (self._left or self._input_closed):
            self._pending_input = data[len(piece) :]
            self._end_body(())

    def _read_chunks(self, chunks: ChunkedReader, data: bytes) -> None:
        most = self.limits.body
        for piece in chunks.feed(data, self.share(CHUNKS)):
            self._got += len(piece)
            if most is not None and self._got > most:
                raise _too_large()
            if self._sink is not None and not self._input_closed:
                self._sink.received(piece)
        if chunks.complete and not self._input_closed:
            self._pending_input = chunks.rest()
            self._end_body(chunks.trailers)
        elif (chunks.pending or chunks.count > MANY_CHUNKS) and not self._input_closed:
            # `_reading_paused` stays False: it is for consumers that apply
            # back-pressure, and this pause is the parser's own.
            self._stop_reading()
            self._wait_for_turn()

    def _end_body(self, trailers: Fields) -> None:
        sink, self._sink = self._sink, None
        self._chunks = None
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
        return seconds > 1 and self._got - self._marked < BODY_RATE * seconds

    def check_rate(self) -> None:
        """
        Called at the end of each rate window: refuse a body that is too slow.

        While reading is paused on our side, the rate is not checked.
        """
        if not self._reading_paused and self._got - self._marked < (
            BODY_RATE * BODY_WINDOW
        ):
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
            return
        self._marked = self._got
        self.deadlines.wait_for(Phase.BODY, BODY_WINDOW)


def _too_large() -> BadMessageError:
    return BadMessageError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long")
