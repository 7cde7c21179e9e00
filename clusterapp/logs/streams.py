"""``sys.stdout`` and ``sys.stderr``: lines, and records of `logging`, become events."""

import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from clusterapp.channel.lines import Lines
from clusterapp.logs.captured_logs import WrittenRecord, written_record

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_ENCODING = "utf-8"
_ERRORS = "backslashreplace"


class LineStream(io.RawIOBase):
    """
    A binary stream whose lines are given to a function, which must not block.

    A record that a stream handler of `logging` writes is one event, with its level.

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
        # The text stream around this one is no frame: it is not written in Python.
        record = written_record(sys._getframe(1))  # noqa: SLF001 - no public name
        text = received if record is None else _log_record(record, received)
        for line in self._lines.feed(text):
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


def _log_record(record: WrittenRecord, received: bytes) -> bytes:
    """
    Log a record, if what was received ends with it, and return what came before.

    That was written without a newline, and was kept by the text stream.
    """
    written = record.text.encode(_ENCODING, _ERRORS)
    if not received.endswith(written):
        return received
    record.log()
    return received[: len(received) - len(written)]


def text_stream(lines: LineStream) -> TextIO:
    """Return a text stream in UTF-8 that escapes what cannot be encoded."""
    return io.TextIOWrapper(
        lines,  # without a buffer of its own, as with ``python -u``
        encoding=_ENCODING,
        errors=_ERRORS,
        line_buffering=True,
    )
