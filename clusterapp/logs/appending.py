"""Buffered appending of lines to a file that many processes write to."""

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from clusterapp.guards import guarded
from clusterapp.logs.log_output import MOST_BYTES, Opening
from clusterapp.wording import counted

#: The longest time, in seconds, that a line waits to be written together with others.
PAUSE = 0.25
#: The number of bytes that are written without waiting for more.
FULL = MOST_BYTES // 2
#: The most bytes that are kept while nothing can be written.
MOST_KEPT = 1_048_576
#: The seconds after which a failed write is retried: the first time, and at most; each
#: failure doubles them.
FIRST_RETRY, LAST_RETRY = 0.01, 1.0


class Appender:
    """
    Collects lines, and writes them together.

    Lines that cannot be written are kept up to `MOST_KEPT` bytes; then new lines are
    dropped, and counted. The start and the end of the failure are logged.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, name: str, opening: Opening) -> None:
        """
        Open the output.

        :param clock: the process's reactor.
        :param name: the name of the output in log messages.
        :param opening: opens the output, now and whenever it is reopened.
        :raise OSError: if it cannot be opened.
        """
        self._clock = clock
        self._name = name
        self._opening = opening
        self._output = opening()
        self._lines: list[bytes] = []
        self._size = 0
        self._timer: IDelayedCall | None = None
        self._retry = FIRST_RETRY
        self._trouble: OSError | None = None
        self._is_logged = False
        self._lost = 0

    @property
    def longest_line(self) -> int:
        """The most bytes of a line that is written atomically."""
        return self._output.longest_line

    def add(self, line: bytes) -> None:
        """
        Add a line, to be written soon.

        :param line: the line, with its newline.
        """
        self._lines.append(line)
        self._size += len(line)
        if self._timer is None:
            self._timer = self._clock.callLater(PAUSE, self._late)
        if self._size >= FULL:
            self._full()

    def flush(self) -> None:
        """Write the collected lines, as far as that is possible now."""
        self._stop_timer()
        waiting = len(self._lines)
        try:
            self._output.write(self._lines)
        except OSError as error:
            self._failed(error, in_vain=len(self._lines) == waiting)
        else:
            self._succeeded()

    def reopen(self) -> None:
        """Flush, and reopen the output; if that fails, keep the old one."""
        self.flush()
        try:
            fresh = self._opening()
        except OSError as error:
            self._log.error(
                "cannot reopen the access log {name}, so the old file is kept: {error}",
                name=self._name,
                error=error,
            )
            return
        self._output.close()
        self._output = fresh
        if self._lines:
            self.flush()

    def close(self) -> None:
        """Flush and close the output; lines that cannot be written are lost."""
        self.flush()
        self._stop_timer()
        self._lost += len(self._lines)
        self._lines.clear()
        self._succeeded()
        self._output.close()

    @guarded("write the access log")
    def _late(self) -> None:
        self._timer = None
        self.flush()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _full(self) -> None:
        if self._trouble is None:
            self.flush()
        elif self._size > MOST_KEPT:
            self._size -= len(self._lines.pop())
            self._lost += 1
            self._log_error()

    def _failed(self, error: OSError, *, in_vain: bool) -> None:
        self._retry = min(self._retry * 2, LAST_RETRY) if in_vain else FIRST_RETRY
        self._timer = self._clock.callLater(self._retry, self._late)
        self._size = sum(map(len, self._lines))
        self._trouble = error
        # A reader that is slow for a moment is not an error yet.
        if not isinstance(error, BlockingIOError):
            self._log_error()

    def _succeeded(self) -> None:
        if self._lost:
            self._log.error(
                "{lines} of the access log {name} lost: {error}",
                lines=counted(self._lost, "line"),
                name=self._name,
                error=self._trouble,
            )
        self._size = self._lost = 0
        self._retry = FIRST_RETRY
        self._trouble = None
        self._is_logged = False

    def _log_error(self) -> None:
        """Log the error, once for each period of failure."""
        if self._is_logged:
            return
        self._is_logged = True
        self._log.error(
            "cannot write the access log {name}: {error}",
            name=self._name,
            error=self._trouble,
        )
