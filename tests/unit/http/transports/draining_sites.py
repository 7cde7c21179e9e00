"""A site that drains, and another that takes its connections, on each loop."""

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from clusterapp.channel.fd_claims import OfferedSocket
from clusterapp.http.site import ClusterSite
from clusterapp.http.transports.asyncio_server import AsyncioServer
from tests.unit.http.native_sites import Client, NativeCase, Scripted

CLOSE = b"\r\nConnection: close\r\n"


class TakingWorker:
    """
    Another process, as far as the site can tell: another site in this one.

    :param case: the test.
    """

    def __init__(self, case: NativeCase) -> None:
        self.site = ClusterSite(case.clock, Scripted(), limits=case.limits)
        self.server = AsyncioServer(case.loop, self.site, listener=case.listener)
        self.taken = 0
        #: By which listener each connection has come.
        self.listeners: list[str] = []
        #: Duplicates of what is not answered at once.
        self.kept: list[socket.socket] = []
        #: What the next connections are answered; True takes them.
        self.answer: Deferred[bool] | bool = True
        #: Whether what is not answered at once is claimed at once.
        self.claims = False

    def hand_over(self, connection: socket.socket, listener: str) -> Deferred[bool]:
        """Take a duplicate, as a channel would bring it."""
        self.listeners.append(listener)
        answer: Deferred[bool] = Deferred()
        if self.answer is True:
            self.taken += 1
            self.server.adopt(connection.dup())
            answer.callback(True)
        elif self.answer is False:
            answer.callback(False)
        else:
            if self.claims:
                assert isinstance(connection, OfferedSocket)
                assert connection.claim()
            self.kept.append(connection.dup())
            self.answer.addCallbacks(_copying(answer.callback), answer.errback)
        return answer

    def take(self) -> None:
        """Accept the connection that is kept, and serve it."""
        assert isinstance(self.answer, Deferred)
        self.server.adopt(self.kept.pop())
        self.answer.callback(True)

    def refuse(self, error: Exception | None = None) -> None:
        """Refuse the connection that is kept, or fail with an error."""
        assert isinstance(self.answer, Deferred)
        self.kept.pop().close()
        if error is None:
            self.answer.callback(False)
        else:
            self.answer.errback(error)


class LeavingCase(NativeCase):
    """A site that drains, and one that takes its connections."""

    listener = "1 tcp:81"

    async def greeted(self) -> Client:
        """Connect a client, and answer its first request."""
        client = await self.client()
        await client.get("/hi")
        await client.until(b"hi")
        return client

    async def leave(self, taker: TakingWorker, spread: float = 0.0) -> Any:
        """Begin to drain."""
        await self.turns()
        return self.site.drain(spread=spread, hand_over=taker.hand_over)

    async def offered(
        self, spread: float = 0.0, *, claims: bool = False
    ) -> tuple[TakingWorker, Client, Any]:
        """
        Offer an idle connection to a worker that does not answer at once.

        :param claims: whether that worker claims the connection at once.
        :return: the worker, the client, and what `leave` returns.
        """
        taker = TakingWorker(self)
        taker.answer = Deferred()
        taker.claims = claims
        client = await self.greeted()
        return taker, client, await self.leave(taker, spread)

    async def assert_kept_alive(self, client: Client) -> None:
        """Assert that a request is answered without closing the connection."""
        await client.get("/hi")
        self.assertNotIn(b"close", await client.until(b"\r\n\r\nhi"))

    async def assert_last_response(self, client: Client) -> None:
        """Assert that a request is answered, and the connection closed after it."""
        await client.get("/hi")
        self.assertIn(CLOSE, await client.rest())

    async def end(self, taker: TakingWorker) -> None:
        """Close all connections, those of the taking worker included."""
        for client in self.clients:
            client.goes()
        taker.site.abort()
        await self.so(lambda: not taker.site.connections)
        self.clock.advance(1)


def _copying(hear: Callable[[bool], None]) -> Callable[[bool], bool]:
    def pass_on(result: bool) -> bool:
        hear(result)
        return result

    return pass_on
