"""
A client's WebSocket frames: validated and bounded (RFC 6455, section 5).

Sans-I/O. A WebSocket library that receives a message in many pieces may take quadratic
time to join them, and knows its length only after all of it has been stored. So the
frames are processed before the library receives them:

- frames that RFC 6455 forbids, and a message that is too long, are rejected at the
  frame's header, before its payload is stored;
- frames that are shorter than `JOINED` are passed on whole;
- such fragments of a message are joined to frames of at least that length, and longer
  frames are passed on in pieces of at least that length: the longer the message is, the
  longer the pieces, so that there are few of them.
"""

from typing import Final

#: The status codes of close frames (RFC 6455, section 7.4.1).
PROTOCOL_ERROR: Final = 1002
MESSAGE_TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011

#: The shortest piece of a message that is passed on, in bytes, unless the message is
#: shorter.
JOINED: Final = 64 * 1024

#: A piece of a message is at least this part of the bytes already passed on. Each piece
#: may make a library copy all previous ones: so it copies nine times the message in
#: all, whatever its length.
_GROWTH: Final = 8

#: The most frames, and about the most bytes of them, that are passed on at once: a
#: library needs some 30 microseconds for each frame.
FRAMES_AT_ONCE: Final = 100
_BYTES_AT_ONCE: Final = 64 * 1024

_FIN: Final = 0x80
#: Set in the first frame of a compressed message (RFC 7692, section 6).
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
#: For seven bits of length: the number of bytes of extended length, and its smallest
#: allowed value.
_EXTENDED: Final = {126: (2, 126), 127: (8, 1 << 16)}


class FramingError(Exception):
    """
    A frame that must close the connection (RFC 6455, section 7.1.7).

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
    The frames of one client, from the first byte after the handshake.

    :param most: the longest message, in bytes of payload as sent; a compressed one is
        longer when it is inflated.
    :ivar most: the longest message.
    :ivar more: whether `take` has left complete frames for its next call.
    :ivar compressed: whether a message was marked as compressed.
    """

    def __init__(self, most: int) -> None:
        self.more = False
        self.compressed = False
        self.most = most
        self._buffer = bytearray()
        #: The bytes of a long frame's payload that have not been passed on.
        self._left = 0
        # Of the current message: whether there is one, the total length of its frames,
        # the bytes that were passed on, and the short fragments that were not.
        self._in_message = False
        self._length = 0
        self._passed = 0
        self._joined = bytearray()
        #: The opcode and reserved bits of the next frame that joins fragments.
        self._first = 0

    @property
    def waiting(self) -> bool:
        """Whether bytes are buffered, be it for the rest of a frame or for `take`."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Buffer the next bytes of the stream."""
        self._buffer += data

    def take(self, most_frames: int = FRAMES_AT_ONCE) -> bytes:
        """
        Return the next bytes for the protocol: whole frames, or a piece of a long one.

        :param most_frames: the most frames.
        :return: empty if more bytes are needed, or if all frames were fragments that
            are kept to be joined.
        :raises FramingError: for a frame that must close the connection; the bytes
            before it were returned.
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
                self.more = True  # raised again by the next call
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
        """Return the buffered payload of a long frame, if it is long enough."""
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
        Process one frame, or the header of a long one.

        :return: the bytes for the protocol, which are empty for a fragment that is
            joined with the next one; None if more bytes are needed.
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
        """Validate the first two bytes of a frame."""
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
        """Return a whole frame unchanged; None if it is incomplete."""
        buffer = self._buffer
        if len(buffer) < end:
            return None
        frame = bytes(buffer[:end])
        del buffer[:end]
        return frame

    def _begin_long(self, first: int, start: int, length: int) -> bytes:
        """Process the header of a long frame; return it after the joined fragments."""
        before = self._flush(fin=False) if self._joined else b""
        self._begin_message(first)
        # The frame replaces preceding fragments that were all empty.
        first |= self._first
        self._first = _CONTINUATION
        self._length += length
        header = bytes((first, *self._buffer[1:start]))
        del self._buffer[:start]
        self._left = length
        self._in_message = not first & _FIN
        return before + header

    def _join(self, first: int, start: int, length: int) -> bytes | None:
        """Process a short fragment."""
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
        """Return the joined fragments as one frame."""
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
