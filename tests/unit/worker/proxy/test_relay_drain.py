"""Requests that one worker passes to another, when one of the two drains."""

import socket

from twisted.internet.defer import Deferred, succeed

from clusterapp.channel.bootstrap import PRIVATE
from tests.unit.http.native_sites import on_each_loop
from tests.unit.worker.workers import MARK, Worker, WorkersCase

CLOSE = b"\r\nConnection: close\r\n"


class DrainTests(WorkersCase):
    """Drains in the middle of something, and between two requests."""

    def next_one(self) -> Worker:
        """Start the next worker of the slot there."""
        self.listeners: list[str] = []
        self.next = self.worker(1)
        return self.next

    def hand_over(self, connection: socket.socket, listener: str) -> Deferred[bool]:
        """Bring a connection to the next worker, as the master would."""
        self.listeners.append(listener)
        self.next.listeners.adopt(connection.dup(), listener)
        return succeed(True)

    @on_each_loop
    async def test_here(self) -> None:
        """What is under way is answered, and the client told that this was all."""
        client = await self.marked()
        request = await self.relayed()
        drained = self.here.site.drain()
        self.here.relay.drain()
        await self.turns()
        self.assertFalse(drained.called)
        request.respond(b"late")
        answer = await client.rest()
        self.assertIn(CLOSE, answer)
        self.assertTrue(answer.endswith(b"\r\n\r\nlate"), answer)
        await self.so(lambda: drained.called)

    @on_each_loop
    async def test_here_within_a_body(self) -> None:
        """The rest of it is passed on, as the answer is."""
        client = await self.asking(
            b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n"
            + MARK
            + b"\r\nabc"
        )
        await self.so(lambda: self.there.site.active)
        drained = self.here.site.drain()
        await client.send(b"def")
        request = await self.relayed()
        self.assertEqual(request.content.read(), b"abcdef")
        request.respond(b"late")
        self.assertTrue((await client.rest()).endswith(b"\r\n\r\nlate"))
        await self.so(lambda: drained.called)

    @on_each_loop
    async def test_there(self) -> None:
        """The client's connection stays, and what it asks next goes to the next one."""
        client = await self.marked()
        request = await self.relayed()
        self.there.listeners.stop()
        drained = self.there.site.drain(hand_over=self.hand_over)
        next_one = self.next_one()
        request.respond(b"late")
        self.assertNotIn(b"close", await client.until(b"\r\n\r\nlate"))
        await self.so(lambda: drained.called)
        self.assertEqual(self.listeners, [])
        await client.get("/hi", also=MARK)
        self.assertNotIn(b"close", await client.until(b"\r\n\r\nhi"))
        self.assertEqual(next_one.site.requests, 1)

    @on_each_loop
    async def test_there_within_a_body(self) -> None:
        """The rest of it comes to where it has begun."""
        client = await self.asking(
            b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n"
            + MARK
            + b"\r\nabc"
        )
        await self.so(lambda: self.there.site.active)
        drained = self.there.site.drain(hand_over=self.hand_over)
        await client.send(b"def")
        request = await self.relayed()
        request.respond(request.content.read())
        await client.until(b"\r\n\r\nabcdef")
        await self.so(lambda: drained.called)

    @on_each_loop
    async def test_idle(self) -> None:
        """The connection between the workers goes to the slot's next, as it is."""
        client = await self.marked("/hi")
        await client.until(b"\r\n\r\nhi")
        next_one = self.next_one()
        self.there.listeners.stop()
        drained = self.there.site.drain(hand_over=self.hand_over)
        await self.so(lambda: drained.called)
        self.assertEqual(self.listeners, [PRIVATE])
        await client.get("/slow", also=MARK)
        await self.so(lambda: next_one.scripted.requests)
        [request] = next_one.scripted.requests
        own = client.socket.getsockname()
        self.assertEqual(
            (request.getClientAddress().host, request.getClientAddress().port), own
        )
        request.respond(b"there")
        await client.until(b"\r\n\r\nthere")
        self.assertEqual(self.there.site.requests, 1)
        self.assertEqual(next_one.recorded, [])

    @on_each_loop
    async def test_request_that_crosses(self) -> None:
        """One that comes when the connection is lent is answered by the next one."""
        client = await self.marked("/hi")
        await client.until(b"\r\n\r\nhi")
        next_one = self.next_one()
        taken: Deferred[bool] = Deferred()
        lent: list[socket.socket] = []

        def hand_over(connection: socket.socket, listener: str) -> Deferred[bool]:
            lent.append(connection.dup())
            return taken

        drained = self.there.site.drain(hand_over=hand_over)
        await client.get("/hi", also=MARK)
        await self.turns()
        self.assertEqual(client.received, b"")
        next_one.listeners.adopt(lent.pop(), PRIVATE)
        taken.callback(True)
        await client.until(b"\r\n\r\nhi")
        await self.so(lambda: drained.called)
        self.assertEqual((self.there.site.requests, next_one.site.requests), (1, 1))

    @on_each_loop
    async def test_slow_drain_there(self) -> None:
        """What nobody takes over is served where it is, within the spread."""
        client = await self.marked("/hi")
        await client.until(b"\r\n\r\nhi")
        drained = self.there.site.drain(spread=100.0)
        await client.get("/hi", also=MARK)
        self.assertNotIn(b"close", await client.until(b"\r\n\r\nhi"))
        await self.so(lambda: drained.called)
