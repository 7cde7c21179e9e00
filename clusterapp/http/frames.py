"""Where WebSocket frames begin and end on a raw stream (RFC 6455, section 5.2)."""

from typing import Final

#: A close frame of a server with status 1012, which IANA's registry of WebSocket
#: close codes calls "service restart": clients should come back.
SERVICE_RESTART: Final = b"\x88\x02\x03\xf4"

_SHORTEST_HEAD: Final = 2
_MASKED: Final = 0x80
_MASK_BYTES: Final = 4
#: How many bytes of extended length follow these seven bits.
_EXTENDED: Final = {126: 2, 127: 8}


class FrameBoundaries:
    """Follows one direction of a WebSocket, from its first byte on."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0

    @property
    def between(self) -> bool:
        """Whether what has come so far ends with a whole frame."""
        return not self._head and not self._left

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
            else:
                at += self._read_head(data, at)

    def _read_head(self, data: bytes, at: int) -> int:
        """Take what there is of a frame's head; tell how many bytes that is."""
        head = self._head
        before = len(head)
        head += data[at : at + _SHORTEST_HEAD - before] if before < 2 else b""  # noqa: PLR2004
        if len(head) >= _SHORTEST_HEAD:
            missing = _head_length(head[1]) - len(head)
            start = at + len(head) - before
            head += data[start : start + missing]
            if len(head) == _head_length(head[1]):
                self._left = _payload_length(head)
                head.clear()
                return missing + start - at
        return len(head) - before


def _head_length(second: int) -> int:
    masks = _MASK_BYTES if second & _MASKED else 0
    return _SHORTEST_HEAD + _EXTENDED.get(second & ~_MASKED, 0) + masks


def _payload_length(head: bytearray) -> int:
    short = head[1] & ~_MASKED
    extended = _EXTENDED.get(short)
    return short if extended is None else int.from_bytes(head[2 : 2 + extended], "big")
