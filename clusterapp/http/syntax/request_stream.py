"""
The requests of one connection, parsed without I/O (RFC 9112).

As in h11 and wsproto, received bytes are fed, and events are asked for one at a time:
`RequestStream.feed`, `RequestStream.next_event`. The next head is parsed only when it
is asked for, so that the input behind a request that ends the connection, or behind a
bad one, is never parsed.
"""

import re
import sys
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

from clusterapp.http.connection_limits import MANY_CHUNKS, Limits
from clusterapp.http.syntax.chunked_body import ChunkedReader
from clusterapp.http.syntax.request_head import (
    END,
    BadMessageError,
    Head,
    HeadReader,
    check_start,
)
from clusterapp.interfaces import Fields

_EMPTY_LINES: Final = re.compile(rb"\A(?:\r\n)+")


class Signal(Enum):
    """Why there is no event."""

    #: The next event needs more bytes.
    NEED_DATA = auto()
    #: So many chunks were parsed that other connections should have their turn first.
    PAUSED = auto()


NEED_DATA: Final = Signal.NEED_DATA
PAUSED: Final = Signal.PAUSED


@dataclass(slots=True)
class EndOfMessage:
    """
    The end of a request that has a body.

    :ivar trailers: the trailer fields of a chunked body.
    """

    trailers: Fields = ()


#: A request's head, with which a request without a body is complete; a part of its
#: body; and the end of that.
Event = Head | bytes | EndOfMessage | Signal


class RequestStream:
    """
    The parser of one connection's requests.

    :param heads: the parser of heads.
    :param limits: the limits of bodies and of incomplete heads.
    :ivar pending: the bytes that have been fed and not parsed yet. The caller bounds
        them, by not feeding more.
    :ivar left: the bytes of the current body that are still to come, if that is known.
    :ivar received: the bytes of the current body that have been received.
    """

    __slots__ = (
        "_chunks",
        "_heads",
        "_in_body",
        "_is_paused",
        "_limits",
        "left",
        "pending",
        "received",
    )

    def __init__(self, heads: HeadReader, limits: Limits) -> None:
        self._heads = heads
        self._limits = limits
        self._chunks: ChunkedReader | None = None
        self._in_body = False
        self._is_paused = False
        self.pending = b""
        self.left = 0
        self.received = 0

    @property
    def has_unread(self) -> bool:
        """Whether the client has sent more, or is known to be about to."""
        return bool(self.pending) or self._in_body

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self.pending = self.pending + data if self.pending else data

    def resume(self) -> None:
        """Parse more chunks, after `PAUSED`."""
        self._is_paused = False

    def next_event(self, most_chunks: int = sys.maxsize) -> Event:
        """
        Return the next event.

        :param most_chunks: the most chunks of a body to parse.
        :raises BadMessageError: for a request that must not be served. Nothing behind
            it can be parsed.
        """
        if self._in_body:
            if self._chunks is not None:
                return self._next_of_chunks(self._chunks, most_chunks)
            return self._next_of_length()
        data = self.pending
        # Empty lines before a request are ignored (RFC 9112, 2.2). They are removed
        # all at once, since removing each would copy the input behind it.
        if data.startswith(b"\r\n"):
            data = self.pending = _EMPTY_LINES.sub(b"", data, 1)
        end = data.find(END) + 4
        if end < 4:  # noqa: PLR2004 - the end of the head is missing
            check_start(data, self._limits)
            return NEED_DATA
        if len(data) == end:
            head = self._heads.read(data)
            self.pending = b""
        else:
            head = self._heads.read(data[:end])
            self.pending = data[end:]
        if head.length != 0:
            self._begin_body(head.length)
        return head

    def check_length(self) -> None:
        """
        Check the length of the current body, if it is known.

        :raises BadMessageError: if it exceeds the limit.
        """
        self._check(self.left)

    def end(self) -> bytes:
        """Drop all input, and return the first of the bytes that were not parsed."""
        begins, self.pending = self.pending[:5], b""
        self._chunks = None
        return begins

    def take_rest(self) -> bytes:
        """Return the bytes behind the request, which are no HTTP, and drop them."""
        rest, self.pending = self.pending, b""
        return rest

    def _begin_body(self, length: int | None) -> None:
        limits = self._limits
        self._in_body = True
        self.received = 0
        self.left = length or 0
        if length is None:
            self._chunks = ChunkedReader(limits.head, limits.fields)

    def _end_body(self) -> None:
        self._in_body = self._is_paused = False
        self._chunks = None

    def _next_of_length(self) -> Event:
        data, left = self.pending, self.left
        if not left:
            self._end_body()
            return EndOfMessage()
        if not data:
            return NEED_DATA
        if len(data) <= left:
            self.pending = b""
        else:
            data, self.pending = data[:left], data[left:]
        self.left = left - len(data)
        self.received += len(data)
        return data

    def _next_of_chunks(self, chunks: ChunkedReader, most_chunks: int) -> Event:
        if chunks.complete:
            self.pending = chunks.rest() + self.pending
            self._end_body()
            return EndOfMessage(chunks.trailers)
        if self._is_paused:
            return PAUSED
        data, self.pending = self.pending, b""
        if not (data or chunks.pending):
            return NEED_DATA
        pieces = chunks.feed(data, most_chunks)
        self._is_paused = chunks.pending or chunks.count > MANY_CHUNKS
        for piece in pieces:  # one at most
            self.received += len(piece)
            self._check(self.received)
            return piece
        return self._next_of_chunks(chunks, most_chunks)

    def _check(self, length: int) -> None:
        most = self._limits.body
        if most is not None and length > most:
            raise BadMessageError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long"
            )
