"""Sink that discards the rest of a request body that is not needed."""

from clusterapp.http.connection_limits import DISCARD_LIMIT
from clusterapp.http.server.interfaces import Channel
from clusterapp.interfaces import Fields


class Discard:
    """
    Sink that discards the rest of a request body, up to `DISCARD_LIMIT`.

    :param connection: the connection that the body is received on.
    """

    def __init__(self, connection: Channel) -> None:
        self._connection = connection
        self._discarded = 0

    def received(self, piece: bytes) -> None:
        """Discard a piece of the body, and notify the connection above the bound."""
        self._discarded += len(piece)
        if self._discarded > DISCARD_LIMIT:
            self._connection.too_much_to_discard()

    def completed(self, _trailers: Fields) -> None:
        """Called when the body is complete: notify the connection."""
        self._connection.body_discarded()
