"""The reactor of a child process: Twisted's asyncio reactor on a uvloop event loop."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.main import installReactor
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.private_names.reactors import with_read_hook
from clusterapp.system import forks
from clusterapp.system.forks import suspended
from clusterapp.worker.process_exits import reap_when_exited

_log = Logger()


class ChildReactor(AsyncioSelectorReactor):
    """
    The asyncio reactor, with exits of processes noticed through a pidfd each.

    It runs on when asyncio would stop: after a SystemExit or KeyboardInterrupt in a
    task or callback of the application, which is one request's failure.

    :param event_loop: the event loop that it runs on.
    """

    def __init__(self, event_loop: asyncio.AbstractEventLoop) -> None:
        self.event_loop = event_loop
        super().__init__(event_loop)

    def run(self, installSignalHandlers: bool = True) -> None:
        """Run until the reactor or the event loop is stopped."""
        run: Callable[[], None] = partial(super().run, installSignalHandlers)
        while not self._returns(run):
            # All that the interrupted turn has not called is still scheduled.
            run = self.event_loop.run_forever

    @staticmethod
    def _returns(run: Callable[[], None]) -> bool:
        try:
            run()
        except (SystemExit, KeyboardInterrupt) as error:
            failure = Failure()
            if forks.is_fork:
                forks.end_fork(failure)
            _log.failure(
                "{error} in an asyncio task or callback: nothing else ends",
                failure,
                error=type(error).__name__,
            )
            return False
        return True

    def spawnProcess(self, *args: Any, **kwargs: Any) -> IProcessTransport:
        """Start a process, and have Twisted reap it once it has exited."""
        with suspended():
            process: IProcessTransport = super().spawnProcess(*args, **kwargs)
        reap_when_exited(self.event_loop, process)
        return process


class UvloopReactor(ChildReactor):
    """
    The asyncio reactor for uvloop, with each descriptor registered anew after a read.

    libuv stops watching a descriptor on which it has seen an error. If bytes and a
    reset arrive in one poll, Twisted reads the bytes and would not be notified of the
    reset.
    """

    def after_read(self, selectable: Any) -> None:
        """Called after each read: register a descriptor that is still read anew."""
        if selectable in self.getReaders():
            self.removeReader(selectable)
            self.addReader(selectable)


def install() -> None:
    """Install the reactor on uvloop, or on asyncio's own loop if uvloop is missing."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:  # uvloop is not available for this platform
        _install_on(asyncio.new_event_loop(), ChildReactor)
    else:
        _install_on(uvloop.new_event_loop(), with_read_hook(UvloopReactor))


def _install_on(loop: asyncio.AbstractEventLoop, kind: type[ChildReactor]) -> None:
    # The reactor does not set the current event loop. Code that calls
    # asyncio.get_event_loop() before the reactor runs would get another loop, which
    # never runs.
    asyncio.set_event_loop(loop)
    installReactor(kind(loop))
