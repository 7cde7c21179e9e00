"""A pull producer, driven at the pace of the client."""

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IProducer, IReactorTime

if TYPE_CHECKING:
    from collections.abc import Callable


class Pulling:
    """
    Asks a pull producer for more, once in each turn of the reactor.

    To a connection it is a push producer.

    :param producer: an `IPullProducer`: it has `resumeProducing` alone.
    :param clock: the reactor.
    """

    def __init__(self, producer: IProducer, clock: IReactorTime) -> None:
        self._pull: Callable[[], object] = producer.resumeProducing  # type: ignore[attr-defined]
        self._stop = producer.stopProducing
        self._clock = clock
        self._next: IDelayedCall | None = None

    def start(self, *, paused: bool) -> None:
        """Begin with the next turn, unless the client is not ready for it."""
        if not paused:
            self.resumeProducing()

    def pauseProducing(self) -> None:
        """Ask for nothing more for now."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def resumeProducing(self) -> None:
        """Ask for more, again and again."""
        if self._next is None:
            self._next = self._clock.callLater(0, self._ask)

    def stopProducing(self) -> None:
        """Tell the producer that nobody wants the rest."""
        self.stop()
        self._stop()

    def stop(self) -> None:
        """Ask for nothing more."""
        self.pauseProducing()

    def _ask(self) -> None:
        # Set before the producer is asked: it may pause or stop us.
        self._next = self._clock.callLater(0, self._ask)
        self._pull()
