"""Adapter from a pull producer to a push producer, paced by the client."""

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
    Push producer that calls a pull producer once in each turn of the reactor.

    :param producer: an `IPullProducer`; it need not declare the interface.
    :param clock: the reactor.
    :param failed: called when the producer has raised an exception; the producer is
        not called again.
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
        """
        Start calling the producer in the next reactor turn, unless paused.

        :param paused: whether the client reads too slowly now.
        """
        if not paused:
            self.resumeProducing()

    def pauseProducing(self) -> None:
        """Stop calling the producer for now."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def resumeProducing(self) -> None:
        """Call the producer in each turn of the reactor."""
        if self._next is None:
            self._next = self._clock.callLater(0, self._ask)

    def stopProducing(self) -> None:
        """Stop, and call the producer's stopProducing: its data is not needed."""
        self.stop()
        self._producer.stopProducing()

    def stop(self) -> None:
        """Stop calling the producer."""
        self.pauseProducing()

    @guarded("ask a producer for more")
    def _ask(self) -> None:
        # Scheduled before the producer is called, since it may pause or stop this
        # object.
        self._next = self._clock.callLater(0, self._ask)
        try:
            self._producer.resumeProducing()
        except Exception:  # noqa: BLE001 - ends the response, and is logged
            self.stop()
            self._failed(Failure())
