"""A parser of chunked bodies, without I/O (RFC 9112, section 7.1)."""

import re
import sys
from http import HTTPStatus
from itertools import product
from string import ascii_letters, digits, hexdigits
from typing import TYPE_CHECKING, Final

from clusterapp.http.connection_limits import LONGEST_NAME
from clusterapp.http.syntax.message_head import FRAMING
from clusterapp.http.syntax.request_head import BadMessageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from clusterapp.interfaces import Fields

#: The bytes allowed in a token (RFC 9110, section 5.6.2).
_TOKEN: Final = b"!#$%&'*+.^_`|~-" + (ascii_letters + digits).encode()
#: The bytes allowed in a field value (section 5.5).
_TEXT: Final = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))

_NAME: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = rb'"(?:[\t !#-[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
#: A chunk size, of at most 2**60, and its extensions, which are ignored (RFC 9112,
#: section 7.1.1). White space may surround a semicolon and an equals sign, but may not
#: follow a size alone, and an extension must be well-formed: some parsers misinterpret
#: a quotation mark, or other bytes. At each position only one part of the pattern can
#: match, so it does not backtrack.
_SIZE_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15})"
    rb"(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*" % (_NAME, _NAME, _QUOTED)
)

#: The longest chunk-size line in bytes, and the most bytes of all extensions of one
#: body; real ones are empty.
_LONGEST_LINE: Final = 1024
_MOST_EXTENSIONS: Final = 16 * 1024

_HEX_DIGITS: Final = hexdigits.encode()
#: The sizes of small chunks by their digits, in any case. A body of one-byte chunks has
#: six times its length on the wire: parsing its chunks must be cheap.
_SMALL: Final = {
    bytes(size_digits): size
    for length in (1, 2)
    for size_digits in product(_HEX_DIGITS, repeat=length)
    if (size := int(bytes(size_digits), 16))
}
#: The distance from its start at which such a size line ends: two digits and the line
#: end.
_SMALL_LINE: Final = 4


class ChunkedReader:
    """
    A parser of one chunked body.

    :param most_bytes: the most bytes of the trailer section.
    :param most_fields: the most lines of the trailer section.
    """

    __slots__ = (
        "_at",
        "_bound",
        "_extensions",
        "_left",
        "_looked_at",
        "_most_bytes",
        "_most_fields",
        "_next",
        "_seen",
        "complete",
        "count",
        "pending",
        "trailers",
    )

    def __init__(self, most_bytes: int, most_fields: int) -> None:
        self._most_bytes = most_bytes
        self._most_fields = most_fields
        # The received bytes, and the offset of the first unparsed one: cutting them at
        # each chunk would copy them as often as there are chunks.
        self._seen = b""
        self._at = 0
        self._left = 0
        self._extensions = 0
        # The number of bytes of the trailer section that have been searched for its
        # end.
        self._looked_at = 0
        self._next: Callable[[list[bytes]], bool] = self._size
        self._bound = 0
        #: The number of chunks that the last `feed` has parsed, whole or in part.
        self.count = 0
        #: Whether the last `feed` has left unparsed bytes.
        self.pending = False
        #: Whether the body has ended.
        self.complete = False
        #: The trailer fields, once the body has ended.
        self.trailers: Fields = ()

    def feed(self, data: bytes, most_chunks: int = sys.maxsize) -> list[bytes]:
        """
        Parse more bytes, up to the end of the body.

        The time is linear in the bytes, whatever the chunks.

        :param most_chunks: the most chunks to parse; bytes after them are `pending`.
        :return: the part of the body in these bytes, in one piece; an empty list if
            there is none.
        :raises BadMessageError: for a malformed chunked body.
        """
        if data:
            self._seen = self._seen[self._at :] + data if self._seen else data
            self._at = 0
        self._bound = most_chunks
        pieces: list[bytes] = []
        while not self.complete and len(pieces) < most_chunks and self._next(pieces):
            pass
        if self._at == len(self._seen):
            self._seen = b""
            self._at = 0
        self.count = len(pieces)
        self.pending = self.count >= most_chunks and bool(self._seen)
        # Each piece that is returned costs its consumers more than joining it costs
        # here.
        return [b"".join(pieces)] if pieces else pieces

    def rest(self) -> bytes:
        """Return and drop the bytes after the end of the body."""
        rest, self._seen = self._seen[self._at :], b""
        self._at = 0
        return rest

    # Each step parses its part, and returns whether the next step can start.

    def _size(self, pieces: list[bytes]) -> bool:
        self._read_small(pieces)
        if len(pieces) >= self._bound:
            return False
        line = self._line()
        if line is None:
            return False
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise _bad("no chunk size")
        self._extensions += len(line) - match.end(1)
        if self._extensions > _MOST_EXTENSIONS:
            raise _bad("too much besides the chunks")
        self._left = int(match[1], 16)
        self._next = self._data if self._left else self._trailers
        return True

    def _read_small(self, pieces: list[bytes]) -> None:
        """Parse the small chunks that are complete and have no extensions."""
        seen, at = self._seen, self._at
        find, small, add = seen.find, _SMALL.get, pieces.append
        for _ in range(self._bound):
            line_end = find(b"\r\n", at, at + _SMALL_LINE)
            if line_end < 0:
                break
            size = small(seen[at:line_end])
            if size is None:
                break
            begin = line_end + 2
            end = begin + size
            if seen[end : end + 2] != b"\r\n":
                break
            add(seen[begin:end])
            at = end + 2
        self._at = at

    def _data(self, pieces: list[bytes]) -> bool:
        piece = self._seen[self._at : self._at + self._left]
        if not piece:
            return False
        pieces.append(piece)
        self._left -= len(piece)
        self._at += len(piece)
        if self._left == 0:
            self._next = self._data_end
        return True

    def _data_end(self, _: list[bytes]) -> bool:
        end = self._seen[self._at : self._at + 2]
        if not b"\r\n".startswith(end):
            raise _bad("a chunk is longer than its size")
        if len(end) < 2:  # noqa: PLR2004
            return False
        self._at += 2
        self._next = self._size
        return True

    def _trailers(self, _: list[bytes]) -> bool:
        seen, at = self._seen, self._at
        if seen.startswith(b"\r\n", at):
            self._end_with(at, 2)
            return False
        # Bytes searched before are not searched again, but for a possible start of the
        # end.
        end = seen.find(b"\r\n\r\n", at + max(self._looked_at - 3, 0))
        stop = len(seen) if end < 0 else end
        if stop - at > self._most_bytes:
            raise _too_large()
        begin = at + self._looked_at
        begin -= seen[begin - 1 : begin] == b"\r"
        if seen.count(b"\n", begin, stop) != seen.count(b"\r\n", begin, stop):
            raise _bad("a line feed without a carriage return")
        self._looked_at = stop - at
        if end >= 0:
            lines = seen[at:end].split(b"\r\n", self._most_fields)
            if len(lines) > self._most_fields:
                raise _too_large()
            self.trailers = [_field(line) for line in lines]
            self._end_with(end, 4)
        return False

    def _end_with(self, end: int, length: int) -> None:
        self._at = end + length
        self.complete = True

    def _line(self) -> bytes | None:
        end = self._seen.find(b"\r\n", self._at)
        length = (len(self._seen) - 1 if end < 0 else end) - self._at
        if length > _LONGEST_LINE:
            raise _bad("a chunk's size has no end")
        if end < 0:
            if self._seen.find(b"\n", self._at) >= 0:
                raise _bad("a line feed without a carriage return")
            return None
        line = self._seen[self._at : end]
        self._at = end + 2
        return line


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not (name and colon) or name.translate(None, _TOKEN):
        raise _bad("no field after the body")
    if len(name) > LONGEST_NAME:
        raise _too_large()
    value = value.strip(b" \t")
    if value.translate(None, _TEXT):
        raise _bad("no field after the body")
    if name.lower() in FRAMING or name.lower() == b"host":
        # RFC 9110, section 6.5.1: framing and routing fields must precede the body.
        raise _bad("a field that may not come after the body")
    return name, value


def _bad(reason: str) -> BadMessageError:
    return BadMessageError(HTTPStatus.BAD_REQUEST, reason)


def _too_large() -> BadMessageError:
    return BadMessageError(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too much behind the body"
    )
