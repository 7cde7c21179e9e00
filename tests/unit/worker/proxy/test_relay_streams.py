"""What streams through two workers, and how slow clients and applications slow it."""

from collections.abc import Callable
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.websocket import WebSocketResource

from clusterapp import streamed
from clusterapp.http.connection_limits import Limits
from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.websocket.frame_boundaries import SERVICE_RESTART
from tests.unit.http.native_sites import Client, on_each_loop
from tests.unit.worker.proxy.test_reverse_proxy_klein import EchoFactory
from tests.unit.worker.workers import MARK, WorkersCase

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\n" + MARK + b"Connection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
#: A masked text frame that says hi (RFC 6455, section 5.2), and its echo.
HI = b"\x81\x82\0\0\0\0hi"
ECHO = b"\x81\x07echo hi"
CLOSE = b"\x88\x82\0\0\0\0\x03\xf4"

LARGE = 20 * 1024 * 1024


class Sockets(Resource):
    """Echoes what comes over WebSockets."""

    isLeaf = True

    def render(self, request: Request) -> Any:
        return WebSocketResource(EchoFactory()).render(request)


class WebSocketTests(WorkersCase):
    """WebSockets of clients that belong there."""

    async def talking(self, *, early: bytes = b"") -> Client:
        """Connect a client that has had an echo."""
        await self.replaced(Sockets())
        client = await self.asking(HANDSHAKE + early)
        answer = await client.until(b"\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 101 "), answer)
        if not early:
            await client.send(HI)
        await client.until(ECHO)
        return client

    @on_each_loop
    async def test_echo(self) -> None:
        """Frames go both ways, until the client leaves."""
        client = await self.talking()
        await client.send(HI * 3)
        await client.until(ECHO * 3)
        client.goes()
        await self.so(lambda: not self.here.site.connections)
        await self.so(lambda: not self.there.site.connections)

    @on_each_loop
    async def test_early_frame(self) -> None:
        """One that comes with the handshake is not lost."""
        await self.talking(early=HI)

    @on_each_loop
    async def test_drain_here(self) -> None:
        """The client is told to come back, and its end is the end of all."""
        client = await self.talking()
        drained = self.here.site.drain()
        await client.until(SERVICE_RESTART)
        await client.send(CLOSE)
        await client.rest()
        await self.so(lambda: drained.called and not self.there.site.connections)

    @on_each_loop
    async def test_drain_there(self) -> None:
        """The same when the worker that it belongs to goes."""
        client = await self.talking()
        drained = self.there.site.drain()
        await client.until(SERVICE_RESTART)
        await client.send(CLOSE)
        await client.rest()
        await self.so(lambda: drained.called and not self.here.site.connections)

    @on_each_loop
    async def test_client_that_does_not_close(self) -> None:
        """It is waited for, but not for long."""
        client = await self.talking()
        drained = self.there.site.drain()
        await client.until(SERVICE_RESTART)
        await self.later(4)
        self.assertEqual(await client.rest(), b"")
        await self.so(lambda: drained.called)


class EventTests(WorkersCase):
    """Event streams of clients that belong there."""

    async def subscribed(self) -> tuple[Client, Any]:
        """Connect a client that has had an event."""
        client = await self.marked()
        request = await self.relayed()
        request.setHeader("content-type", "text/event-stream")
        request.write(b"data: 1\n\n")
        await client.until(b"\r\n\r\n9\r\ndata: 1\n\n\r\n")
        return client, request

    @on_each_loop
    async def test_events(self) -> None:
        """Each comes when it is written."""
        client, request = await self.subscribed()
        for _ in range(3):
            request.write(b"data: 2\n\n")
            await client.until(b"9\r\ndata: 2\n\n\r\n")
        request.finish()
        await client.until(b"0\r\n\r\n")

    @on_each_loop
    async def test_drain_here(self) -> None:
        """It ends cleanly, and the application hears that nobody listens."""
        client, _ = await self.subscribed()
        drained = self.here.site.drain()
        self.here.relay.drain()
        self.assertEqual(await client.rest(), b"0\r\n\r\n")
        await self.so(lambda: drained.called and self.there.scripted.ends)

    @on_each_loop
    async def test_drain_there(self) -> None:
        """It ends cleanly, and the client's connection stays for what it asks next."""
        client, _ = await self.subscribed()
        drained = self.there.site.drain()
        await client.until(b"0\r\n\r\n")
        await client.get("/hi")
        self.assertNotIn(b"close", await client.until(b"\r\n\r\nhi"))
        await self.so(lambda: drained.called)


class SlowTests(WorkersCase):
    """Bodies that are longer than what may wait anywhere."""

    limits = Limits(body=None)

    async def stuck(self, moved: Callable[[], int]) -> int:
        """Run the loop until a body makes no more progress; return its progress."""
        before = -1
        while before != moved():
            before = moved()
            await self.turns(300)
        return before

    @on_each_loop
    async def test_slow_client(self) -> None:
        """The application there is told to pause."""
        client = await self.marked()
        request = await self.relayed()
        producer = Producer(request)
        sent = await self.stuck(lambda: producer.sent)
        self.assertLess(sent, LARGE // 2)
        turning = self.loop.create_task(self.turns(1 << 30))
        got = 0
        while got < LARGE:
            got += (await client.some()).count(b"x")
        turning.cancel()

    @on_each_loop
    async def test_slow_application(self) -> None:
        """The client is not read from, here or there."""
        sizes: list[int] = []
        wanted: Deferred[None] = Deferred()
        app = Klein()

        @app.route("/", methods=["POST"])
        @streamed
        async def upload(request: Any) -> bytes:
            async for piece in request.body:
                sizes.append(len(piece))
                await wanted
            return b"all"

        await self.replaced(klein_resource(app))
        client = await self.asking(
            b"POST / HTTP/1.1\r\nHost: h\r\n"
            + MARK
            + b"Content-Length: %d\r\n\r\n" % LARGE
        )
        sending = self.loop.create_task(client.send(bytes(LARGE)))
        await self.so(lambda: sizes)
        await self.turns(300)
        self.assertFalse(sending.done())
        wanted.callback(None)
        await sending
        await client.until(b"\r\n\r\nall")
        self.assertEqual(sum(sizes), LARGE)


class Producer:
    """Writes a response of 20 MiB, as fast as it is asked to."""

    def __init__(self, request: Any) -> None:
        self.sent = 0
        self._request = request
        request.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self._request.write(b"x" * 65536)
        self.sent += 65536
        if self.sent >= LARGE:
            self._request.unregisterProducer()
            self._request.finish()

    def stopProducing(self) -> None: ...
