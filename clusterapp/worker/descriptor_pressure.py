"""The descriptors of a worker, and what is closed when they run short."""

import resource
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

#: Descriptors that are left for files, and for connections to the core; fewer if the
#: process may have few at all. They are more than the times that idle connections are
#: closed until all have been, so that they are never used up by new connections.
SPARE = 64
_PART = 4

#: Seconds for which nothing more is logged of connections that are closed.
_QUIET = 60.0


class Descriptors:
    """
    The descriptors that this process may have (getrlimit(2), ``RLIMIT_NOFILE``).

    :param clock: keeps the time.
    :param close_idle: closes the connections that have been idle longest, and returns
        how many.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, close_idle: Callable[[], int]) -> None:
        self._clock = clock
        self._close_idle = close_idle
        self._quiet_until = 0.0
        self._closed = 0
        self.most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        #: The descriptor from which on nearly all are in use: open(2) takes the lowest.
        self.crowded_from = self.most - min(SPARE, self.most // _PART)

    def make(self) -> int:
        """Close the connections that have been idle longest; return how many."""
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
