"""
The exits of processes that an application starts with ``reactor.spawnProcess``.

Twisted is notified of exits by SIGCHLD. Python reports signals on one wake-up
descriptor, which uvloop replaces, and libuv replaces the signal handler as soon as it
starts a process of its own. So each process is watched through a pidfd
(pidfd_open(2)), which does not affect other processes, nor other code that waits for
them.
"""

import asyncio
import os
import threading
from typing import Any

from twisted.internet.process import reapAllProcesses
from twisted.logger import Logger

from clusterapp.guards import guarded
from clusterapp.private_names.reactors import REAP_HANDLERS

_log = Logger()

_handlers = REAP_HANDLERS.value


def reap_when_exited(loop: asyncio.AbstractEventLoop, process: Any) -> None:
    """
    Make Twisted reap a process once it has exited.

    :param loop: the event loop; this function must be called in its thread.
    :param process: the process transport that ``spawnProcess`` has returned. The
        process may have exited by now, and even have been reaped.
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

    @guarded("handle the exit of a process")
    def exited() -> None:
        loop.remove_reader(exit_fd)
        os.close(exit_fd)
        _reap(process, pid)

    loop.add_reader(exit_fd, exited)


def _wait_in_thread(loop: asyncio.AbstractEventLoop, process: Any, pid: int) -> None:
    def wait() -> None:
        # WNOWAIT leaves the process a zombie, so that Twisted can reap it.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        loop.call_soon_threadsafe(_reap, process, pid)

    guard = guarded(f"wait for process {pid}")
    threading.Thread(target=guard(wait), name=f"exit of {pid}", daemon=True).start()


@guarded("report the exit of a process")
def _reap(process: Any, pid: int) -> None:
    # Twisted reaps the process itself when the last pipe closes: it may be done.
    if _handlers is None:
        reapAllProcesses()
        return
    found = _handlers.get(pid)
    if found is not None and found is process:
        found.reapProcess()
