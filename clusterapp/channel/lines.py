"""Whole lines out of a stream of bytes."""

from collections.abc import Iterator

from clusterapp.wording import counted

#: Bytes of a line that are kept, so that a line without an end fills no memory.
LONGEST_LINE = 16_384


class Lines:
    """
    Collects bytes, and returns them line by line.

    Of a line longer than `LONGEST_LINE` the start is returned, and how many bytes
    were cut.
    """

    def __init__(self) -> None:
        self._kept = b""
        self._length = 0
        self._last = b""

    def feed(self, received: bytes) -> Iterator[str]:
        """Return the lines that these bytes complete, without their ends."""
        *lines, rest = received.split(b"\n")
        for line in lines:
            self._add(line)
            yield self._take()
        self._add(rest)

    def end(self) -> Iterator[str]:
        """Return what came after the end of the last line."""
        if self._length:
            yield self._take()

    def _add(self, piece: bytes) -> None:
        if piece:
            # One more, for a carriage return that belongs to the line's end.
            self._kept += piece[: LONGEST_LINE + 1 - len(self._kept)]
            self._length += len(piece)
            self._last = piece[-1:]

    def _take(self) -> str:
        length = self._length - (self._last == b"\r")
        kept = self._kept[: min(length, LONGEST_LINE)]
        self._kept = self._last = b""
        self._length = 0
        text = kept.decode("utf-8", "backslashreplace")
        cut = length - len(kept)
        return f"{text}… [{counted(cut, 'byte')} cut]" if cut else text
