"""Private names of Python's standard library; nothing is said of them in its manual."""

import asyncio
import atexit
import logging
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from types import CodeType
from typing import Any, Final

from clusterapp.private_names.check import PYTHON, PrivateName, takes


def _find_accept() -> Callable[[socket.socket], tuple[int, Any]] | None:
    accept: Any = socket.socket._accept  # type: ignore[attr-defined]
    with socket.socket() as unused, suppress(OSError):  # it does not listen
        accept(unused)
    return accept  # type: ignore[no-any-return]


#: The method by which `socket.socket.accept` gets a descriptor and an address.
ACCEPT: Final = PrivateName(
    PYTHON,
    "socket.socket._accept",
    "accepting a connection takes longer",
    _find_accept,
)


def accept_slowly(listening: socket.socket) -> tuple[int, Any]:
    """Accept a connection like ``socket.socket._accept``, with public methods."""
    connection, address = listening.accept()
    return connection.detach(), address


def _find_format() -> Callable[[logging.Formatter], str | None] | None:
    format_of: Callable[[logging.Formatter], str | None] = attrgetter("_fmt")
    return format_of if format_of(logging.Formatter("%(name)s")) == "%(name)s" else None


#: Returns the format of a formatter.
FORMAT_OF: Final = PrivateName(
    PYTHON,
    "logging.Formatter._fmt",
    "records that logging.basicConfig formats are logged with level and name twice",
    _find_format,
)


def _find_emit() -> CodeType | None:
    code = logging.StreamHandler.emit.__code__
    return code if {"self", "record", "msg"} <= set(code.co_varnames) else None


#: The code that writes a record to a stream. Its variables are ``self``, ``record``
#: and ``msg``, the formatted record.
EMIT: Final = PrivateName(
    PYTHON,
    "the variables of logging.StreamHandler.emit",
    "records that a handler of logging writes to stderr are logged as lines, without"
    " level and logger",
    _find_emit,
)


def _find_exit_functions() -> Callable[[], None] | None:
    run: Callable[[], None] = atexit._run_exitfuncs
    return run if callable(run) else None


#: Runs the exit functions now.
RUN_EXIT_FUNCTIONS: Final = PrivateName(
    PYTHON,
    "atexit._run_exitfuncs",
    "of the exit functions of other code, only those of logging run when the master"
    " ends with an error",
    _find_exit_functions,
)


def _find_ready() -> Callable[[Any], deque[Any]] | None:
    ready_of: Callable[[Any], deque[Any]] = attrgetter("_ready")
    loop = asyncio.SelectorEventLoop()
    try:
        return ready_of if isinstance(ready_of(loop), deque) else None
    finally:
        loop.close()


#: Returns the calls that are due on asyncio's own event loops; uvloop has no such name.
READY_CALLS: Final = PrivateName(
    PYTHON,
    "asyncio.BaseEventLoop._ready",
    "due calls of the event loop run in processes that a handler forks, too",
    _find_ready,
)


def _find_run() -> CodeType | None:
    run: Any = asyncio.Handle._run
    return run.__code__ if takes(run, "self") else None


#: The code that calls what is due on asyncio's own event loops.
HANDLE_RUN: Final = PrivateName(
    PYTHON,
    "asyncio.Handle._run",
    "a process that a handler forks ends one turn of the event loop later",
    _find_run,
)
