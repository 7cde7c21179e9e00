"""What the log has of children that cannot start."""

from twisted.logger import Logger


class BootFailures:
    """Logs why children cannot start; a traceback once, however many had it."""

    _log = Logger()

    def __init__(self) -> None:
        self._tracebacks: set[str] = set()

    def forget(self) -> None:
        """Log every traceback anew."""
        self._tracebacks.clear()

    def log(self, label: str, reason: str, traceback: str) -> None:
        """
        Log one failure.

        :param label: the child, as in ``worker 1``.
        :param reason: one line.
        :param traceback: where the application has failed; empty if it has not.
        """
        if traceback and traceback not in self._tracebacks:
            self._tracebacks.add(traceback)
            self._log.error("{traceback}", traceback=traceback.rstrip())
        self._log.error("{label} cannot start: {reason}", label=label, reason=reason)
