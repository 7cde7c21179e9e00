"""Idle connections that another process takes, with real sockets on each loop."""

import asyncio
import socket

from twisted.internet.defer import Deferred

from clusterapp.http.access_log.access_record import AccessRecord
from clusterapp.http.transports.asyncio_server import AsyncioServer
from tests.unit.http.native_sites import Client, NativeCase, on_each_loop, pair
from tests.unit.http.transports.draining_sites import CLOSE, LeavingCase, TakingWorker


class Noting:
    """Notes what is answered."""

    def __init__(self, noted: list[AccessRecord]) -> None:
        self.record = noted.append


class LeavingTests(LeavingCase):
    """What becomes of idle connections, and of those that are not."""

    @on_each_loop
    async def test_client_notices_nothing(self) -> None:
        """Neither an end nor a word of it: the next request is answered elsewhere."""
        taker = TakingWorker(self)
        client = await self.greeted()
        drained = await self.leave(taker)
        await self.so(lambda: drained.called)
        self.assertEqual((taker.taken, taker.listeners), (1, [self.listener]))
        await self.turns()
        with self.assertRaises(BlockingIOError):
            client.socket.recv(1)
        await client.get("/hi", "/hi")
        for _ in range(2):
            self.assertNotIn(b"close", await client.until(b"\r\n\r\nhi"))
        self.assertEqual(taker.site.requests, 2)
        await self.end(taker)

    @on_each_loop
    async def test_bytes_that_come_meanwhile(self) -> None:
        """They are left in the kernel for the next process."""
        taker, client, drained = await self.offered()
        await client.get("/hi")
        await self.turns()
        self.assertEqual(self.site.requests, 1)
        self.assertFalse(drained.called)
        taker.take()
        self.assertNotIn(b"close", await client.until(b"\r\n\r\nhi"))
        await self.so(lambda: drained.called)
        await self.end(taker)

    @on_each_loop
    async def test_nobody_takes_it(self) -> None:
        """It is read again, and the next response says that it closes."""
        taker = TakingWorker(self)
        taker.answer = False
        client = await self.greeted()
        drained = await self.leave(taker, spread=100.0)
        await self.turns()
        await self.assert_last_response(client)
        await self.so(lambda: drained.called)

    @on_each_loop
    async def test_channel_breaks(self) -> None:
        taker, client, drained = await self.offered()
        taker.refuse(ConnectionError("no channel"))
        await self.later(1)  # for a request that may have come
        self.assertEqual(await client.rest(), b"")
        await self.so(lambda: drained.called)

    @on_each_loop
    async def test_time_is_over_meanwhile(self) -> None:
        """What is broken off here is not reset under the other process's hands."""
        taker = TakingWorker(self)
        taker.answer = Deferred()
        client = await self.greeted()
        drained = await self.leave(taker)
        await self.turns()
        self.site.abort()
        await self.so(lambda: drained.called)
        [kept] = taker.kept
        taker.answer.callback(False)
        await self.loop.sock_sendall(kept, b"on")
        kept.close()
        self.assertEqual(await client.rest(), b"on")

    @on_each_loop
    async def test_new_connection(self) -> None:
        """One that has brought nothing is taken as well."""
        taker = TakingWorker(self)
        client = await self.client()
        await self.turns()
        if self.asks_first:
            client.accepted()
        drained = await self.leave(taker)
        await self.so(lambda: drained.called)
        await self.assert_kept_alive(client)
        self.assertEqual((taker.taken, taker.site.requests), (1, 1))
        await self.end(taker)

    @on_each_loop
    async def test_connection_that_is_being_made(self) -> None:
        """The loop has not made its transport when the drain begins."""
        taker = TakingWorker(self)
        client = await self.greeted()
        drained = self.site.drain(hand_over=taker.hand_over)
        await self.so(lambda: drained.called)
        self.assertEqual(taker.taken, 1)
        await self.assert_kept_alive(client)
        await self.end(taker)

    @on_each_loop
    async def test_request_under_way(self) -> None:
        """Its response says that the connection closes."""
        taker = TakingWorker(self)
        client = await self.client()
        await client.get("/slow")
        await self.so(lambda: self.resource.requests)
        drained = await self.leave(taker)
        await self.turns()
        self.assertEqual(taker.taken, 0)
        self.resource.requests[0].finish()
        self.assertIn(CLOSE, await client.rest())
        await self.so(lambda: drained.called)

    @on_each_loop
    async def test_response_under_way(self) -> None:
        """What it has promised is kept: the connection goes on, elsewhere."""
        taker = TakingWorker(self)
        client = await self.client()
        await client.get("/slow")
        await self.so(lambda: self.resource.requests)
        self.resource.requests[0].write(b"a")
        await client.until(b"a")
        drained = await self.leave(taker)
        await self.turns()
        self.resource.requests[0].write(b"b")
        self.resource.requests[0].finish()
        await client.until(b"b\r\n0\r\n\r\n")
        await self.so(lambda: drained.called)
        await self.assert_kept_alive(client)
        await self.end(taker)

    @on_each_loop
    async def test_half_a_head(self) -> None:
        """It has been read by this process, which answers it."""
        taker = TakingWorker(self)
        client = await self.greeted()
        await client.send(b"GET /hi HT")
        drained = await self.leave(taker)
        await self.turns()
        await client.send(b"TP/1.1\r\nHost: h\r\n\r\n")
        self.assertIn(CLOSE, await client.rest())
        self.assertEqual(taker.taken, 0)
        await self.so(lambda: drained.called)

    @on_each_loop
    async def test_clients_that_ask_all_the_time(self) -> None:
        """Two hundred of them: every request is answered, on the same connections."""
        taker = TakingWorker(self)
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
        drained = self.site.drain(spread=100.0, hand_over=taker.hand_over)
        for result in await asyncio.gather(asking, return_exceptions=True):
            self.assertNotIsInstance(result, BaseException)
        await self.so(lambda: drained.called)
        self.assertEqual(self.site.requests + taker.site.requests, 1200)
        self.assertGreater(taker.taken, 0)
        await self.end(taker)


class AdoptTests(NativeCase):
    """Connections that another process has accepted."""

    async def adopted(self, family: int) -> Client:
        """Return a client whose connection was accepted elsewhere."""
        near, far = pair(family)
        client = Client(self.loop, near)
        self.clients.append(client)
        AsyncioServer(self.loop, self.site).adopt(far)
        await client.get("/hi")
        await client.until(b"\r\n\r\nhi")
        return client

    @on_each_loop
    async def test_address(self) -> None:
        """The log names the client, as if it had been accepted here."""
        noted: list[AccessRecord] = []
        self.site.recorder = Noting(noted)
        for family, host in (
            (socket.AF_INET, "127.0.0.1"),
            (socket.AF_INET6, "::1"),
            (socket.AF_UNIX, "-"),  # the master asks a worker on trial over one
        ):
            client = await self.adopted(family)
            self.assertEqual(noted.pop().client, host)
            if family != socket.AF_UNIX:
                peer = self.connection().getPeer()
                self.assertEqual(peer.port, client.socket.getsockname()[1])
            client.goes()
            await self.so(lambda: not self.site.connections)

    @on_each_loop
    async def test_client_that_is_gone(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            accepted, _ = listening.accept()
        Client(self.loop, client).resets()
        AsyncioServer(self.loop, self.site).adopt(accepted)
        await self.so(lambda: not self.site.connections)
        self.assertEqual(accepted.fileno(), -1)

    @on_each_loop
    async def test_application_that_fails(self) -> None:
        """What it raises is a 500, not taken for the word of a client that has gone."""

        def fail(*_: object) -> None:
            raise OSError("disk")

        self.site.answer = fail
        near, far = pair()
        self.clients.append(Client(self.loop, near))
        near.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        AsyncioServer(self.loop, self.site).adopt(far)
        await self.turns()
        self.assertEqual(near.recv(100)[:12], b"HTTP/1.1 500")
        (failure,) = self.flushLoggedErrors(OSError)
        self.assertEqual(failure.getErrorMessage(), "disk")
