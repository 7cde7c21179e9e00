"""Reaping of orphans: zombies that PID 1 inherits from processes it never started."""

import os
from pathlib import Path
from typing import Any

from twisted.application.internet import TimerService
from twisted.logger import Logger

from clusterapp.private_names.reactors import REAP_HANDLERS

_log = Logger()

#: Seconds between two checks. A zombie is reaped at the second check that finds it,
#: so that code of this process that started it has had time to wait for it.
INTERVAL = 2.0


class ZombieReaper(TimerService):
    """As PID 1, reaps children that no code in this process waits for."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(INTERVAL, self._look)
        self.clock = reactor
        self._seen: frozenset[int] = frozenset()

    def _look(self) -> None:
        handlers = REAP_HANDLERS.value
        if handlers is None:  # zombies may be Twisted's
            return
        zombies = frozenset(_zombies_of(os.getpid())) - handlers.keys()
        for pid in zombies & self._seen:
            _reap(pid)
        self._seen = zombies


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # it was reaped meanwhile
        return
    _log.debug("reaped the orphan {pid}", pid=pid)


def _zombies_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text("ascii", "replace")
        except OSError:  # it has exited
            continue
        # The name is in parentheses and may contain any, so split behind the last one.
        state, ppid = stat.rpartition(")")[2].split()[:2]
        if state == "Z" and int(ppid) == parent:
            found.append(int(entry.name))
    return found
