"""The boundaries of WebSocket frames in a raw stream (RFC 6455, section 5.2)."""

from collections.abc import Callable
from typing import Final

from zope.interface import Attribute, Interface

#: A server's close frame with status 1012, which IANA's registry of WebSocket close
#: codes calls "service restart": clients should reconnect.
SERVICE_RESTART: Final = b"\x88\x02\x03\xf4"

_SHORTEST_HEAD: Final = 2
_MASKED: Final = 0x80
_MASK_BYTES: Final = 4
#: The number of bytes of extended length, by these values of the seven-bit length.
_EXTENDED: Final = {126: 2, 127: 8}


class IFramedOutput(Interface):
    """A protocol whose output to the client consists of WebSocket frames."""

    between_frames = Attribute(
        "Whether a frame may be written now: none is incomplete, nor was the last one"
        " sent."
    )

    def end_with(data: bytes, then: Callable[[], None]) -> None:  # noqa: N805
        """
        Write a last frame after the current one, and nothing after it.

        :param data: the frame.
        :param then: called when it has been written.
        """


class FrameBoundaries:
    """Tracks the frames in one direction of a WebSocket, from its first byte."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0

    @property
    def between(self) -> bool:
        """Whether the bytes so far end with a complete frame."""
        return not self._head and not self._left

    def feed(self, data: bytes) -> None:
        """Process the next bytes of the stream."""
        at = 0
        while at < len(data):
            at = self.feed_one(data, at)

    def feed_one(self, data: bytes, at: int = 0) -> int:
        """
        Process bytes up to the end of one frame.

        :param data: the next bytes of the stream, from `at` on.
        :return: the offset of the frame's end; the length of the data if they end
            before it.
        """
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
            else:
                at += self._read_head(data, at)
            if self.between:
                break
        return at

    def _read_head(self, data: bytes, at: int) -> int:
        """Process a piece of a frame's head; return its length in bytes."""
        head = self._head
        piece = data[at : at + _head_length(head) - len(head)]
        head += piece
        if len(head) == _head_length(head):
            self._left = _payload_length(head)
            head.clear()
        return len(piece)


def _head_length(head: bytearray) -> int:
    """Return the length of a head, as far as its first bytes determine it."""
    if len(head) < _SHORTEST_HEAD:
        return _SHORTEST_HEAD
    masks = _MASK_BYTES if head[1] & _MASKED else 0
    return _SHORTEST_HEAD + _EXTENDED.get(head[1] & ~_MASKED, 0) + masks


def _payload_length(head: bytearray) -> int:
    short = head[1] & ~_MASKED
    extended = _EXTENDED.get(short)
    return short if extended is None else int.from_bytes(head[2 : 2 + extended], "big")
