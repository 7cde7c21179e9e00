"""
The thread that ends a master whose exit does not come to its end.

Python joins threads and multiprocessing's processes at exit, and a reactor the threads
of its pool, for as long as they take. An application whose core runs in the master may
have started any of these.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from twisted.logger import ILogObserver, Logger


def watch_exit(
    seconds: float, end: Callable[[], None], observer: ILogObserver | None
) -> None:
    """
    Start the thread; the process is to end by itself before the time is over.

    :param seconds: the seconds that the exit may take.
    :param end: ends the process; called in the thread.
    :param observer: the program's log, which twistd takes from the global publisher
        when its reactor has stopped; None for that publisher.
    """
    log = Logger(observer=observer)
    threading.Thread(
        target=_wait, args=(seconds, end, log), name="exit watch", daemon=True
    ).start()


def _wait(seconds: float, end: Callable[[], None], log: Logger) -> None:
    time.sleep(seconds)
    try:
        log.error(
            "the master (pid {pid}) has not exited within {seconds:.1f} s of its stop:"
            " ending it; it waits for {what}",
            pid=os.getpid(),
            seconds=seconds,
            what=", ".join(_joined()) or "an exit function",
        )
    finally:
        end()


def _joined() -> Iterator[str]:
    """Yield what Python joins at exit and is still running."""
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            yield f"thread {thread.name}"
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None:
        for process in multiprocessing.active_children():
            yield f"process {process.name} (pid {process.pid})"
