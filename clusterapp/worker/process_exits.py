"""
The exits of processes that an application starts with ``reactor.spawnProcess``.

Twisted hears of them by SIGCHLD. Python tells of a signal by one descriptor, which
uvloop takes for itself, and libuv replaces the handler as soon as it starts a process
of its own. So each process is watched by a descriptor that stands for it
(pidfd_open(2)), which leaves other processes, and those who wait for them, alone.
"""

import asyncio
import os
import threading
from typing import Any

from twisted.internet.process import reapProcessHandlers
from twisted.logger import Logger

from clusterapp.guards import guarded

_log = Logger()


def reap_when_exited(loop: asyncio.AbstractEventLoop, process: Any) -> None:
    """
    Have Twisted reap a process once it has exited.

    :param loop: the event loop of this process; this is its thread.
    :param process: what ``spawnProcess`` has returned. It may have exited by now, and
        even have been reaped.
    """
    pid: int | None = process.pid
    if pid is None:
        return
    try:
        exit_fd = os.pidfd_open(pid)
    except OSError as error:  # an old kernel, a filter, or no descriptor left
        _log.debug("no pidfd of process {pid}: {error}", pid=pid, error=error)
        _wait_in_thread(loop, process, pid)
        return

    @guarded("take note of the exit of a process")
    def exited() -> None:
        loop.remove_reader(exit_fd)
        os.close(exit_fd)
        _reap(process, pid)

    loop.add_reader(exit_fd, exited)


def _wait_in_thread(loop: asyncio.AbstractEventLoop, process: Any, pid: int) -> None:
    def wait() -> None:
        # The process stays a zombie, for Twisted to reap.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        loop.call_soon_threadsafe(_reap, process, pid)

    guard = guarded(f"wait for process {pid}")
    threading.Thread(target=guard(wait), name=f"exit of {pid}", daemon=True).start()


@guarded("tell of the exit of a process")
def _reap(process: Any, pid: int) -> None:
    # Twisted looks itself when a process closes its last pipe.
    found = reapProcessHandlers.get(pid)
    if found is not None and found is process:
        found.reapProcess()
