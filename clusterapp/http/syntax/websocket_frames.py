"""
What a client sends on a WebSocket: checked, and bounded (RFC 6455, section 5).

Pure bytes in and out. A library of WebSockets that gets a message in many pieces may
take quadratic time to put it together, and knows its length only when all of it has
been kept. So the frames are followed before the library sees them:

- what RFC 6455 forbids, and a message that is too long, is refused at the frame's
  header, before its payload is kept;
- frames that are shorter than `JOINED` are passed on whole;
- such fragments of a message are joined to frames of at least that length, and longer
  frames are passed on in pieces of at least that length: the longer the message is,
  the longer the pieces, so that there are few of them.
"""

from typing import Final

#: The status codes of close frames (RFC 6455, section 7.4.1).
PROTOCOL_ERROR: Final = 1002
MESSAGE_TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011

#: The shortest pieces of a message, in bytes, unless it is shorter itself.
JOINED: Final = 64 * 1024

#: Of what was passed on of a message, the part by which its next piece is bounded
#: from below. Each piece may make a library copy what it has: so it copies nine times
#: the message in all, however long that is.
_GROWTH: Final = 8

#: How many frames, and about how many bytes of them, are passed on at once: a library
#: needs some 30 microseconds for each frame.
FRAMES_AT_ONCE: Final = 100
_BYTES_AT_ONCE: Final = 64 * 1024

_FIN: Final = 0x80
#: Marks the first frame of a compressed message (RFC 7692, section 6).
_COMPRESSED: Final = 0x40
#: The other reserved bits; no registered extension uses them.
_RESERVED: Final = 0x30
_OPCODE: Final = 0x0F
_CONTINUATION: Final = 0x0
_CONTROL: Final = 0x8
_OPCODES: Final = frozenset({0x0, 0x1, 0x2, 0x8, 0x9, 0xA})

_MASKED: Final = 0x80
_NO_MASK: Final = bytes(4)
_SHORTEST_HEADER: Final = 2
_MOST_CONTROL: Final = 125
#: For seven bits of length: how many bytes of extended length follow, and the least
#: that these must say.
_EXTENDED: Final = {126: (2, 126), 127: (8, 1 << 16)}


class FramingError(Exception):
    """
    A frame that ends the connection (RFC 6455, section 7.1.7).

    :ivar code: the status code of the close frame.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def close_frame(code: int) -> bytes:
    """
    Return a server's close frame (RFC 6455, section 5.5.1).

    :param code: its status code.
    """
    return b"\x88\x02" + code.to_bytes(2, "big")


class ClientFrames:
    """
    The frames of one client, from the first byte behind the handshake on.

    :param most: the longest message, in bytes of payload as they are sent; a
        compressed one is longer when it is inflated.
    :ivar most: the longest message.
    :ivar more: whether `take` has left whole frames for its next call.
    :ivar compressed: whether a message was marked as compressed.
    """

    def __init__(self, most: int) -> None:
        self.more = False
        self.compressed = False
        self.most = most
        self._buffer = bytearray()
        #: What is still to come of a long frame's payload.
        self._left = 0
        # Of the message under way: whether there is one, how long its frames say that
        # it is, how much was passed on, and short fragments that were not.
        self._in_message = False
        self._length = 0
        self._passed = 0
        self._joined = bytearray()
        #: The opcode and reserved bits of the next frame that is made of fragments.
        self._first = 0

    @property
    def waiting(self) -> bool:
        """Whether bytes are held, be it for the rest of a frame or for `take`."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self._buffer += data

    def take(self, most_frames: int = FRAMES_AT_ONCE) -> bytes:
        """
        Return the next bytes for the protocol: whole frames, or a piece of a long one.

        :param most_frames: how many frames at most.
        :return: nothing if more must come first, or if there was nothing but fragments
            that wait to be joined.
        :raises FramingError: for a frame that ends the connection; what came before
            it was returned.
        """
        self.more = False
        if self._left:
            return self._take_piece()
        pieces: list[bytes] = []
        size = count = 0
        while not self._left:
            if count == most_frames or size >= _BYTES_AT_ONCE:
                self.more = bool(self._buffer)
                break
            try:
                frame = self._take_frame()
            except FramingError:
                if not pieces:
                    raise
                self.more = True  # the next call raises it again
                break
            if frame is None:
                break
            count += 1
            size += len(frame)
            pieces.append(frame)
        if self._left:
            pieces.append(self._take_piece())
        return b"".join(pieces)

    def _take_piece(self) -> bytes:
        """Return what has come of a long frame's payload, if it is enough."""
        buffer = self._buffer
        size = min(self._left, len(buffer))
        if size < min(self._left, self._least):
            return b""
        piece = bytes(buffer[:size])
        del buffer[:size]
        self._left -= size
        self._passed += size
        self.more = bool(buffer)
        return piece

    @property
    def _least(self) -> int:
        return max(JOINED, self._passed // _GROWTH)

    def _take_frame(self) -> bytes | None:
        """
        Take one frame, or the header of a long one.

        :return: what the protocol is to get, which is nothing for a fragment that is
            to be joined with the next; None if more must come first.
        """
        buffer = self._buffer
        if len(buffer) < _SHORTEST_HEADER:
            return None
        first, second = buffer[0], buffer[1]
        self._check(first, second)
        short = second & ~_MASKED
        extended, least = _EXTENDED.get(short, (0, 0))
        start = _SHORTEST_HEADER + extended + 4
        if len(buffer) < start:
            return None
        length = short
        if extended:
            length = int.from_bytes(buffer[2 : 2 + extended], "big")
            if length < least or length >> 63:
                raise _wrong("a length that is not written as it must be")
        if first & _CONTROL:
            return self._cut(start + length)
        before = self._length if self._in_message else 0
        if before + length > self.most:
            raise FramingError(
                MESSAGE_TOO_BIG, f"a message of more than {self.most} bytes"
            )
        if length >= JOINED:
            return self._begin_long(first, start, length)
        if first & _FIN and not self._in_message:
            return self._cut(start + length)
        return self._join(first, start, length)

    def _check(self, first: int, second: int) -> None:
        """Refuse what the first two bytes of a frame tell."""
        opcode = first & _OPCODE
        if not second & _MASKED:
            raise _wrong("a frame that is not masked")
        if opcode not in _OPCODES or first & _RESERVED:
            raise _wrong("a frame of an unknown kind")
        if opcode & _CONTROL:
            if not first & _FIN or second & ~_MASKED > _MOST_CONTROL:
                raise _wrong("a control frame that is fragmented or too long")
        elif (opcode == _CONTINUATION) is not self._in_message:
            raise _wrong("a message within another, or no first frame")
        if first & _COMPRESSED:
            if opcode & _CONTROL or opcode == _CONTINUATION:
                raise _wrong("a frame that cannot be compressed")
            self.compressed = True

    def _cut(self, end: int) -> bytes | None:
        """Take a whole frame as it is, or None if it has not come whole."""
        buffer = self._buffer
        if len(buffer) < end:
            return None
        frame = bytes(buffer[:end])
        del buffer[:end]
        return frame

    def _begin_long(self, first: int, start: int, length: int) -> bytes:
        """Take the header of a long frame, behind the fragments before it."""
        before = self._flush(fin=False) if self._joined else b""
        self._begin_message(first)
        # It takes the place of fragments that were all empty.
        first |= self._first
        self._first = _CONTINUATION
        self._length += length
        header = bytes((first, *self._buffer[1:start]))
        del self._buffer[:start]
        self._left = length
        self._in_message = not first & _FIN
        return before + header

    def _join(self, first: int, start: int, length: int) -> bytes | None:
        """Take a short fragment."""
        end = start + length
        fragment = self._cut(end)
        if fragment is None:
            return None
        self._begin_message(first)
        self._length += length
        self._joined += _unmasked(fragment[start - 4 : start], fragment[start:])
        if first & _FIN:
            self._in_message = False
            return self._flush(fin=True)
        return self._flush(fin=False) if len(self._joined) >= self._least else b""

    def _begin_message(self, first: int) -> None:
        if not self._in_message:
            self._in_message = True
            self._length = self._passed = 0
            self._first = first & ~_FIN

    def _flush(self, *, fin: bool) -> bytes:
        """Return the fragments that were joined, as one frame."""
        joined, self._joined = self._joined, bytearray()
        first, self._first = self._first, _CONTINUATION
        self._passed += len(joined)
        length = len(joined)
        if length < 126:  # noqa: PLR2004
            lengths = bytes((_MASKED | length,))
        elif length < 1 << 16:
            lengths = bytes((_MASKED | 126,)) + length.to_bytes(2, "big")
        else:
            lengths = bytes((_MASKED | 127,)) + length.to_bytes(8, "big")
        return b"".join(
            (bytes((first | (_FIN if fin else 0),)), lengths, _NO_MASK, joined)
        )


def _unmasked(mask: bytes, payload: bytes) -> bytes:
    """Return a payload without its mask (RFC 6455, section 5.3)."""
    length = len(payload)
    key = (mask * (length // 4 + 1))[:length]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return number.to_bytes(length, "big")


def _wrong(reason: str) -> FramingError:
    return FramingError(PROTOCOL_ERROR, reason)
