"""``wsgi.errors`` of PEP 3333: what applications write there becomes log events."""

import sys
from collections.abc import Iterable

from twisted.logger import Logger

from clusterapp.channel.lines import LONGEST_LINE
from clusterapp.logs.captured_logs import written_record

_log = Logger("wsgi.errors")


class ErrorStream:
    """
    The error stream of one request; threads of its application write to it.

    A record of `logging` that a handler writes here, as that of ``Flask.logger`` does,
    is logged with its own level and logger. Other text is logged as errors: what one
    call writes, or several calls up to the end of a line, is one event.
    """

    def __init__(self) -> None:
        self._rest = ""

    def write(self, text: str) -> int:
        """
        Take some text; the application calls this.

        :raises TypeError: if it is no text.
        """
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        # The interface is that of a text stream, which has no room for a level.
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
        """Take several lines at once; the application calls this."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Do nothing: only what is written before the end of a line waits for that."""

    def flush_line(self) -> None:
        """Log what was written since the last end of a line: the request ends."""
        rest, self._rest = self._rest, ""
        _log_text(rest)


def _log_text(text: str) -> None:
    if text.strip():
        _log.error("{text}", text=text)
