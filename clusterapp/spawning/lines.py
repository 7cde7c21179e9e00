"""Whole lines out of a stream of bytes."""

from collections.abc import Iterator

#: A longer line is given in pieces, so that nobody can fill the memory.
LONGEST_LINE = 16_384


class Lines:
    """Collect bytes, and give them back line by line."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, received: bytes) -> Iterator[str]:
        """Give the lines that these bytes complete, without their ends."""
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            yield from _pieces(line)
        # A carriage return at the end may belong to the line's end.
        while len(self._rest.removesuffix(b"\r")) > LONGEST_LINE:
            yield _text(self._rest[:LONGEST_LINE])
            self._rest = self._rest[LONGEST_LINE:]

    def end(self) -> Iterator[str]:
        """Give what came after the last line's end."""
        if self._rest:
            yield _text(self._rest)
            self._rest = b""


def _pieces(line: bytes) -> Iterator[str]:
    line = line.removesuffix(b"\r")
    for start in range(0, max(len(line), 1), LONGEST_LINE):
        yield _text(line[start : start + LONGEST_LINE])


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")
