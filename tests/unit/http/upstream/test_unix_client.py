"""The agent on an asyncio loop's own transports: requests and broken connections."""

import socket
from typing import Any, cast

from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from clusterapp.errors import CoreBrokenError, CoreUnreachableError
from clusterapp.http.upstream.unix_client import NativeStream, _Carrier
from tests.unit.http.upstream.core_wire import CHUNKED, GET, POST, Body, Collector
from tests.unit.http.upstream.native_core import NativeTestCase, Uvloop


class RequestTests(NativeTestCase):
    """Requests on asyncio's loop."""

    def test_one_after_another(self) -> None:
        """Two requests share a connection."""

        async def test() -> None:
            peer, response = await self.asked()
            self.assertEqual((response.code, response.take_body()), (200, b"ok"))
            again = await peer.answered(self.agent.send(GET))
            self.assertEqual(again.take_body(), b"ok")

        self.run_to_end(test())

    def test_closed_by_the_core_while_idle(self) -> None:
        """The end that waits in the kernel is seen before the request is lost."""

        async def test() -> None:
            peer, _ = await self.asked()
            # The loop does not turn between this and the next request.
            peer.sock.shutdown(socket.SHUT_RDWR)
            _, response = await self.asked()
            self.assertEqual(response.code, 200)
            self.assertEqual(len(self.peers), 2)

        self.run_to_end(test())

    def test_closed_by_the_core_and_noticed(self) -> None:
        """A connection that the core closed is forgotten."""

        async def test() -> None:
            peer, _ = await self.asked()
            peer.sock.close()
            await self.until(lambda: not self.agent._alive)
            await self.asked()
            self.assertEqual(len(self.peers), 2)

        self.run_to_end(test())

    def test_a_byte_that_waits(self) -> None:
        """Nor does a request go out where a byte has come that nobody asked for."""

        async def test() -> None:
            peer, _ = await self.asked()
            peer.sock.send(b"\r\n")
            await self.asked()
            self.assertEqual(await peer.rest(), b"")

        self.run_to_end(test())

    def test_closed_before_the_request(self) -> None:
        """A server that is short of descriptors closes a connection as it comes."""

        async def test() -> None:
            sent = self.agent.send(GET)
            # The loop has not turned: it hears of the connection and its end at once.
            (await self.accept_at_once()).sock.close()
            peer = await self.accept()
            self.assertEqual((await peer.answered(sent)).code, 200)
            self.assertEqual(len(self.peers), 2)

        self.run_to_end(test())

    def test_always_closed_before_the_request(self) -> None:
        """There is an end to it, and the request may go elsewhere: nothing was sent."""

        async def test() -> None:
            sent = self.agent.send(GET)
            for _ in range(3):
                (await self.accept_at_once()).sock.close()
            error = await self.fails(sent, CoreUnreachableError)
            self.assertEqual(str(error), "the connection was closed before the request")

        self.run_to_end(test())

    def test_reset_before_the_request(self) -> None:
        """The loop reports it once, to the protocol that there is by then."""
        lost: list[str] = []

        class Told(Protocol):
            def connectionLost(self, reason: Failure = connectionDone) -> None:
                lost.append(reason.getErrorMessage())

        early, told = _Carrier(), Told()
        early.connection_lost(ConnectionResetError("reset"))
        transport: Any = StringTransport()
        stream = NativeStream(transport, told, cast("Any", None), UNIXAddress(None))
        early.hand_over(told, stream)
        self.assertIn("reset", lost[0])
        self.assertEqual(len(lost), 1)

    def test_end_before_the_answer(self) -> None:
        """The core closes in order without an answer."""

        async def test() -> None:
            sent = self.agent.send(GET)
            peer = await self.accept()
            await peer.until()
            peer.sock.close()
            error = await self.fails(sent, CoreBrokenError)
            self.assertIsInstance(error.__cause__, ConnectionDone)

        self.run_to_end(test())

    def test_reset_in_a_body(self) -> None:
        """The kernel resets a connection that is closed with bytes unread."""

        async def test() -> None:
            upload = Body()
            sent = self.agent.send(POST, upload)
            peer = await self.accept()
            await peer.until()
            await peer.send(CHUNKED + b"1\r\na\r\n")
            body = Collector()
            (await sent.asFuture(self.loop)).deliverBody(body)
            upload.write(b"unread")
            await self.turn()
            peer.sock.close()
            await self.until(lambda: body.reason)
            self.assertTrue(body.reason and body.reason.check(CoreBrokenError))
            self.assertEqual(body.body, b"a")
            self.assertEqual(upload.did[-1], "stop")

        self.run_to_end(test())

    def test_end_of_the_connection_ends_a_body(self) -> None:
        """A body without a length ends with its connection, in order."""

        async def test() -> None:
            sent = self.agent.send(GET)
            peer = await self.accept()
            await peer.until()
            await peer.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
            body = Collector()
            (await sent.asFuture(self.loop)).deliverBody(body)
            peer.sock.close()
            await self.until(lambda: body.reason)
            self.assertTrue(body.reason and body.reason.check(ResponseDone))
            self.assertEqual(body.body, b"abc")

        self.run_to_end(test())

    def test_half_closed_while_much_is_to_be_sent(self) -> None:
        """A core that says no more is not waited for until it has read it all."""

        async def test() -> None:
            upload = Body()
            sent = self.agent.send(POST, upload)
            peer = await self.accept()
            await self.until(lambda: upload.did)
            for _ in range(32):
                upload.write(b"x" * 65536)
            peer.sock.shutdown(socket.SHUT_WR)
            await self.fails(sent, CoreBrokenError)
            self.assertEqual(upload.did[-1], "stop")
            self.assertLess(len(await peer.rest()), 32 * 65536)

        self.run_to_end(test())

    def test_given_up(self) -> None:
        """The core sees that nobody waits for the answer."""

        async def test() -> None:
            sent = self.agent.send(GET)
            peer = await self.accept()
            await peer.until()
            sent.cancel()
            self.failureResultOf(sent)
            self.assertEqual(await peer.rest(), b"")

        self.run_to_end(test())


class UvloopRequestTests(RequestTests, Uvloop):
    """The same on uvloop's."""
