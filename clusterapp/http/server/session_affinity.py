"""Who is to serve a client that belongs to one worker: what a site asks."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Protocol

from clusterapp.http.exchange.exchange import Exchange

if TYPE_CHECKING:
    from clusterapp.http.server.connection import Connection
    from clusterapp.http.syntax.request_head import Head

#: Responds to a request.
Take = Callable[[Exchange], object]


class SessionAffinity(Protocol):
    """Knows which of the clients that come here belong elsewhere."""

    @property
    def doors(self) -> AbstractSet[str]:
        """The names of the listeners whose clients belong to a worker each."""

    def receive(
        self, head: "Head", connection: "Connection"
    ) -> tuple[Take | None, bytes]:
        """
        Tell where a request is to be served.

        :param head: the request's head.
        :param connection: what it has come by; its door is one of `doors`.
        :return: who takes it to another worker, None if it is served here; and lines
            for the head of a response that is made here, which make its client known.
        """
