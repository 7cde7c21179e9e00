"""Resource usage of the cluster's processes, from /proc, and the master's lag."""

import os
import resource
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clusterapp.guards import guarded

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

#: Seconds between two measurements.
INTERVAL = 1.0

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = resource.getpagesize()

#: Indexes of fields in /proc/PID/stat, counted behind the name of the program (proc(5)
#: numbers fields from 1, and the name is the second one).
_UTIME, _STIME, _RSS = 14 - 3, 15 - 3, 24 - 3


@dataclass(frozen=True)
class Usage:
    """
    Resource usage of a process.

    :param rss: its resident memory, in bytes.
    :param cpu: its processor usage over the last second, in processors (1.0 is one
        that is busy all the time); None if not measured yet.
    """

    rss: int
    cpu: float | None


class Monitor:
    """
    Measures the master and its children every second.

    The master measures, not the children: a child that hangs could not report.

    :param children: returns the pids of the children.
    :ivar lag: how late the master's event loop was at the last measurement, in seconds.
    """

    def __init__(self, children: Callable[[], Iterable[int]]) -> None:
        self.lag = 0.0
        self._children = children
        self._clock: Any = None
        self._also: Callable[[], None]
        self._timer: IDelayedCall | None = None
        self._due = 0.0
        self._looked_at = 0.0
        self._ticks: dict[int, int] = {}
        self._usage: dict[int, Usage] = {}

    def start(self, clock: Any, also: Callable[[], None] = lambda: None) -> None:
        """
        Start the measurements; the first one is made at once.

        :param clock: the master's reactor.
        :param also: called after each measurement except the first.
        """
        self._clock, self._also = clock, also
        self._look()

    def stop(self) -> None:
        """Stop the measurements and forget their results."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._ticks, self._usage = {}, {}

    def usage(self, pid: int | None) -> Usage | None:
        """Return the usage of a process when last measured; None if there is none."""
        return None if pid is None else self._usage.get(pid)

    @guarded("measure resource usage")
    def _tick(self) -> None:
        self.lag = max(0.0, self._clock.seconds() - self._due)
        self._look()
        self._also()

    def _look(self) -> None:
        now = self._clock.seconds()
        self._due = now + INTERVAL
        self._timer = self._clock.callLater(INTERVAL, self._tick)
        elapsed, self._looked_at = now - self._looked_at, now
        before, self._ticks, self._usage = self._ticks, {}, {}
        for pid in (os.getpid(), *self._children()):
            found = _read(pid)
            if found is None:
                continue
            ticks, rss = found
            self._ticks[pid] = ticks
            cpu = None
            if pid in before and elapsed > 0:
                cpu = max(0, ticks - before[pid]) / _TICKS / elapsed
            self._usage[pid] = Usage(rss, cpu)


def _read(pid: int) -> tuple[int, int] | None:
    """
    Return the processor time of a process in clock ticks, and its memory in bytes.

    :return: None if it has exited, or no descriptor is left to open the file.
    """
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The program's name is in parentheses, and may contain some itself.
    fields = stat.rpartition(b")")[2].split()
    return int(fields[_UTIME]) + int(fields[_STIME]), int(fields[_RSS]) * _PAGE
