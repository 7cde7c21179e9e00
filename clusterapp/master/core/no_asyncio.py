"""Refusing asyncio in a master whose reactor does not run on it."""

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

#: What asyncio says where no loop runs, and where Twisted is to await a future.
_SAID = frozenset({"no running event loop", "await wasn't used with future"})

#: What schedules nothing, so that nobody would wait for it for ever.
_HARMLESS = frozenset({"is_running", "is_closed", "run_until_complete"})


class NoAsyncioError(RuntimeError):
    """Code of the core uses asyncio, in a master that has no event loop for it."""


class NoLoop(asyncio.AbstractEventLoop):
    """
    An event loop that never runs, and refuses what would wait for it.

    ``run_until_complete`` blocks until it is done, on a loop of its own.
    """

    def __getattribute__(self, name: str) -> Any:
        """Refuse all but what is harmless."""
        if name in _HARMLESS:
            return super().__getattribute__(name)
        raise NoAsyncioError(CURE)

    def is_running(self) -> bool:
        """Return False."""
        return False

    def is_closed(self) -> bool:
        """Return False."""
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
    Have code that uses asyncio fail at once, and name the cure.

    Without it a future would be awaited on an event loop that never runs.

    :param reactor: the reactor of this process; nothing is done if it is an asyncio
        reactor, or none that runs a process.
    """
    has_asyncio = isinstance(reactor, AsyncioSelectorReactor)
    if has_asyncio or not isinstance(reactor, PosixReactorBase):
        return
    # Only typeshed takes the class for an abstract one.
    asyncio.set_event_loop(NoLoop())  # type: ignore[abstract]
    globalLogPublisher.addObserver(explain)


@provider(ILogObserver)
def explain(event: LogEvent) -> None:
    """Name the cure behind an exception in which asyncio itself says what is wrong."""
    failure = event.get("log_failure")
    if failure is None or not isinstance(failure.value, RuntimeError):
        return
    if str(failure.value) in _SAID:
        _log.error("{cure}", cure=CURE)
