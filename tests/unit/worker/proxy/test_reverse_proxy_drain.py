"""The proxy to the core when its worker drains, and when the core is replaced."""

from tests.unit.worker.proxy.proxying import GET, OK, Line, ProxyTestCase

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"


class DrainTests(ProxyTestCase):
    """Streams of events that the core sends."""

    async def test_under_way(self) -> None:
        """Such a stream ends cleanly, and the core hears that nobody listens."""
        client, core, _ = await self.ask(GET)
        core.send(EVENTS + b"\r\n")
        await client.until(b"\r\n\r\n")
        drained = self.site.drain()
        self.proxy.drain()
        self.assertEqual(await client.rest(), b"0\r\n\r\n")
        await core.rest()
        await drained

    async def test_spread(self) -> None:
        """Until its moment comes, events arrive."""
        client, core, _ = await self.ask(GET)
        core.send(EVENTS + b"\r\n")
        await client.until(b"\r\n\r\n")
        drained = self.site.drain(spread=0.01)
        self.proxy.drain(spread=10.0)
        core.send(b"data: 1\n\n")
        self.assertEqual(await client.exactly(14), b"9\r\ndata: 1\n\n\r\n")
        self.clock.advance(10)
        self.assertEqual(await client.exactly(5), b"0\r\n\r\n")
        await core.rest()
        client.transport.loseConnection()
        await drained

    async def test_begins_later(self) -> None:
        """A request under way may become one: it ends when it has begun."""
        client, core, _ = await self.ask(GET)
        drained = self.site.drain()
        self.proxy.drain()
        core.send(EVENTS + b"\r\ndata: 1\n\n")
        answer = await client.rest()
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertTrue(answer.endswith(b"\r\n0\r\n\r\n"), answer)
        await core.rest()
        await drained

    async def test_begins_later_on_a_slow_client(self) -> None:
        """Nothing of the core's is written behind the end."""
        client, core, _ = await self.ask(GET)
        client.transport.pauseProducing()
        self.proxy.drain(spread=5.0)
        core.send(EVENTS + b"\r\n" + b"data: 1\n\n" * 500_000)
        await self.eventually(lambda: self.proxy._upstream.stream_drain._bodies)
        self.clock.advance(5)
        await core.rest()
        client.transport.resumeProducing()
        body = await client.until(b"\r\n0\r\n\r\n")
        self.assertIn(b"data: 1\n\n", body)
        client.send(GET)
        following = await self.core.line()
        await following.until(b"\r\n\r\n")
        following.send(OK)
        self.assertEqual(await client.until(b"hi"), OK)

    async def test_known_length(self) -> None:
        """One that ends by itself is let do so."""
        client, core, _ = await self.ask(GET)
        core.send(EVENTS + b"Content-Length: 4\r\n\r\na\n")
        await client.until(b"a\n")
        drained = self.site.drain()
        self.proxy.drain()
        core.send(b"b\n")
        self.assertEqual(await client.rest(), b"b\n")
        await drained

    async def test_others(self) -> None:
        """A download is not cut in the middle."""
        client, core, _ = await self.ask(GET)
        core.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\na")
        await client.until(b"a\r\n")
        self.proxy.drain()
        core.send(b"b")
        core.transport.loseConnection()
        self.assertEqual(await client.until(b"0\r\n\r\n"), b"1\r\nb\r\n0\r\n\r\n")


class ReplacementTests(ProxyTestCase):
    """Requests while one core takes the place of another."""

    core_is_open = False

    async def parked(self) -> Line:
        """Ask while there is no core."""
        before = len(self.clock.getDelayedCalls())
        client = await self.client()
        client.send(GET)
        await self.eventually(lambda: len(self.clock.getDelayedCalls()) > before)
        return client

    async def test_back_in_time(self) -> None:
        """They wait as long as they would for its answer, and are served then."""
        self.proxy.core_ready(False, back=True)
        client = await self.parked()
        self.clock.advance(self.core_timeout - 1)
        self.open_core()
        core = await self.core.line()
        await core.until(b"\r\n\r\n")
        core.send(OK)
        self.assertEqual(await client.until(b"hi"), OK)

    async def test_not_back_in_time(self) -> None:
        self.proxy.core_ready(False, back=True)
        client = await self.parked()
        self.clock.advance(self.core_timeout - 1)
        self.assertEqual(client.buffer, b"")
        self.clock.advance(1)
        self.assertTrue((await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 503 "))

    async def test_gone_again(self) -> None:
        """If the replacement fails, new requests wait as at a start."""
        self.proxy.core_ready(False, back=True)
        parked = await self.parked()
        self.proxy.core_ready(False, back=False)
        client = await self.parked()
        self.clock.advance(5)
        self.assertTrue((await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 503 "))
        self.open_core()
        core = await self.core.line()
        await core.until(b"\r\n\r\n")
        core.send(OK)
        self.assertEqual(await parked.until(b"hi"), OK)
