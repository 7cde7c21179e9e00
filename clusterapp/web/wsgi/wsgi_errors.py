"""The ``wsgi.errors`` stream of PEP 3333, whose text becomes log events."""

import sys
from collections.abc import Iterable

from twisted.logger import Logger

from clusterapp.channel.log_pipe.lines import LONGEST_LINE
from clusterapp.logs.captured_logs import written_record

_log = Logger("wsgi.errors")


class ErrorStream:
    """
    The error stream of one request, written to in the application's threads.

    A record of `logging` that a handler writes here, such as that of ``Flask.logger``,
    is logged with its own level and logger. Other text is logged as errors: the text of
    one call, or of several calls up to the end of a line, is one event.
    """

    def __init__(self) -> None:
        self._rest = ""

    def write(self, text: str) -> int:
        """
        Called by the application: log whole lines, and keep the rest.

        :raises TypeError: the argument is not a str.
        """
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        # A text stream has no parameter for a level, so the record of a calling logging
        # handler is looked up on the stack.
        record = written_record(sys._getframe(1))  # noqa: SLF001 - no public name
        if record is not None:
            record.log()
            return len(text)
        whole, newline, self._rest = (self._rest + text).rpartition("\n")
        if newline:
            _log_text(whole)
        if len(self._rest) > LONGEST_LINE:
            self.flush_line()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Called by the application: write several lines at once."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Do nothing: only an incomplete line is buffered, and it waits for its end."""

    def flush_line(self) -> None:
        """Log the incomplete line; called when the request ends or it is too long."""
        rest, self._rest = self._rest, ""
        _log_text(rest)


def _log_text(text: str) -> None:
    if text.strip():
        _log.error("{text}", text=text)
