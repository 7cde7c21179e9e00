"""The part of the reactor interface that listeners need, on the worker's event loop."""

import asyncio
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime, IReadDescriptor


class LoopReaders:
    """
    Registers readers with the event loop itself, without the reactor's own dispatch.

    :param loop: the event loop.
    :param clock: the reactor's clock.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: IReactorTime) -> None:
        self._loop = loop
        self._clock = clock

    def addReader(self, reader: IReadDescriptor) -> None:
        """Call a reader's `doRead` whenever its descriptor is readable."""
        self._loop.add_reader(reader.fileno(), reader.doRead)

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Stop watching the descriptor of a reader."""
        self._loop.remove_reader(reader.fileno())

    @property
    def callLater(self) -> Callable[..., IDelayedCall]:
        """The method that schedules a call after some seconds."""
        return self._clock.callLater
