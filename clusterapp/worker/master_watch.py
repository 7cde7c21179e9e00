"""
The thread that listens to the master while the event loop may hear nothing.

It reads the pipe that was the child's stdin: a byte asks what the child is doing,
and the end of the pipe means that there is no master any more.
"""

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from clusterapp.channel.inspection import END, UnderWay, requests_told

#: Time beyond the graceful timeout in which the child may still leave by itself.
_ALLOWANCE = 2.0

#: As many questions as are answered at once.
_QUESTIONS = 1024

_STDERR = 2


def watch_master(
    pipe: int, graceful_timeout: float, under_way: Callable[[], Iterable[UnderWay]]
) -> None:
    """
    Answer the master's questions, and end this process some time after its death.

    A thread does it, since the event loop hears nothing while application code
    blocks it; as a rule the loop hears of the death first, drains, and is gone in
    time.

    :param pipe: what was the child's stdin.
    :param graceful_timeout: seconds that draining may take.
    :param under_way: tells the requests of the moment; called in the thread.
    """
    threading.Thread(
        target=_listen,
        args=(pipe, graceful_timeout + _ALLOWANCE, under_way),
        name="master watch",
        daemon=True,
    ).start()


def _listen(
    pipe: int, patience: float, under_way: Callable[[], Iterable[UnderWay]]
) -> None:
    while os.read(pipe, _QUESTIONS):
        # If the master is gone meanwhile, the pipe's end tells it next.
        with suppress(OSError):
            _answer(under_way)
    time.sleep(patience)
    os._exit(1)


def _answer(under_way: Callable[[], Iterable[UnderWay]]) -> None:
    for line in requests_told(under_way):
        _say(line)
    # Not by a signal to this process, which would cut through these lines.
    faulthandler.dump_traceback(file=_STDERR, all_threads=True)
    _say(END)


def _say(line: str) -> None:
    os.write(_STDERR, line.encode("utf-8", "backslashreplace") + b"\n")
