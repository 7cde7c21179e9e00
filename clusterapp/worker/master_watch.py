"""
The thread that serves the master's requests while the event loop may be blocked.

It reads the pipe that was the child's stdin: a byte asks for the open requests and the
stacks of all threads, and the end of file means that the master has died.
"""

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from clusterapp.channel.inspection import END, UnderWay, describe_requests

#: Seconds after the graceful timeout in which the child can still exit by itself.
_ALLOWANCE = 2.0

#: How many bytes are read, and so how many requests of the master are merged, at once.
_QUESTIONS = 1024

_STDERR = 2


def watch_master(
    pipe: int, graceful_timeout: float, under_way: Callable[[], Iterable[UnderWay]]
) -> None:
    """
    Start the thread; it reports on request, and exits the process if the master dies.

    It is a thread because application code can block the event loop. Normally the loop
    notices the master's death itself, drains and exits within the graceful timeout.

    :param pipe: the descriptor that was the child's stdin.
    :param graceful_timeout: the seconds that draining may take.
    :param under_way: returns the open requests; called in the thread.
    """
    threading.Thread(
        target=_listen,
        args=(pipe, graceful_timeout + _ALLOWANCE, under_way),
        name="master watch",
        daemon=True,
    ).start()


def _listen(
    pipe: int, timeout: float, under_way: Callable[[], Iterable[UnderWay]]
) -> None:
    while os.read(pipe, _QUESTIONS):
        # If the master has died meanwhile, the next read returns the end of file.
        with suppress(OSError):
            _answer(under_way)
    time.sleep(timeout)
    os._exit(1)


def _answer(under_way: Callable[[], Iterable[UnderWay]]) -> None:
    for line in describe_requests(under_way):
        _write_line(line)
    # Not by a signal: its output would interleave with the lines of other threads.
    faulthandler.dump_traceback(file=_STDERR, all_threads=True)
    _write_line(END)


def _write_line(line: str) -> None:
    os.write(_STDERR, line.encode("utf-8", "backslashreplace") + b"\n")
