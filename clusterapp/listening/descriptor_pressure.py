"""The descriptor limit of a process: idle connections are closed when it is near."""

import resource
from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

#: File descriptors reserved for files and for connections to the core; at most a
#: quarter (`_PART`) of the limit. There are more of them than calls of `make` until all
#: idle connections are closed, so new connections never use them up.
SPARE = 64
_PART = 4

#: The least seconds between two log lines about connections closed for this reason.
_QUIET = 60.0


#: The folder of this process's descriptors.
_DESCRIPTORS = Path("/proc/self/fd")


class Descriptors:
    """
    The file descriptor limit of this process (getrlimit(2), ``RLIMIT_NOFILE``).

    :param clock: the reactor's clock.
    :param close_idle: closes the connections that have been idle longest, and returns
        their number.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, close_idle: Callable[[], int]) -> None:
        self._clock = clock
        self._close_idle = close_idle
        self._quiet_until = 0.0
        self._closed = 0
        self.most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        #: The descriptor number from which on few are free: the kernel returns the
        #: lowest free one (open(2)).
        self.crowded_from = self.most - min(SPARE, self.most // _PART)

    @property
    def spare(self) -> int:
        """The number of descriptors reserved for files and connections to the core."""
        return self.most - self.crowded_from

    def has_free(self, count: int) -> bool:
        """
        Return whether so many descriptors are free, besides the spare ones.

        The kernel is asked (proc(5)), which takes long where many are open: ask near
        the limit only.
        """
        try:
            # Linux 6.2 and later tell the number as the size of the folder.
            used = _DESCRIPTORS.stat().st_size or sum(1 for _ in _DESCRIPTORS.iterdir())
        except OSError:  # there is none left to list them with
            return False
        return used + count + self.spare <= self.most

    def make(self) -> int:
        """Close the connections that have been idle longest; return their number."""
        closed = self._close_idle()
        self._closed += closed
        now = self._clock.seconds()
        if closed and now >= self._quiet_until:
            self._log.warn(
                "nearly all of {most} descriptors are in use: the connections that are"
                " idle longest are closed ({closed} since the last such line)",
                most=self.most,
                closed=self._closed,
            )
            self._quiet_until, self._closed = now + _QUIET, 0
        return closed
