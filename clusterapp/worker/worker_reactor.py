"""The reactor of a child: Twisted's asyncio reactor, on a uvloop loop."""

import asyncio
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.main import installReactor

from clusterapp.forks import suspended
from clusterapp.worker.process_exits import reap_when_exited


class ChildReactor(AsyncioSelectorReactor):
    """The asyncio reactor, which hears of every process that it has started."""

    def spawnProcess(self, *args: Any, **kwargs: Any) -> IProcessTransport:
        """Start a process, and reap it when it has exited."""
        with suspended():
            process: IProcessTransport = super().spawnProcess(*args, **kwargs)
        reap_when_exited(self._asyncioEventloop, process)
        return process


class UvloopReactor(ChildReactor):
    """
    The asyncio reactor, for a loop on libuv.

    libuv stops watching a descriptor on which it has seen an error. If bytes and a
    reset come together, Twisted reads the bytes, and would never hear of the reset.
    """

    def _readOrWrite(self, selectable: Any, read: bool) -> None:
        super()._readOrWrite(selectable, read)
        if read and selectable in self._readers:
            self.removeReader(selectable)
            self.addReader(selectable)


def install() -> None:
    """Install the fastest reactor that a child can have on this platform."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:  # not made for this platform
        _install_on(asyncio.new_event_loop(), ChildReactor)
    else:
        _install_on(uvloop.new_event_loop(), UvloopReactor)


def _install_on(loop: asyncio.AbstractEventLoop, kind: type[ChildReactor]) -> None:
    # The reactor does not do this, and what asks asyncio for the current loop
    # before the reactor runs would wait on another one for ever.
    asyncio.set_event_loop(loop)
    installReactor(kind(loop))
