"""The log messages of children that cannot start."""

from twisted.logger import Logger


class BootFailures:
    """Logs why children cannot start; a traceback only once for all children."""

    _log = Logger()

    def __init__(self) -> None:
        self._tracebacks: set[str] = set()

    def forget(self) -> None:
        """Forget the logged tracebacks, so that each is logged again."""
        self._tracebacks.clear()

    def log(self, label: str, reason: str, traceback: str) -> None:
        """
        Log one failure.

        :param label: the name of the child, as in ``worker 1``.
        :param reason: the reason, in one line.
        :param traceback: the traceback of the application; empty if it has not failed.
        """
        if traceback and traceback not in self._tracebacks:
            self._tracebacks.add(traceback)
            self._log.error("{traceback}", traceback=traceback.rstrip())
        self._log.error("{label} cannot start: {reason}", label=label, reason=reason)
