"""The loop's own transports as the agent and others see them."""

import socket
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectError, ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import (
    IConsumer,
    IPushProducer,
    IStreamClientEndpoint,
    ISystemHandle,
    ITransport,
)
from twisted.internet.protocol import Factory
from zope.interface.verify import verifyObject

from clusterapp.errors import CoreUnreachableError
from tests.unit.core_wire import GET, OK, POST, Body, Collector
from tests.unit.native_core import SWITCHED, WEBSOCKET, NativeTestCase, Peer, Uvloop

MIB = 1024 * 1024


class TransportTests(NativeTestCase):
    """Connecting, back-pressure and raw streams on asyncio's loop."""

    def test_nobody_listens(self) -> None:
        """The request has reached nobody, and the error says why."""

        async def test() -> None:
            self.listening.close()
            error = await self.fails(self.agent.send(GET), CoreUnreachableError)
            self.assertIn("refused", str(error))

        self.run_to_end(test())

    def test_queue_is_full(self) -> None:
        """A core that is too busy to accept is as good as none."""

        async def test() -> None:
            self.listening.listen(0)
            waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
            for sock in waiting:
                self.addCleanup(sock.close)
            waiting[0].connect(self.path)
            error = await self.fails(self.agent.send(GET), CoreUnreachableError)
            self.assertIn("queue is full", str(error))
            self.assertIsInstance(error.__cause__, ConnectError)

        self.run_to_end(test())

    def test_given_up_while_connecting(self) -> None:
        """At whatever turn of the loop, nothing is left open and nothing sent."""

        async def test() -> None:
            for turns in range(6):
                sent = self.agent.send(GET)
                await self.turn(turns)
                sent.cancel()
                self.failureResultOf(sent)
                await self.turn(6)
                self.assertEqual(self.agent._alive, set())
            await self._nothing_was_left()

        self.run_to_end(test())

    async def _nothing_was_left(self) -> None:
        while True:
            try:
                sock, _ = self.listening.accept()
            except BlockingIOError:
                return
            self.peers.append(Peer(sock))
            sock.setblocking(False)
            # A request may have gone out in the very last turn.
            self.assertIn(await self.peers[-1].rest(), (b"", self._wire()))

    def _wire(self) -> bytes:
        return b"GET / HTTP/1.1\r\nHost: core\r\n\r\n"

    def test_upload_waits_for_the_core(self) -> None:
        """A core that does not read pauses the producer before a MiB is held."""

        async def test() -> None:
            body = Body()
            sent = self.agent.send(POST, body)
            peer = await self.accept()
            await self.until(lambda: body.did)
            written = 0
            while "pause" not in body.did:
                body.write(b"x" * 65536)
                written += 65536
                await self.turn(1)
            self.assertLess(written, MIB)
            self.assertNotIn("resume", body.did)
            await peer.until()
            await peer.exactly(written // 2)
            await self.until(lambda: "resume" in body.did)
            body.done.callback(None)
            await peer.until(b"0\r\n\r\n")
            await peer.send(OK)
            self.assertEqual((await sent.asFuture(self.loop)).code, 200)

        self.run_to_end(test())

    def test_download_waits_for_the_reader(self) -> None:
        """A body waits in the kernel until it is taken, and while it is paused."""

        async def test() -> None:
            sent = self.agent.send(GET)
            peer = await self.accept()
            await peer.until()
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (4 * MIB)
            await peer.send(head)
            response = await sent.asFuture(self.loop)
            filled = self._fill(peer)
            await self.turn(50)
            self.assertEqual(self._fill(peer), 0)
            body = Collector()
            response.deliverBody(body)
            body.transport.pauseProducing()  # type: ignore[union-attr]
            await self.turn(50)
            self.assertLess(filled + self._fill(peer), MIB)
            body.transport.resumeProducing()  # type: ignore[union-attr]
            while body.reason is None:
                filled += self._fill(peer, 4 * MIB - filled)
                await self.turn(1)
            self.assertEqual(len(body.body), 4 * MIB)

        self.run_to_end(test())

    def _fill(self, peer: Peer, most: int = MIB) -> int:
        """Write until the kernel takes no more; tell how much it took."""
        filled = 0
        while filled < most:
            try:
                filled += peer.sock.send(b"x" * min(32768, most - filled))
            except BlockingIOError:
                break
        return filled

    def test_raw_stream(self) -> None:
        """After a 101 the transport is the protocol's own, to its end."""

        async def test() -> None:
            sent = self.agent.send(WEBSOCKET)
            peer = await self.accept()
            await peer.until()
            await peer.send(SWITCHED + b"first")
            stream = Collector()
            (await sent.asFuture(self.loop)).upgrade(stream)
            self.assertEqual(stream.body, b"first")
            transport: Any = stream.transport
            for face in (ITransport, IConsumer, IPushProducer, ISystemHandle):
                verifyObject(face, transport)
            self.assertEqual(transport.getPeer(), UNIXAddress(self.path))
            self.assertEqual(transport.getHost(), UNIXAddress(None))
            transport.writeSequence([b"pi", b"ng"])
            await peer.until(b"ping")
            await peer.send(b"pong")
            await self.until(lambda: stream.body == b"firstpong")
            transport.loseConnection()
            self.assertEqual(await peer.rest(), b"")
            await self.until(lambda: stream.reason)
            self.assertTrue(stream.reason and stream.reason.check(ConnectionDone))
            # As Twisted's own: too late is no error.
            transport.write(b"late")
            transport.resumeProducing()
            late = Body()
            transport.registerProducer(late, True)
            self.assertEqual(late.did, ["stop"])

        self.run_to_end(test())

    def test_end_of_a_raw_stream(self) -> None:
        """The protocol hears once that the core has closed."""

        async def test() -> None:
            sent = self.agent.send(WEBSOCKET)
            peer = await self.accept()
            await peer.until()
            await peer.send(SWITCHED)
            stream = Collector()
            (await sent.asFuture(self.loop)).upgrade(stream)
            peer.sock.close()
            await self.until(lambda: stream.reason)
            self.assertTrue(stream.reason and stream.reason.check(ConnectionDone))

        self.run_to_end(test())

    def test_producers_of_a_raw_stream(self) -> None:
        """There is one at a time, of the kind that pushes, and it is stopped once."""

        async def test() -> None:
            sent = self.agent.send(WEBSOCKET)
            peer = await self.accept()
            await peer.until()
            await peer.send(SWITCHED)
            stream = Collector()
            (await sent.asFuture(self.loop)).upgrade(stream)
            transport: Any = stream.transport
            first, second = Body(), Body()
            self.assertRaises(ValueError, transport.registerProducer, first, False)
            transport.registerProducer(first, True)
            self.assertRaises(RuntimeError, transport.registerProducer, second, True)
            transport.unregisterProducer()
            transport.write(b"x" * MIB)
            transport.registerProducer(second, True)
            transport.abortConnection()
            await self.until(lambda: stream.reason)
            self.assertTrue(stream.reason and stream.reason.check(ConnectionAborted))
            self.assertEqual((first.did, second.did), ([], ["pause", "stop"]))

        self.run_to_end(test())

    def test_endpoint(self) -> None:
        """Any protocol can be connected, and hears the first byte that comes."""

        async def test() -> None:
            verifyObject(IStreamClientEndpoint, self.endpoint)
            for turns in range(1, 5):
                connected = self.endpoint.connect(Factory.forProtocol(Collector))
                await self.turn(turns)
                peer = await self.accept()
                peer.sock.send(b"hello")
                protocol: Any = await connected.asFuture(self.loop)
                await self.until(lambda: protocol.body == b"hello")  # noqa: B023
                protocol.transport.loseConnection()
                self.assertEqual(await peer.rest(), b"")
                await self.until(lambda: protocol.reason)  # noqa: B023

        self.run_to_end(test())

    def test_endpoint_that_is_closed_at_once(self) -> None:
        """The protocol hears of an end that came before it was there."""

        async def test() -> None:
            for turns in range(1, 5):
                connected = self.endpoint.connect(Factory.forProtocol(Collector))
                await self.turn(turns)
                (await self.accept()).sock.close()
                protocol: Any = await connected.asFuture(self.loop)
                await self.until(lambda: protocol.reason)  # noqa: B023

        self.run_to_end(test())

    def test_attempt_that_is_given_up(self) -> None:
        """No protocol is made for nobody."""

        async def test() -> None:
            made: list[Collector] = []

            def make() -> Collector:
                made.append(Collector())
                return made[-1]

            connected = self.endpoint.connect(Factory.forProtocol(make))
            await self.turn(1)
            connected.cancel()
            self.failureResultOf(connected)
            self.assertEqual(await (await self.accept()).rest(), b"")
            self.assertEqual(made, [])

        self.run_to_end(test())


class UvloopTransportTests(TransportTests, Uvloop):
    """The same on uvloop's."""
