"""Idle connections on their way to another process, when something comes between."""

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.defer import Deferred

from clusterapp.http.transports.asyncio_server import AsyncioServer
from tests.unit.http.native_sites import Client, Tls, on_each_loop, pair
from tests.unit.http.transports.draining_sites import CLOSE, LeavingCase, TakingWorker
from tests.unit.http.transports.test_file_responses import CONTENT, SIZE, FileCase


@contextmanager
def no_more_files() -> Iterator[None]:
    """Prevent this process from opening more files (getrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class LendingTests(LeavingCase):
    """Connections of TCP that are lent, or cannot be."""

    @on_each_loop
    async def test_request_that_nobody_takes(self) -> None:
        """It has come while nobody read, and is answered: the spread may be none."""
        taker, client, drained = await self.offered()
        await client.get("/hi")
        await self.turns()
        taker.refuse()
        await self.turns()
        self.assertIn(CLOSE, await client.rest())
        self.assertTrue(client.received.endswith(b"hi"))
        await self.so(lambda: drained.called)

    @on_each_loop
    async def test_lent_once(self) -> None:
        """However often it is offered: two processes would answer in turns."""
        taker = TakingWorker(self)
        taker.answer = Deferred()
        client = await self.greeted()
        drained = [await self.leave(taker), self.site.drain(), self.site.drain()]
        await self.turns()
        [kept] = taker.kept
        taker.server.adopt(kept)
        taker.answer.callback(True)
        await self.so(lambda: all(each.called for each in drained))
        await client.get("/hi")
        await client.until(b"\r\n\r\nhi")
        await self.end(taker)

    @on_each_loop
    async def test_many_that_are_being_made(self) -> None:
        """They are offered again when their transports are there, and lent once."""
        taker = TakingWorker(self)
        taker.answer = Deferred()
        clients = [await self.greeted() for _ in range(40)]
        drained = self.site.drain(spread=100.0, hand_over=taker.hand_over)
        await self.turns()
        self.assertEqual(len(taker.kept), 32)
        for kept in taker.kept:
            taker.server.adopt(kept)
        waiting, taker.answer = taker.answer, True
        waiting.callback(True)
        await self.so(lambda: drained.called)
        self.assertEqual((len(taker.kept), taker.taken), (32, 8))
        for client in clients:
            await self.assert_kept_alive(client)
        await self.end(taker)

    @on_each_loop
    async def test_request_before_its_turn(self) -> None:
        """Others are on their way: it is answered here, and the client told."""
        taker = TakingWorker(self)
        taker.answer = Deferred()
        clients = [await self.greeted() for _ in range(33)]
        await self.turns()
        drained = self.site.drain(spread=100.0, hand_over=taker.hand_over)
        # Both addresses: clients of different listeners may have the same port.
        lent = {(each.getpeername(), each.getsockname()) for each in taker.kept}
        [last] = [
            each
            for each in clients
            if (each.socket.getsockname(), each.socket.getpeername()) not in lent
        ]
        await self.assert_last_response(last)
        for kept in taker.kept:
            taker.server.adopt(kept)
        taker.answer.callback(True)
        await self.so(lambda: drained.called)
        self.assertEqual(len(taker.kept), 32)
        await self.end(taker)

    @on_each_loop
    async def test_slow_client(self) -> None:
        """A connection is handed over after its client has read the response."""
        taker = TakingWorker(self)
        client, request = await self.asked(small=True)
        request.write(b"x" * 1_000_000)
        drained = await self.leave(taker)
        request.finish()
        await self.later(3)
        self.assertEqual(taker.taken, 0)
        await client.rest_of(1_000_000)
        await self.later(3)
        await self.so(lambda: drained.called)
        self.assertEqual(taker.taken, 1)
        await self.assert_kept_alive(client)
        await self.end(taker)

    @on_each_loop
    async def test_slow_client_that_asks(self) -> None:
        """What it asks meanwhile is answered here."""
        taker = TakingWorker(self)
        client, request = await self.asked(small=True)
        request.write(b"x" * 1_000_000)
        drained = await self.leave(taker)
        request.finish()
        await client.get("/hi")
        await self.later(3)
        await client.rest_of(1_000_000)
        self.assertIn(CLOSE, await client.rest())
        await self.so(lambda: drained.called)
        self.assertEqual(taker.taken, 0)

    @on_each_loop
    async def test_no_descriptor_is_left(self) -> None:
        """It stays, and comes to its end here."""
        taker = TakingWorker(self)
        clients = [await self.greeted() for _ in range(3)]
        await self.turns()
        with no_more_files():
            drained = self.site.drain(spread=100.0, hand_over=taker.hand_over)
        self.assertEqual(taker.taken, 0)
        for client in clients:
            await self.assert_last_response(client)
        await self.so(lambda: drained.called)

    async def goes_meanwhile(self, *, resets: bool) -> None:
        taker, client, drained = await self.offered()
        await self.turns()
        (client.resets if resets else client.goes)()
        await self.turns()
        taker.take()
        await self.so(lambda: drained.called and not taker.site.connections)
        self.clock.advance(1)

    @on_each_loop
    async def test_client_that_goes_meanwhile(self) -> None:
        """Nothing is left of it, here or there."""
        await self.goes_meanwhile(resets=False)

    @on_each_loop
    async def test_client_that_resets_meanwhile(self) -> None:
        await self.goes_meanwhile(resets=True)

    @on_each_loop
    async def test_time_for_the_next_request_is_over(self) -> None:
        """A worker that has claimed a connection serves it, even if it answers late."""
        taker, client, drained = await self.offered(claims=True)
        await self.later(self.limits.keepalive_timeout + 1)
        self.assertTrue(drained.called)
        taker.take()
        await client.get("/hi")
        await client.until(b"\r\n\r\nhi")
        await self.end(taker)

    @on_each_loop
    async def test_master_that_stands_still(self) -> None:
        """What has come meanwhile is answered here, soon, and by nobody else."""
        taker, client, drained = await self.offered()
        await client.get("/hi")
        await self.turns()
        self.clock.advance(2.0)
        await self.turns()
        self.assertIn(CLOSE, await client.until(b"\r\n\r\nhi"))
        # Though a duplicate is on its way still, the client hears of the end.
        self.assertEqual(len(taker.kept), 1)
        self.assertEqual(await client.rest(), b"")
        client.goes()
        await self.so(lambda: drained.called)
        taker.refuse()
        await self.end(taker)

    @on_each_loop
    async def test_nothing_comes_while_the_master_stands_still(self) -> None:
        """The connection ends here, in time."""
        taker, client, drained = await self.offered(spread=3.0)
        await self.later(2.0)
        await self.later(5.0)
        self.assertEqual(await client.rest(), b"")
        client.goes()
        await self.so(lambda: drained.called)
        taker.refuse()
        await self.end(taker)

    @on_each_loop
    async def test_taker_that_drains_too(self) -> None:
        """It hands the connection on."""
        first, second = TakingWorker(self), TakingWorker(self)
        client = await self.greeted()
        elsewhere = first.site.drain(hand_over=second.hand_over)
        drained = await self.leave(first)
        await self.so(lambda: drained.called and second.taken)
        self.assertTrue(elsewhere.called)
        self.assertEqual(
            (first.listeners, second.listeners), ([self.listener], [self.listener])
        )
        await self.assert_kept_alive(client)
        await self.so(lambda: not first.site.connections)
        await self.end(second)

    @on_each_loop
    async def test_unix(self) -> None:
        """Those of a Unix socket are lent like others."""
        taker = TakingWorker(self)
        client = await self.client(family=socket.AF_UNIX)
        await client.get("/hi")
        await client.until(b"\r\n\r\nhi")
        drained = await self.leave(taker)
        await self.so(lambda: drained.called)
        await self.assert_kept_alive(client)
        await self.end(taker)


class FileTests(FileCase, LeavingCase):
    """A file that is being sent."""

    @on_each_loop
    async def test_under_way(self) -> None:
        """All of it comes from here, and what is asked next from elsewhere."""
        taker = TakingWorker(self)
        self.prepare("/file", (0, SIZE))
        client = await self.client(small=True)
        await client.get("/file")
        await client.until(b"\r\n\r\n")
        drained = await self.leave(taker)
        self.assertFalse(drained.called)
        while len(client.received) < SIZE:
            await client.some()
        self.assertEqual(client.received, CONTENT)
        client.received = b""
        await self.later(2)
        await self.so(lambda: drained.called)
        await self.assert_kept_alive(client)
        self.assertEqual(taker.taken, 1)
        await self.end(taker)


class TlsTests(LeavingCase):
    """Connections that only this process can read."""

    @on_each_loop
    async def test_idle(self) -> None:
        """The next response says that it closes; without a spread it closes."""
        tls, taker = Tls(), TakingWorker(self)
        for spread in (100.0, 0.0):
            writer = await tls.connect(self)
            writer.write(b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n")
            await self.reader.readuntil(b"\r\n\r\nhi")
            drained = await self.leave(taker, spread)
            if spread:
                await self.turns()
                writer.write(b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n")
                self.assertIn(CLOSE, await self.reader.readuntil(b"\r\n\r\nhi"))
            self.assertEqual(await self.reader.read(), b"")
            writer.close()
            await self.so(lambda: not self.site.connections)
            self.assertTrue(drained.called)
            self.site.draining = False
        self.assertEqual(taker.taken, 0)

    @on_each_loop
    async def test_handshake_under_way(self) -> None:
        """It is waited for, but not for long."""
        tls, taker = Tls(), TakingWorker(self)
        near, far = pair()
        client = Client(self.loop, near)
        self.clients.append(client)
        AsyncioServer(self.loop, self.site, lambda: tls.server).serve(far, None)
        drained = await self.leave(taker, 5.0)
        await self.later(3)
        self.assertFalse(drained.called)
        await self.later(3)
        await self.so(lambda: drained.called)
        client.goes()
        self.assertEqual(taker.taken, 0)

    @on_each_loop
    async def test_handshake_in_time(self) -> None:
        """Its first request is answered, with the word that it is the last."""
        tls, taker = Tls(), TakingWorker(self)
        near, far = pair()
        near.setblocking(False)
        AsyncioServer(self.loop, self.site, lambda: tls.server).serve(far, None)
        drained = await self.leave(taker, 5.0)
        reader, writer = await asyncio.open_connection(
            sock=near, ssl=tls.client, server_hostname="localhost"
        )
        writer.write(b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertIn(CLOSE, await reader.readuntil(b"\r\n\r\nhi"))
        self.assertEqual(await reader.read(), b"")
        writer.close()
        await self.so(lambda: drained.called)
