"""Refusal of asyncio in a master whose reactor does not run on asyncio."""

import asyncio
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from zope.interface import provider

_log = Logger()

CURE = (
    "the core runs in the master, whose reactor has no asyncio event loop: run the core"
    " with --core isolated, where it has the workers' loop, or the master with"
    " twistd --reactor asyncio"
)

#: The messages of asyncio without running loop, and when Twisted awaits a future.
_SAID = frozenset({"no running event loop", "await wasn't used with future"})

#: Methods that schedule nothing, so that no caller would wait for ever.
_HARMLESS = frozenset({"is_running", "is_closed", "run_until_complete"})


class NoAsyncioError(RuntimeError):
    """Raised when code of the core uses asyncio in a master without event loop."""


class NoLoop(asyncio.AbstractEventLoop):
    """
    An event loop that never runs, and refuses calls that would wait for it.

    ``run_until_complete`` works: it blocks, on a loop of its own.
    """

    def __getattribute__(self, name: str) -> Any:
        """Raise `NoAsyncioError`, except for harmless methods."""
        if name in _HARMLESS:
            return super().__getattribute__(name)
        raise NoAsyncioError(CURE)

    def is_running(self) -> bool:
        """Return False: this loop never runs."""
        return False

    def is_closed(self) -> bool:
        """Return False: this loop is never closed."""
        return False

    def run_until_complete(self, future: Any) -> Any:
        """Run a coroutine on a new event loop, and return its result."""
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(future)
        finally:
            loop.close()


def refuse_asyncio(reactor: Any) -> None:
    """
    Make uses of asyncio fail at once, with an error that names the cure.

    Otherwise a future would be awaited on an event loop that never runs.

    :param reactor: the reactor of this process; nothing is done if it is an asyncio
        reactor, or not one that runs a process.
    """
    has_asyncio = isinstance(reactor, AsyncioSelectorReactor)
    if has_asyncio or not isinstance(reactor, PosixReactorBase):
        return
    # The class is abstract only in typeshed.
    asyncio.set_event_loop(NoLoop())  # type: ignore[abstract]
    globalLogPublisher.addObserver(explain)


@provider(ILogObserver)
def explain(event: LogEvent) -> None:
    """Log the cure after an exception by which asyncio itself reports the problem."""
    failure = event.get("log_failure")
    if failure is None or not isinstance(failure.value, RuntimeError):
        return
    if str(failure.value) in _SAID:
        _log.error("{cure}", cure=CURE)
