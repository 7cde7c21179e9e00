"""Checks of the reactor that a master runs on."""

import asyncio
import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReactorProcess, IReactorSocket
from twisted.internet.selectreactor import SelectReactor

from clusterapp.errors import ReactorError
from clusterapp.private_names.reactors import event_loop_of
from clusterapp.system.descriptor_limit import raise_descriptor_limit, warn_of_low_limit

_ADVICE = "run it on epoll, select or asyncio's own event loop instead"


def check_reactor(reactor: Any) -> None:
    """
    Check that a reactor provides what a master needs.

    :raise ReactorError: if it does not; the text says what is missing.
    """
    for needed in (IReactorProcess, IReactorSocket, IReactorFDSet):
        if not needed.providedBy(reactor):
            raise ReactorError(
                f"{_name(reactor)} does not provide {needed.__name__}: {_ADVICE}"
            )
    loop = event_loop_of(reactor)
    if loop is not None and not isinstance(loop, asyncio.SelectorEventLoop):
        # uvloop takes over the descriptor by which Twisted is notified of SIGCHLD.
        raise ReactorError(
            f"the event loop {_name(loop)} does not let Twisted see child processes"
            f" exit, so a cluster cannot be supervised from it: {_ADVICE}"
        )


def check_process(reactor: Any) -> None:
    """
    Check that this process can be a master, and raise its limit of descriptors.

    :param reactor: the reactor of this process.
    :raise ReactorError: if it does not provide what a master needs.
    """
    check_reactor(reactor)
    # select(2) cannot watch descriptors beyond the usual limit.
    if not isinstance(reactor, SelectReactor):
        raise_descriptor_limit()
    warn_of_low_limit()


def check_signals(refuse: Callable[[ReactorError], object]) -> None:
    """
    Check, once the reactor runs, that it is notified of the exits of children.

    :param refuse: called with an error if the program runs it without SIGCHLD handler.
    """
    if signal.getsignal(signal.SIGCHLD) in (signal.SIG_DFL, signal.SIG_IGN):
        refuse(
            ReactorError(
                "the reactor runs without its signal handlers, so it does not see child"
                " processes exit: leave installSignalHandlers on in reactor.run"
            )
        )


def _name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
