"""
The reading half of a client's connection: heads one at a time, then their bodies.

The next head is not looked at before the response and the body of the one before it
are complete: so responses go out in the order of their requests, and what follows a
bad message is never read.
"""

import re
from http import HTTPStatus
from math import inf
from typing import TYPE_CHECKING, Protocol

from twisted.python.failure import Failure

from clusterapp.http.limits import (
    BODY_RATE,
    BODY_WINDOW,
    CHUNKS,
    MANY_CHUNKS,
    MAX_PENDING_INPUT,
    PIPELINED,
)
from clusterapp.http.server.wire import Cancellable, Wire, ends_connection
from clusterapp.http.syntax.chunked_body import ChunkedReader
from clusterapp.http.syntax.request_head import END, BadMessageError, Head, check_start
from clusterapp.interfaces import Fields

if TYPE_CHECKING:
    from clusterapp.http.server.site import ClusterSite
    from clusterapp.http.server.upgraded_stream import Upgraded


_EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")


class Message(Protocol):
    """What answers a request."""

    @property
    def responded(self) -> bool:
        """Whether any of the response has been sent."""

    def outcome(self) -> tuple[int, int]:
        """Give the status, 0 if none was sent, and the bytes of the body so far."""

    def serve(self) -> None:
        """Answer a request without a body, or see to it that somebody does."""

    def begin(self) -> None:
        """Answer one whose body is to come, or see to it that somebody does."""

    def completed(self, trailers: Fields) -> None:
        """Know that the request's body has ended."""

    def expected(self) -> None:
        """Know that the client holds the body back until it is asked for."""

    def received(self, piece: bytes) -> None:
        """Take a piece of the request's body."""

    def ending(self) -> bytes | None:
        """
        Give what makes a whole response of one that would not end by itself.

        :return: None if it will end.
        """

    def break_off(self) -> None:
        """Close the connection, so that the client sees what is incomplete."""

    def fail(self, reason: Failure) -> None:
        """
        End the response, since making it has failed, and log why.

        With an error if nothing of it has been sent; else it is broken off.
        """

    def lose(self, reason: Failure) -> None:
        """Know that the client has gone, or will not be answered."""


class Sink(Protocol):
    """Where a request's body goes."""

    def received(self, piece: bytes) -> None:
        """Take a piece."""

    def completed(self, trailers: Fields) -> None:
        """Know that this was all."""


class Reading(Wire):
    """
    What a connection does with the bytes that come.

    :param site: what is served.
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

    def __init__(self, site: "ClusterSite") -> None:
        super().__init__(site)
        #: Its bounds, and what reads heads within them.
        self.limits = site.limits
        self.heads = site.heads
        #: What has come and waits for its turn.
        self._pending_input = b""
        self._head: Head | None = None
        self._message: Message | None = None
        self._sink: Sink | None = None
        self._chunks: ChunkedReader | None = None
        self._protocol: Upgraded | None = None
        # Bytes of the body: to come, if that is known; come; come when last looked.
        self._left = 0
        self._got = 0
        self._marked = 0
        self._parsing = False
        # Goes on with pipelined requests in the next turn of the event loop.
        self._next_turn: Cancellable | None = None
        #: When the response is late, if there is a time for it.
        self._late = inf

    def _begin(self, head: Head) -> None:
        """Serve a request whose head has come."""
        raise NotImplementedError

    def _make(self, head: Head) -> Message:
        """Make what will answer a request."""
        raise NotImplementedError

    def _expect_response(self) -> None:
        """Give the message under way, if it still is, the time that it may take."""
        seconds = self.limits.request_timeout
        if seconds is not None and self._message is not None and not self._input_closed:
            self._wait_for("response", seconds)
            self._late = self.deadline

    def _refuse(self, status: HTTPStatus, fields: Fields = ()) -> None:
        """Answer a bad message, and read nothing that comes after it."""
        raise NotImplementedError

    @ends_connection
    def received(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._protocol is not None:
            self._protocol.received(data)
        elif self._input_closed:
            return
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
        """Know that the client is slower than we are."""
        super().writing_paused()
        if self._protocol is not None:
            self._protocol.full(True)

    @ends_connection
    def writing_resumed(self) -> None:
        """Go on with the response, or with the request after it."""
        super().writing_resumed()
        if self._protocol is not None:
            self._protocol.full(False)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Look at what came behind a message, unless it must wait, or wait again."""
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
        Return how much to do now of what is bounded in each turn of the event loop.

        :param most: the bound, which all connections share that wait for the next turn.
        """
        return max(1, most // max(1, self.site.waiting))

    def _wait_for_turn(self) -> None:
        """Go on in the next turn of the event loop: other connections have theirs."""
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
        """Serve no more pipelined requests."""
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None
            self.site.waiting -= 1

    def _parse(self) -> None:
        """Serve what whole requests are held, one after the other."""
        self._parsing = True
        left = self.share(PIPELINED)
        try:
            while self._pending_input and self._parse_one():
                left -= 1
                if not left and self._pending_input:
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
        """Serve the next request, if it is whole; tell whether to look for another."""
        data = self._pending_input
        # Empty lines before a request are forgiven (RFC 9112, 2.2): all at once, since
        # each step would copy what is behind it.
        if data.startswith(b"\r\n"):
            self._pending_input = _EMPTY_LINES.sub(b"", data, 1)
            return True
        end = data.find(END) + 4
        if end < 4:  # noqa: PLR2004 - it is not there
            if self.phase != "head":
                self._wait_for("head", self.limits.header_timeout)
            self._head = None
            check_start(data, self.limits)
            return False
        # What cannot be read stays held, for `_refuse` to look at.
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
        self._wait_for("body", BODY_WINDOW)
        self._message = self._sink = message = self._make(head)
        message.begin()
        if head.expects and not self._pending_input and self._sink is message:
            message.expected()
        if self._pending_input and not self._input_closed:
            data, self._pending_input = self._pending_input, b""
            self._read_body(data)

    def _read_body(self, data: bytes) -> None:
        """Pass on what belongs to the body; hold what comes behind it."""
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
            # `_reading_paused` is for those that want no more; this is not one.
            self._stop_reading()
            self._wait_for_turn()

    def _end_body(self, trailers: Fields) -> None:
        sink, self._sink = self._sink, None
        self._chunks = None
        self.phase = "nothing"
        self.deadline = inf
        # Back-pressure may have stopped the reading; now only reading tells that
        # the client goes away, and what it may still bring is bounded.
        self.resume_reading()
        if sink is not None:
            sink.completed(trailers)
        self._expect_response()

    @property
    def is_slow(self) -> bool:
        """Whether a body comes more slowly than it may, as far as that can be told."""
        if self.phase != "body" or self._reading_paused:
            return False
        seconds = BODY_WINDOW - (self.deadline - self.site.clock.seconds())
        return seconds > 1 and self._got - self._marked < BODY_RATE * seconds

    def check_rate(self) -> None:
        """See that a body comes as fast as one may ask, unless we hold it up."""
        if not self._reading_paused and self._got - self._marked < (
            BODY_RATE * BODY_WINDOW
        ):
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
            return
        self._marked = self._got
        self._wait_for("body", BODY_WINDOW)


def _too_large() -> BadMessageError:
    return BadMessageError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long")
