"""
A parser of responses (in a worker), without I/O.

httptools splits the bytes, with all of its leniencies off.  The checks that it leaves
to its user are here: which responses have no body, how other bodies are delimited, the
largest head, and that no bytes follow the end.
"""

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.web.iweb import UNKNOWN_LENGTH

from clusterapp.errors import CoreBrokenError
from clusterapp.http.connection_limits import LONGEST_NAME
from clusterapp.http.syntax.message_head import (
    CLOSE_NOTICE,
    FRAMING,
    ResponseHead,
    options,
)
from clusterapp.interfaces import Fields

#: The most bytes of one head, of one body's trailers, or between two pieces of a body
#: (a chunk's extensions).
LIMIT: Final = 64 * 1024

#: The most digits of a Content-Length: 2**63 has 19.
_LONGEST_LENGTH: Final = 19

_FIRST_INTERIM: Final = 100
_SWITCHING: Final = 101
_LAST_INTERIM: Final = 199
_BODILESS: Final = frozenset({204, 304})
_END_OF_HEAD: Final = b"\r\n\r\n"


class ResponseReader:
    """
    Parses the responses on one connection, one after another.

    Call :meth:`expect`, then :meth:`feed` until :attr:`complete`; after each call of
    :meth:`feed` read the attributes and :meth:`take_body`.
    """

    __slots__ = (
        "_fields",
        "_fruitless",
        "_head_only",
        "_parser",
        "_pieces",
        "_reason",
        "_size",
        "_tail",
        "_until_close",
        "_upgrade",
        "complete",
        "head",
        "interims",
        "keep_alive",
        "length",
        "minor",
        "trailers",
    )

    #: Heads of 1xx responses, in order; the consumer empties the list.
    interims: list[ResponseHead]
    #: The head of the final response (or of a 101), once it is complete.
    head: ResponseHead | None
    #: The minor version of the final response: 0 or 1.
    minor: int
    #: The body's length, or UNKNOWN_LENGTH.
    length: int | str
    #: The trailer fields; complete once `complete`.
    trailers: list[tuple[bytes, bytes]]
    #: Whether the response has ended.
    complete: bool
    #: Whether another response may follow on the connection; known once `complete`.
    keep_alive: bool

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._head_only = False
        self.interims = []

    def expect(self, *, head_only: bool, upgrade: bool) -> None:
        """
        Prepare for the response to the next request.

        :param head_only: the request was a HEAD, so its response has no body.
        :param upgrade: the request offered to switch protocols.
        """
        if self._head_only:
            # The parser has no setting for HEAD: it still expects that body.
            self._parser = HttpResponseParser(self)
        self._head_only = head_only
        self._upgrade = upgrade
        self._until_close = False
        self._tail = b""
        self._fruitless = 0
        self.head = None
        self.trailers = []
        self.complete = False
        self.keep_alive = False
        self._begin_head()

    def feed(self, data: bytes) -> None:
        """
        Parse more bytes.

        :raise CoreBrokenError: for malformed HTTP, for a head that exceeds its limit,
            and for bytes after the end of the body.
        """
        self._fruitless += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as switch:
            self._pieces.append(data[switch.args[0] :])
        except HttpParserError as error:
            if not (self.complete and data.endswith(CLOSE_NOTICE)):
                self._refuse(error)
            # A draining server may send it directly after a response.
            self.keep_alive = False
        if self._fruitless > LIMIT and not self.complete:
            raise CoreBrokenError("its answer has a head without end")
        if self._head_only:
            self._look_behind_head(data)

    def take_body(self) -> bytes:
        """Return and drop the received part of the body, or the stream after a 101."""
        pieces = self._pieces
        if not pieces:
            return b""
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return body

    @property
    def ends_with_stream(self) -> bool:
        """Whether an orderly close of the connection is the end of the body."""
        return self._until_close

    # Called by the parser.

    def on_message_begin(self) -> None:
        """Raise an error for a second response to one request."""
        if self.head is not None:
            raise CoreBrokenError("there are bytes after its end")

    def on_status(self, reason: bytes) -> None:
        """Called with each piece of the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called with each field of the head, or of the trailers."""
        if len(name) > LONGEST_NAME:
            raise CoreBrokenError("the name of a field is longer than 256 bytes")
        self._size += len(name) + len(value)
        if self._size > LIMIT:
            raise CoreBrokenError("its fields are longer than 64 KiB")
        field = (name, value.rstrip(b" \t"))
        if self.head is None:
            self._fields.append(field)
        elif name.lower() in FRAMING:
            raise CoreBrokenError("a field that frames a body comes after it")
        else:
            self.trailers.append(field)

    def on_headers_complete(self) -> None:
        """Called at the end of a head: process its framing."""
        parser = self._parser
        head = ResponseHead(parser.get_status_code(), self._reason, tuple(self._fields))
        self._begin_head()
        self._fruitless = 0
        if head.status < _FIRST_INTERIM:
            raise CoreBrokenError(f"its status is {head.status}")
        if head.status == _SWITCHING:
            self._switch(head)
        elif head.status <= _LAST_INTERIM:
            self.interims.append(head)
        else:
            self._begin_body(head)

    def on_chunk_header(self) -> None:
        """Check that a chunk may begin here."""
        self.on_body(b"")

    def on_body(self, piece: bytes) -> None:
        """Called with each piece of the body."""
        self._fruitless = 0
        if self.head is None:
            raise CoreBrokenError("an interim response has a body")
        if self.complete:
            self.keep_alive = False
        elif piece:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Called at the end of a message; ignored for an interim one."""
        head = self.head
        if head is not None and head.status != _SWITCHING and not self.complete:
            self.complete = True
            self.keep_alive = self._parser.should_keep_alive()

    def _begin_head(self) -> None:
        self._reason = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._size = 0

    def _switch(self, head: ResponseHead) -> None:
        # The parser has rejected a 101 that names no protocol.
        if not self._upgrade:
            raise CoreBrokenError("it switches protocols unasked")
        self._set_head(head)
        self.length = UNKNOWN_LENGTH

    def _begin_body(self, head: ResponseHead) -> None:
        self._set_head(head)
        length = self._framing(head.fields)
        bodiless = self._head_only or head.status in _BODILESS
        self.length = 0 if bodiless else UNKNOWN_LENGTH if length is None else length
        if self._head_only:
            self.complete = True
            self.keep_alive = self.minor == 1 and b"close" not in options(head.fields)

    def _set_head(self, head: ResponseHead) -> None:
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise CoreBrokenError(f"its version is {version}")
        self.minor = int(version[-1])
        self.head = head

    def _framing(self, fields: Fields) -> int | None:
        """Return the body's length, if a field defines it (RFC 9112 6.3)."""
        length = None
        chunked = False
        for name, value in fields:
            lowered = name.lower()
            if lowered == b"content-length":
                # The parser has accepted it as a 64-bit number, but int() has a limit
                # of its own, which leading zeros can exceed.
                if len(value) > _LONGEST_LENGTH:
                    raise CoreBrokenError("its Content-Length is too long")
                length = int(value)
            elif lowered == b"transfer-encoding":
                if chunked or self.minor == 0 or value.lower() != b"chunked":
                    raise CoreBrokenError(f"its transfer coding is {value!r}")
                chunked = True
        self._until_close = length is None and not chunked
        return length

    def _refuse(self, error: HttpParserError) -> None:
        head = self.head
        if (
            head is not None
            and self.complete
            and (self._head_only or head.status in _BODILESS)
        ):
            # Some servers send a body where none is allowed.  The response is complete
            # without it, but the next bytes on the connection are ambiguous.
            self.keep_alive = False
            return
        raise CoreBrokenError(
            f"its answer cannot be read: {error.__context__ or error}"
        ) from error

    def _look_behind_head(self, data: bytes) -> None:
        """
        Check that no bytes came with the head of the response to a HEAD.

        The parser silently consumes the beginning of a chunk.
        """
        self._tail = (self._tail + data)[-len(_END_OF_HEAD) :]
        if self.complete and self._tail != _END_OF_HEAD:
            self.keep_alive = False
