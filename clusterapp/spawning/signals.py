"""
Signals of the master that its children receive as well.

A terminal, ``systemctl kill`` and ``kill -- -PGID`` send a signal to the whole process
group, and only the master may act on those that start an operation. Its children catch
them and do nothing. They do not ignore them: exec(2) keeps ignored signals ignored, so
a program that a worker starts could not be interrupted (signal(7)).
"""

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: INT and QUIT stop, HUP reloads, TTIN and TTOU scale, USR1 reopens logs.
OF_THE_MASTER = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
)

#: A frame contains the processor's registers, up to 11 KiB of them. The stack is never
#: freed.
_signal_stack = ctypes.create_string_buffer(256 * 1024)

#: USR2 upgrades the master; a child dumps its stacks.
_HELD_BACK = (*OF_THE_MASTER, signal.SIGUSR2)


def do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the handler in children for the master's signals."""


@contextmanager
def held_back() -> Iterator[None]:
    """
    Block the master's signals while a child is started (in the master).

    The child inherits the mask over exec(2), so none of these signals can end it before
    it has called `leave_to_master`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_to_master() -> None:
    """
    Handle the master's signals by doing nothing from now on (in a child).

    The child's handler for USR2 is installed by then: signals that `held_back` has
    blocked are delivered now.
    """
    _enlarge_signal_stack()
    for number in OF_THE_MASTER:
        signal.signal(number, do_nothing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)


class _SignalStack(ctypes.Structure):
    """The structure ``stack_t`` of sigaltstack(2)."""

    _fields_ = (
        ("ss_sp", ctypes.c_void_p),
        ("ss_flags", ctypes.c_int),
        ("ss_size", ctypes.c_size_t),
    )


def _enlarge_signal_stack() -> None:
    """
    Set a signal stack for this thread with room for all signals at once.

    Python's handlers run on the stack that faulthandler has set up (SA_ONSTACK), which
    has room for about three signals, and lies on the heap: four that arrive at the same
    time would overwrite other memory.
    """
    memory = _signal_stack
    stack = _SignalStack(ctypes.addressof(memory), 0, len(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.sigaltstack(ctypes.byref(stack), None):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
