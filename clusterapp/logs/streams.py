"""Replacements of ``sys.stdout`` and ``sys.stderr`` whose lines become events."""

import io
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from clusterapp.channel.log_pipe.lines import Lines
from clusterapp.logs.captured_logs import WrittenRecord, written_record

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_ENCODING = "utf-8"
_ERRORS = "backslashreplace"


class LineStream(io.RawIOBase):
    """
    A binary stream that passes its lines to a function, which must not block.

    A record that a stream handler of `logging` writes is one event, with its level.

    :param descriptor: the result of `fileno`: the descriptor that child processes write
        to.
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
        """Process bytes; those after the last newline are kept until the next one."""
        received = bytes(data)
        # The text stream around this one has no frame: it is not written in Python.
        record = written_record(sys._getframe(1))  # noqa: SLF001 - no public name
        text = received if record is None else _log_record(record, received)
        for line in self._lines.feed(text):
            self._emit(line)
        return len(received)

    def flush(self) -> None:
        """
        Do nothing; in a forked process emit the incomplete last line.

        Such a process may exit without further calls after Python has flushed its
        streams.
        """
        super().flush()
        if os.getpid() != self._pid:
            self.end_line()

    def end_line(self) -> None:
        """Emit the incomplete last line: the process exits."""
        for line in self._lines.end():
            self._emit(line)


def _log_record(record: WrittenRecord, received: bytes) -> bytes:
    """
    Log a record if the received bytes end with it; return the bytes before it.

    Those were written without a newline, and kept by the text stream.
    """
    written = record.text.encode(_ENCODING, _ERRORS)
    if not received.endswith(written):
        return received
    record.log()
    return received[: len(received) - len(written)]


def text_stream(lines: LineStream) -> TextIO:
    """Return a UTF-8 text stream that escapes characters that cannot be encoded."""
    return io.TextIOWrapper(
        lines,  # without a buffer of its own, as with ``python -u``
        encoding=_ENCODING,
        errors=_ERRORS,
        line_buffering=True,
    )
