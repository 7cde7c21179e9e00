"""
Clean-up in processes that an application forks, as multiprocessing does.

A fork has all descriptors and signal handlers of its parent. With our handlers it could
not be terminated. With our sockets it would keep a port in use after the cluster has
stopped, and keep connections open that its parent has closed. Programs that are started
with exec(2) are different: they inherit no handlers, and no descriptor that is closed
on exec.
"""

import asyncio
import faulthandler
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import ReactorBase
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.private_names.cpython import HANDLE_RUN, READY_CALLS
from clusterapp.private_names.reactors import SELECTABLES, THREAD_CALLS, event_loop_of
from clusterapp.system.descriptors import owned, socket_addresses
from clusterapp.system.titles import mark_fork

if TYPE_CHECKING:
    from clusterapp.private_names.check import PrivateName

#: Handlers that are defined in these packages are not the application's.
_PACKAGES = frozenset({"clusterapp", "twisted"})

#: The names of a cluster's private sockets in its state folder.
_PRIVATE = re.compile(r"(core|worker-\d+)\.sock")

#: Modules that call an application in a thread, and return the result to the reactor.
_THREADED: Final = frozenset(
    {
        "clusterapp.web.wsgi.wsgi_response",
        "twisted.internet.threads",
        "twisted.web.wsgi",
    }
)

#: Seconds after which no timer of the parent is due in a fork.
_NEVER: Final = 1e9

#: Whether this process is a fork that the application has made of one of ours.
is_fork = False

_installed = False

_log = Logger()


class _Suspension(threading.local):
    """Whether forks keep everything; per thread, as others may fork meanwhile."""

    depth = 0


_suspension = _Suspension()


def clean_up_forks() -> None:
    """Remove our handlers and sockets from each fork of this process, from now on."""
    global _installed  # noqa: PLW0603 - os.register_at_fork is for life
    if not _installed:
        os.register_at_fork(before=_check_names, after_in_child=_clean_up)
        _installed = True


@contextmanager
def suspended() -> Iterator[None]:
    """
    Suspend the clean-up of forks in this thread: they are about to call exec(2).

    For Twisted's ``spawnProcess``, which may fork, and passes descriptors on by number.
    """
    _suspension.depth += 1
    try:
        yield
    finally:
        _suspension.depth -= 1


def end_fork(failure: Failure | None = None) -> NoReturn:
    """
    End this process, a fork: the application's code has returned to its caller.

    It is not cleaned up (``os._exit``): what is registered with `atexit` is the
    parent's. Standard output and error are flushed.

    :param failure: the exception that the code has raised, which is logged unless it is
        a `SystemExit`. The exit status is 1, or that of the SystemExit.
    """
    status = 1
    try:
        status = _exit_status(failure)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(status)


def _exit_status(failure: Failure | None) -> int:
    """Return the exit status as Python computes it; log an unusual exit."""
    if failure is None:
        _log.error(
            "process {pid}, a fork, returned to the server that it was forked from:"
            " it ends with status 1 (end forks with os._exit or sys.exit)",
            pid=os.getpid(),
        )
        return 1
    error = failure.value
    if not isinstance(error, SystemExit):
        _log.failure("process {pid}, a fork, failed", failure, pid=os.getpid())
        return 1
    if error.code is None or isinstance(error.code, int):
        return (error.code or 0) & 0xFF
    _log.error("{text}", text=str(error.code))
    return 1


def _check_names() -> None:
    """Check, before the first fork, what `_stop_loop` uses: a fork must not warn."""
    reactor = _reactor()
    if _suspension.depth or reactor is None:
        return
    names: list[PrivateName[Any]] = [THREAD_CALLS]
    if _is_epoll(reactor):
        names.append(SELECTABLES)
    if isinstance(event_loop_of(reactor), asyncio.BaseEventLoop):
        names += (READY_CALLS, HANDLE_RUN)
    for name in names:
        _ = name.value


def _clean_up() -> None:
    global is_fork  # noqa: PLW0603 - it is one for life
    if _suspension.depth:
        return
    is_fork = True
    # An uncaught exception would only be printed, and skip the remaining steps.
    for step in (_reset_signals, _release_sockets, _stop_loop, mark_fork):
        _attempt(step)


def _attempt(step: Callable[[], None]) -> None:
    try:
        step()
    except Exception as error:  # noqa: BLE001 - the fork is the application's
        os.write(2, f"clusterapp: after a fork: {error!r}\n".encode())


def _stop_loop() -> None:
    """
    Make the event loop end this process when the fork's code returns to it.

    Calls that are due in the same iteration of the loop are dropped, as far as they can
    be reached.
    """
    reactor = _reactor()
    if reactor is None:
        return
    call_from_thread = reactor.callFromThread

    def call(function: Any, *args: Any, **kwargs: Any) -> None:
        # The thread would otherwise wait for more work, which never comes.
        if sys._getframe(1).f_globals.get("__name__") in _THREADED:  # noqa: SLF001 - as below
            raised = args[-1] if args and isinstance(args[-1], Failure) else None
            end_fork(raised)
        call_from_thread(function, *args, **kwargs)

    reactor.callFromThread = call
    reactor.runUntilCurrent = reactor.doIteration = _returned
    # If timers are being called now, the reactor fires this event after them.
    reactor.fireSystemEvent = _returned
    with suppress(ReactorNotRunning):
        ReactorBase.stop(reactor)
    for timer in reactor.getDelayedCalls():
        timer.reset(_NEVER)
    if THREAD_CALLS.value is not None:
        THREAD_CALLS.value(reactor).clear()
    if _is_epoll(reactor) and SELECTABLES.value is not None:
        SELECTABLES.value(reactor).clear()
    loop = event_loop_of(reactor)
    if loop is not None:
        _stop_asyncio(loop)


def _reactor() -> Any:
    """Return the reactor of this process; None if it has none, or not Twisted's."""
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    return reactor if isinstance(reactor, ReactorBase) else None


def _is_epoll(reactor: Any) -> bool:
    module: Any = sys.modules.get("twisted.internet.epollreactor")
    return module is not None and isinstance(reactor, module.EPollReactor)


def _stop_asyncio(loop: Any) -> None:
    # uvloop does not expose the calls that are due.
    if isinstance(loop, asyncio.BaseEventLoop) and READY_CALLS.value is not None:
        READY_CALLS.value(loop).clear()
    loop.call_soon(end_fork)
    # What calls tasks of asyncio, whose steps have no frame of their own.
    callers = (AsyncioSelectorReactor.run.__code__, HANDLE_RUN.value)
    call_soon = loop.call_soon

    def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        # Called by a task that is done, or is to be resumed later. libuv polls before
        # it calls anything else, and aborts: the descriptors that it polls are closed.
        if sys._getframe(1).f_code in callers:  # noqa: SLF001 - documented
            end_fork(_failure_of(args[0]) if args else None)
        return call_soon(function, *args, **kwargs)

    loop.call_soon = call


def _failure_of(future: Any) -> Failure | None:
    """Return the failure of a task that is done; None if it has not failed."""
    is_done = isinstance(future, asyncio.Future) and future.done()
    error = future.exception() if is_done and not future.cancelled() else None
    return None if error is None else Failure(error)


def _returned(*_: object) -> None:
    end_fork()


def _reset_signals() -> None:
    """Restore the handlers with which a Python program starts."""
    signal.set_wakeup_fd(-1)
    faulthandler.unregister(signal.SIGUSR2)
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        module = getattr(handler, "__module__", None) or ""
        if module.partition(".")[0] not in _PACKAGES:
            continue
        is_interrupt = number == signal.SIGINT
        usual = signal.default_int_handler if is_interrupt else signal.SIG_DFL
        signal.signal(number, usual)


def _release_sockets() -> None:
    """
    Close our descriptors.

    Each number remains in use, for /dev/null: forked objects will close it at some
    time, and it must not be a descriptor of the application's by then.
    """
    numbers = set(owned())
    numbers |= set(_connections(numbers))
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in numbers:
        os.dup2(nothing, number, inheritable=False)
    os.close(nothing)


def _connections(ours: set[int]) -> Iterator[int]:
    """
    Return the connections of our sockets; found here, they cost nothing before a fork.

    An accepted connection has the port, or the path, of its listening socket. The
    processes of a cluster connect to the Unix sockets of the core and the workers, in
    the folder where this process has one.
    """
    own_places = {here for _, here, _ in socket_addresses(ours) if here}
    folders = {Path(each).parent for each in own_places if isinstance(each, str)}
    for number, here, there in socket_addresses(_open_descriptors() - ours):
        is_accepted = here in own_places
        if is_accepted or (isinstance(there, str) and _is_private(there, folders)):
            yield number


def _is_private(path: str, folders: Container[Path]) -> bool:
    name = Path(path).name
    return Path(path).parent in folders and _PRIVATE.fullmatch(name) is not None


def _open_descriptors() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208
