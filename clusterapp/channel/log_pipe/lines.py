"""A splitter of a byte stream into lines."""

from collections.abc import Iterator

from clusterapp.wording import counted

#: The most bytes of a line that are kept, so that a line without an end cannot exhaust
#: the memory.
LONGEST_LINE = 16_384


class Lines:
    """
    Splits a stream of bytes into lines.

    Of a line longer than `LONGEST_LINE` only the start is returned, with the number of
    bytes that were cut.
    """

    def __init__(self) -> None:
        self._kept = b""
        self._length = 0
        self._last = b""

    def feed(self, received: bytes) -> Iterator[str]:
        """Return the lines that these bytes complete, without their line ends."""
        *lines, rest = received.split(b"\n")
        for line in lines:
            self._add(line)
            yield self._take()
        self._add(rest)

    def end(self) -> Iterator[str]:
        """Return the incomplete last line, if there is one."""
        if self._length:
            yield self._take()

    def _add(self, piece: bytes) -> None:
        if piece:
            # One byte more, for a carriage return that belongs to the line end.
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
