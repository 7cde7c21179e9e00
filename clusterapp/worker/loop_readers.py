"""The parts of a reactor that accepting needs, on a worker's own event loop."""

import asyncio
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime, IReadDescriptor


class LoopReaders:
    """
    Watches descriptors as a reactor does, without Twisted's detour for each event.

    :param loop: the event loop.
    :param clock: keeps the time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: IReactorTime) -> None:
        self._loop = loop
        self._clock = clock

    def addReader(self, reader: IReadDescriptor) -> None:
        """Tell a reader whenever there is something to read."""
        self._loop.add_reader(reader.fileno(), reader.doRead)

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Tell it no more."""
        self._loop.remove_reader(reader.fileno())

    @property
    def callLater(self) -> Callable[..., IDelayedCall]:
        """Call something after some seconds."""
        return self._clock.callLater
