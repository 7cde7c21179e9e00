"""The rest of a request's body, when nobody wants it."""

from typing import TYPE_CHECKING

from clusterapp.http.limits import DISCARD_LIMIT
from clusterapp.interfaces import Fields

if TYPE_CHECKING:
    from clusterapp.http.server.connection import Connection


class Discard:
    """
    Throws away the rest of a body, up to a bound.

    :param connection: the connection that it comes by.
    """

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._discarded = 0

    def received(self, piece: bytes) -> None:
        """Throw a piece away."""
        self._discarded += len(piece)
        if self._discarded > DISCARD_LIMIT:
            self._connection.too_much_to_discard()

    def completed(self, _trailers: Fields) -> None:
        """Go on: it was not too much."""
        self._connection.body_discarded()
