"""Sink that discards the rest of a request body that is not needed."""

from typing import Protocol

from clusterapp.http.connection_limits import DISCARD_LIMIT
from clusterapp.interfaces import Fields


class Discarding(Protocol):
    """The requests of a connection, one of which discards its body."""

    def body_discarded(self) -> None:
        """Called when the rest of the request body has been read and discarded."""

    def too_much_to_discard(self) -> None:
        """Called when the body to discard exceeds its bound: close the connection."""


class Discard:
    """
    Sink that discards the rest of a request body, up to `DISCARD_LIMIT`.

    :param cycle: the requests of the connection that the body is received on.
    """

    def __init__(self, cycle: Discarding) -> None:
        self._cycle = cycle
        self._discarded = 0

    def received(self, piece: bytes) -> None:
        """Discard a piece of the body, and notify the cycle above the bound."""
        self._discarded += len(piece)
        if self._discarded > DISCARD_LIMIT:
            self._cycle.too_much_to_discard()

    def completed(self, _trailers: Fields) -> None:
        """Called when the body is complete: notify the cycle."""
        self._cycle.body_discarded()
