"""Session affinity: which worker serves a client's requests, as the site sees it."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Protocol

from clusterapp.http.exchange.exchange import Exchange
from clusterapp.http.server.server_interfaces import Channel

if TYPE_CHECKING:
    from clusterapp.http.syntax.request_head import Head

#: A handler that responds to a request, given its exchange.
Take = Callable[[Exchange], object]


class SessionAffinity(Protocol):
    """Chooses the requests that another worker must serve."""

    @property
    def listeners(self) -> AbstractSet[str]:
        """The names of the listeners that have session affinity."""

    def receive(self, head: "Head", connection: Channel) -> tuple[Take | None, bytes]:
        """
        Return which worker is to serve a request.

        :param head: the request head.
        :param connection: the request's connection, from a listener in `listeners`.
        :return: the handler that relays the request to another worker, or None if it is
            served here; and header lines for a response made here, which identify the
            client later.
        """
