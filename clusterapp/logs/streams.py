"""``sys.stdout`` and ``sys.stderr`` of a child: lines become log events."""

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from clusterapp.channel.lines import Lines

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class LineStream(io.RawIOBase):
    """
    A binary stream whose lines are given to a function, which must not block.

    :param descriptor: what `fileno` returns: where child processes write.
    :param emit: called with each line.
    """

    mode = "wb"

    def __init__(self, descriptor: int, emit: Callable[[str], None]) -> None:
        super().__init__()
        self.name = descriptor
        self._pid = os.getpid()
        self._descriptor = descriptor
        self._emit = emit
        self._lines = Lines()

    def fileno(self) -> int:
        """Return the descriptor of the process's own stream."""
        return self._descriptor

    def writable(self) -> bool:
        """Return true."""
        return True

    def write(self, data: "ReadableBuffer", /) -> int:
        """Take bytes; what comes after the last newline waits for its own."""
        received = bytes(data)
        for line in self._lines.feed(received):
            self._emit(line)
        return len(received)

    def flush(self) -> None:
        """
        Do nothing, but in a forked process emit what was written since a newline.

        Such a process may end without a word, after Python has flushed its streams.
        """
        super().flush()
        if os.getpid() != self._pid:
            self.end_line()

    def end_line(self) -> None:
        """Emit what was written since the last newline: the process ends."""
        for line in self._lines.end():
            self._emit(line)


def text_stream(lines: LineStream) -> TextIO:
    """Return a text stream in UTF-8 that escapes what cannot be encoded."""
    return io.TextIOWrapper(
        lines,  # without a buffer of its own, as with ``python -u``
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )
