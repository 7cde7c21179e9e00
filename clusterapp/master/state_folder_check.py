"""Checks of the state folder while a cluster runs: cleaners of /tmp remove it."""

from collections.abc import Callable

from twisted.logger import Logger

from clusterapp.errors import ListenError
from clusterapp.master.master_sockets import Sockets
from clusterapp.wording import counted

#: Checks between two reports of the same problem: a minute, at one a second.
LOOKS_BETWEEN_REPORTS = 60

_ADVICE = "keep cleaners of temporary files out of it, or choose another by --state"


class StateCheck:
    """
    Recreates the state folder when it has been removed.

    :param sockets: the owner of the folder; `Sockets.state_problem` is set here.
    :param changed: called when a problem begins, and when it is over.
    """

    _log = Logger()

    def __init__(self, sockets: Sockets, changed: Callable[[], None]) -> None:
        self._sockets = sockets
        self._changed = changed
        self._looks = 0

    def look(self) -> None:
        """Check once; called every second."""
        before = self._sockets.state_problem
        try:
            restored = self._sockets.restore_state()
        except ListenError as error:
            self._fails(str(error), before)
        else:
            self._looks = 0
            if restored:
                self._log.error(
                    "{paths} removed or replaced, and made again: {advice}",
                    paths=_listed(restored),
                    advice=_ADVICE,
                )
        if self._sockets.state_problem != before:
            self._changed()

    def _fails(self, error: str, before: str) -> None:
        # Not the error itself: it contains paths, which are not for clients.
        self._sockets.state_problem = "the state folder was removed: see the log"
        if not before or self._looks >= LOOKS_BETWEEN_REPORTS:
            self._looks = 0
            self._log.error("{error}: {advice}", error=error, advice=_ADVICE)
        self._looks += 1


def _listed(paths: list[str]) -> str:
    """Return the first path, the number of further ones, and a verb for them."""
    more = len(paths) - 1
    if not more:
        return f"{paths[0]} of the state folder was"
    return f"{paths[0]} and {counted(more, 'more path')} of the state folder were"
