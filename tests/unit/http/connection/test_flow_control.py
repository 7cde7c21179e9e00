"""The pace of a client on the event loop's own transports, and of a response."""

from typing import Any

from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer

from tests.unit.http.native_sites import NativeCase, chunk_of, on_each_loop

PIECE = b"x" * 32_768
PIECES = 64


class Source:
    """
    Writes a response of 2 MiB.

    :param request: what it answers.
    """

    def __init__(self, request: Any) -> None:
        self.request = request
        self.written = 0
        self.calls: list[str] = []

    def write_one(self) -> None:
        """Write a piece, or the end."""
        if self.written < PIECES:
            self.written += 1
            self.request.write(PIECE)
        if self.written == PIECES:
            self.written += 1
            self.request.unregisterProducer()
            self.request.finish()

    def stopProducing(self) -> None:
        """Stop."""
        self.calls.append("stop")


@implementer(IPushProducer)
class Push(Source):
    """Writes until it is told to wait."""

    paused = False

    def resumeProducing(self) -> None:
        """Go on."""
        self.calls.append("resume")
        self.paused = False
        while not self.paused and self.written <= PIECES:
            self.write_one()

    def pauseProducing(self) -> None:
        """Wait."""
        self.calls.append("pause")
        self.paused = True


@implementer(IPullProducer)
class Pull(Source):
    """Writes when it is asked."""

    def resumeProducing(self) -> None:
        """Write."""
        self.write_one()


class ProducerTests(NativeCase):
    """Responses that are made as fast as the client takes them."""

    @on_each_loop
    async def test_push(self) -> None:
        """A push producer is paused, and resumed when the client reads."""
        client, request = await self.asked(small=True)
        await self.turns()  # until the connection has its last transport
        source = Push(request)
        request.registerProducer(source, True)
        source.resumeProducing()
        await self.turns()
        self.assertEqual(source.calls, ["resume", "pause"])
        self.assert_bounded()
        await client.rest_of(PIECES * len(PIECE))
        self.assertIn("resume", source.calls[2:])

    @on_each_loop
    async def test_pull(self) -> None:
        """A pull producer is not asked while the client does not read."""
        client, request = await self.asked(small=True)
        await self.turns()  # until the connection has its last transport
        source = Pull(request)
        request.registerProducer(source, False)
        await self.so(lambda: self.connection().flow.paused)
        written = source.written
        await self.turns()
        self.assertEqual(source.written, written)
        self.assert_bounded()
        reading = self.loop.create_task(client.rest_of(PIECES * len(PIECE)))
        await self.so(reading.done)
        reading.result()

    @on_each_loop
    async def test_registered_late(self) -> None:
        """A producer that is registered while output is paused is paused at once."""
        client, request = await self.asked(small=True)
        for _ in range(8):
            request.write(PIECE)
            await self.turns(3)
        await self.so(lambda: self.connection().flow.paused)
        source = Push(request)
        request.registerProducer(source, True)
        self.assertEqual(source.calls, ["pause"])
        await client.rest_of((8 + PIECES) * len(PIECE))

    @on_each_loop
    async def test_client_leaves(self) -> None:
        """A producer whose client has gone is asked for nothing more."""
        for kind in (Push, Pull):
            client, request = await self.asked(small=True)
            source: Any = kind(request)
            request.registerProducer(source, kind is Push)
            if kind is Push:
                source.resumeProducing()
            await self.so(lambda: self.connection().flow.paused)
            del self.resource.ends[:]
            client.resets()
            await self.so(lambda: self.resource.ends)
            written = source.written
            await self.turns()
            self.assertEqual(source.written, written)
            await self.so(lambda: not self.site._connections)
            self.resource.requests.clear()

    def assert_bounded(self) -> None:
        """Assert that the transport's buffer is bounded."""
        waiting = self.connection().adapter.unsent
        self.assertLess(waiting, 65_536 + 2 * len(PIECE))


class FramingTests(NativeCase):
    """What slow clients receive in the end."""

    @on_each_loop
    async def test_large_answer(self) -> None:
        """All of an answer that was written at once, byte for byte."""
        client, request = await self.asked(small=True)
        body = bytes(range(256)) * 8192
        request.setHeader(b"content-length", b"%d" % len(body))
        request.setHeader(b"connection", b"close")
        request.write(body)
        request.finish()
        self.assertEqual(chunk_of(await client.rest()), body)
