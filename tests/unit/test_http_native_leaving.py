"""Idle connections that another process takes, with real sockets on each loop."""

import asyncio
import socket
from typing import Any

from twisted.internet.defer import Deferred

from clusterapp.http.native_server import NativeServer
from clusterapp.http.site import ClusterSite
from tests.unit.native_sites import Client, NativeCase, Scripted, on_each_loop

CLOSE = b"\r\nConnection: close\r\n"


class Heir:
    """
    Another process, as far as the site can tell: another site in this one.

    :param case: the test.
    """

    def __init__(self, case: NativeCase) -> None:
        self.site = ClusterSite(case.clock, Scripted(), limits=case.limits)
        self.server = NativeServer(case.loop, self.site)
        self.taken = 0
        #: Duplicates of what is not answered at once.
        self.kept: list[socket.socket] = []
        #: What the next connections are answered; True takes them.
        self.answer: Deferred[bool] | bool = True

    def hand_over(self, connection: socket.socket) -> Deferred[bool]:
        """Take a duplicate, as a channel would bring it."""
        answer: Deferred[bool] = Deferred()
        if self.answer is True:
            self.taken += 1
            self.server.adopt(connection.dup())
            answer.callback(True)
        elif self.answer is False:
            answer.callback(False)
        else:
            self.kept.append(connection.dup())
            self.answer.chainDeferred(answer)
        return answer


class LeavingTests(NativeCase):
    """A site that drains, and one that takes its connections."""

    async def greeted(self) -> Client:
        """Connect a client, and answer its first request."""
        client = await self.client()
        await client.get("/hi")
        await client.until(b"hi")
        return client

    async def leave(self, heir: Heir, spread: float = 0.0) -> Any:
        """Begin to drain."""
        await self.turns()
        return self.site.drain(spread=spread, hand_over=heir.hand_over)

    async def end(self, heir: Heir) -> None:
        """Let the heir's connections end, too."""
        for client in self.clients:
            client.goes()
        heir.site.abort()
        await self.so(lambda: not heir.site.connections)
        self.clock.advance(1)

    @on_each_loop
    async def test_client_notices_nothing(self) -> None:
        """Neither an end nor a word of it: the next request is answered elsewhere."""
        heir = Heir(self)
        client = await self.greeted()
        drained = await self.leave(heir)
        await self.so(lambda: drained.called)
        self.assertEqual(heir.taken, 1)
        await self.turns()
        with self.assertRaises(BlockingIOError):
            client.socket.recv(1)
        await client.get("/hi", "/hi")
        for _ in range(2):
            self.assertNotIn(b"close", await client.until(b"\r\n\r\nhi"))
        self.assertEqual(heir.site.requests, 2)
        await self.end(heir)

    @on_each_loop
    async def test_bytes_that_come_meanwhile(self) -> None:
        """They are left in the kernel for the next process."""
        heir = Heir(self)
        heir.answer = Deferred()
        client = await self.greeted()
        drained = await self.leave(heir)
        await client.get("/hi")
        await self.turns()
        self.assertEqual(self.site.requests, 1)
        self.assertFalse(drained.called)
        heir.server.adopt(heir.kept.pop())
        heir.answer.callback(True)
        self.assertNotIn(b"close", await client.until(b"\r\n\r\nhi"))
        await self.so(lambda: drained.called)
        await self.end(heir)

    @on_each_loop
    async def test_nobody_takes_it(self) -> None:
        """It is read again, and the next response says that it closes."""
        heir = Heir(self)
        heir.answer = False
        client = await self.greeted()
        drained = await self.leave(heir, spread=100.0)
        await self.turns()
        await client.get("/hi")
        self.assertIn(CLOSE, await client.rest())
        await self.so(lambda: drained.called)

    @on_each_loop
    async def test_channel_breaks(self) -> None:
        heir = Heir(self)
        heir.answer = Deferred()
        client = await self.greeted()
        drained = await self.leave(heir)
        heir.kept.pop().close()
        heir.answer.errback(ConnectionError("no channel"))
        self.assertEqual(await client.rest(), b"")
        await self.so(lambda: drained.called)

    @on_each_loop
    async def test_time_is_over_meanwhile(self) -> None:
        """What is broken off here is not reset under the other process's hands."""
        heir = Heir(self)
        heir.answer = Deferred()
        client = await self.greeted()
        drained = await self.leave(heir)
        await self.turns()
        self.site.abort()
        await self.so(lambda: drained.called)
        [kept] = heir.kept
        heir.answer.callback(False)
        await self.loop.sock_sendall(kept, b"on")
        kept.close()
        self.assertEqual(await client.rest(), b"on")

    @on_each_loop
    async def test_new_connection(self) -> None:
        """One that has brought nothing is taken as well."""
        heir = Heir(self)
        client = await self.client()
        await self.turns()
        if self.asks_first:
            client.accepted()
        drained = await self.leave(heir)
        await self.so(lambda: drained.called)
        await client.get("/hi")
        self.assertNotIn(b"close", await client.until(b"\r\n\r\nhi"))
        self.assertEqual((heir.taken, heir.site.requests), (1, 1))
        await self.end(heir)

    @on_each_loop
    async def test_connection_that_is_being_made(self) -> None:
        """The loop has not made its transport when the drain begins."""
        heir = Heir(self)
        client = await self.greeted()
        drained = self.site.drain(spread=100.0, hand_over=heir.hand_over)
        await self.so(lambda: drained.called)
        await client.get("/hi")
        self.assertNotIn(b"close", await client.until(b"\r\n\r\nhi"))
        await self.end(heir)

    @on_each_loop
    async def test_request_under_way(self) -> None:
        """Its response says that the connection closes."""
        heir = Heir(self)
        client = await self.client()
        await client.get("/slow")
        await self.so(lambda: self.resource.requests)
        drained = await self.leave(heir)
        await self.turns()
        self.assertEqual(heir.taken, 0)
        self.resource.requests[0].finish()
        self.assertIn(CLOSE, await client.rest())
        await self.so(lambda: drained.called)

    @on_each_loop
    async def test_response_under_way(self) -> None:
        """What it has promised is kept: the connection goes on, elsewhere."""
        heir = Heir(self)
        client = await self.client()
        await client.get("/slow")
        await self.so(lambda: self.resource.requests)
        self.resource.requests[0].write(b"a")
        await client.until(b"a")
        drained = await self.leave(heir)
        await self.turns()
        self.resource.requests[0].write(b"b")
        self.resource.requests[0].finish()
        await client.until(b"b\r\n0\r\n\r\n")
        await self.so(lambda: drained.called)
        await client.get("/hi")
        self.assertNotIn(b"close", await client.until(b"\r\n\r\nhi"))
        await self.end(heir)

    @on_each_loop
    async def test_half_a_head(self) -> None:
        """It has been read by this process, which answers it."""
        heir = Heir(self)
        client = await self.greeted()
        await client.send(b"GET /hi HT")
        drained = await self.leave(heir)
        await self.turns()
        await client.send(b"TP/1.1\r\nHost: h\r\n\r\n")
        self.assertIn(CLOSE, await client.rest())
        self.assertEqual(heir.taken, 0)
        await self.so(lambda: drained.called)

    @on_each_loop
    async def test_clients_that_ask_all_the_time(self) -> None:
        """Two hundred of them: every request is answered, on the same connections."""
        heir = Heir(self)
        asked = 0

        async def ask(client: Client) -> None:
            nonlocal asked
            for _ in range(6):
                await client.get("/hi")
                await client.until(b"\r\n\r\nhi")
                asked += 1

        clients = [await self.client() for _ in range(200)]
        asking = asyncio.gather(*map(ask, clients))
        await self.so(lambda: asked > 300)
        drained = self.site.drain(spread=100.0, hand_over=heir.hand_over)
        closed = 0
        for result in await asyncio.gather(asking, return_exceptions=True):
            self.assertNotIsInstance(result, BaseException)
        await self.so(lambda: drained.called)
        self.assertEqual(closed, 0)
        self.assertEqual(self.site.requests + heir.site.requests, 1200)
        self.assertGreater(heir.taken, 0)
        await self.end(heir)


class AdoptTests(NativeCase):
    """Connections that another process has accepted."""

    @on_each_loop
    async def test_socketpair(self) -> None:
        """The master asks a worker on trial over one."""
        ours, theirs = socket.socketpair()
        client = Client(self.loop, ours)
        self.clients.append(client)
        NativeServer(self.loop, self.site).adopt(theirs)
        await client.get("/hi")
        await client.until(b"\r\n\r\nhi")

    @on_each_loop
    async def test_client_that_is_gone(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            accepted, _ = listening.accept()
        Client(self.loop, client).resets()
        NativeServer(self.loop, self.site).adopt(accepted)
        await self.so(lambda: not self.site._connections)
        self.assertEqual(accepted.fileno(), -1)
