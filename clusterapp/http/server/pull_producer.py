"""A pull producer, driven at the pace of the client."""

from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import (
    IDelayedCall,
    IProducer,
    IPullProducer,
    IReactorTime,
)
from twisted.python.failure import Failure

from clusterapp.guards import guarded


class Pulling:
    """
    Asks a pull producer for more, once in each turn of the reactor.

    To a connection it is a push producer.

    :param producer: an `IPullProducer`; it need not declare that.
    :param clock: the reactor.
    :param failed: called when the producer has raised an exception; it is asked for
        nothing more then.
    """

    def __init__(
        self,
        producer: IProducer,
        clock: IReactorTime,
        failed: Callable[[Failure], object],
    ) -> None:
        self._producer = cast("IPullProducer", producer)
        self._clock = clock
        self._failed = failed
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
        self._producer.stopProducing()

    def stop(self) -> None:
        """Ask for nothing more."""
        self.pauseProducing()

    @guarded("ask a producer for more")
    def _ask(self) -> None:
        # Set before the producer is asked: it may pause or stop us.
        self._next = self._clock.callLater(0, self._ask)
        try:
            self._producer.resumeProducing()
        except Exception:  # noqa: BLE001 - it ends the response, and is logged
            self.stop()
            self._failed(Failure())
