"""
The thread that listens to the master while the event loop may hear nothing.

It reads the pipe that was the child's stdin: a byte asks what the child is doing,
and the end of the pipe means that there is no master any more.
"""

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from clusterapp.channel.inspection import END

#: Method, target, the client if known, and for how many seconds it has been served.
UnderWay = tuple[bytes, bytes, str | None, float]

#: Time beyond the graceful timeout in which the child may still leave by itself.
_ALLOWANCE = 2.0

#: Bytes of a target that are told. A line this long is written in one piece (pipe(7)).
_LONGEST_TARGET = 500

#: Requests that are told; those that have waited longest come first.
_MOST_REQUESTS = 100

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
    for line in _requests(under_way):
        _say(line)
    # Not by a signal to this process, which would cut through these lines.
    faulthandler.dump_traceback(file=_STDERR, all_threads=True)
    _say(END)


def _requests(under_way: Callable[[], Iterable[UnderWay]]) -> Iterator[str]:
    try:
        found = sorted(under_way(), key=lambda each: each[3], reverse=True)
    except Exception as error:  # noqa: BLE001 - without this thread orphans may stay
        yield f"the requests under way cannot be told: {error!r}"
        return
    yield f"requests under way: {len(found)}"
    for method, target, client, seconds in found[:_MOST_REQUESTS]:
        yield (
            f"  {_text(method)} {_text(target.partition(b'?')[0])}"
            f" from {client or 'unknown'} for {seconds:.1f} s"
        )
    if len(found) > _MOST_REQUESTS:
        yield f"  and {len(found) - _MOST_REQUESTS} more"


def _text(sent: bytes) -> str:
    """Write out what a client sent; what is not printable is escaped."""
    return sent[:_LONGEST_TARGET].decode("latin-1").encode("unicode_escape").decode()


def _say(line: str) -> None:
    os.write(_STDERR, line.encode("utf-8", "backslashreplace") + b"\n")
