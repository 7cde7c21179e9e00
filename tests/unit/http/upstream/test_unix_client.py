"""The agent on an asyncio loop's own transports: requests and broken connections."""

import select
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
from clusterapp.system.turn_end import TurnEnd
from tests.unit.http.upstream.core_wire import CHUNKED, GET, OK, POST, Body, Collector
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
        stream = NativeStream(
            transport,
            told,
            cast("Any", None),
            UNIXAddress(None),
            TurnEnd(self.loop.call_soon),
        )
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

    def test_requests_of_a_turn(self) -> None:
        """They are sent at its end; the head together with the first of the body."""

        async def test() -> None:
            peer, _ = await self.asked()
            upload = Body()
            self.agent.send(POST, upload).addErrback(lambda _: None)
            upload.write(b"a")
            with self.assertRaises(BlockingIOError):
                peer.sock.recv(1)
            await self.turn(2)
            self.assertTrue(peer.sock.recv(65536).endswith(b"\r\n\r\n1\r\na\r\n"))

        self.run_to_end(test())

    def test_much_in_a_turn(self) -> None:
        """Much is passed on at once, so that its producer is paused in time."""

        async def test() -> None:
            await self.asked()
            upload = Body()
            self.agent.send(POST, upload).addErrback(lambda _: None)
            for _ in range(64):
                upload.write(b"x" * 65536)
            self.assertIn("pause", upload.did)

        self.run_to_end(test())

    def test_given_up_in_the_same_turn(self) -> None:
        """A request that is cancelled before it is sent never is."""

        async def test() -> None:
            peer, _ = await self.asked()
            sent = self.agent.send(GET)
            sent.cancel()
            self.failureResultOf(sent)
            self.assertEqual(await peer.rest(), b"")

        self.run_to_end(test())

    def test_closed_in_order(self) -> None:
        """What was written before a close is sent."""

        async def test() -> None:
            peer, _ = await self.asked()
            (connection,) = self.agent._alive
            connection.transport.write(b"last")
            connection.transport.loseConnection()
            self.assertEqual(await peer.rest(), b"last")

        self.run_to_end(test())

    def test_polled_once_in_a_turn(self) -> None:
        """All idle connections together; those that were closed are not used."""

        async def test() -> None:
            sent = [self.agent.send(GET) for _ in range(4)]
            peers = [await self.accept() for _ in sent]
            for peer in peers:
                await peer.until()
                await peer.send(OK)
            await self.until(lambda: all(each.called for each in sent))
            await self.turn()
            polls: list[object] = []
            poll = select.poll

            def counted() -> object:
                polls.append(poll())
                return polls[-1]

            self.patch(select, "poll", counted)
            for peer in peers[:2]:
                peer.sock.shutdown(socket.SHUT_RDWR)
            again = [self.agent.send(GET) for _ in range(3)]
            self.assertEqual(len(polls), 1)
            for peer in (*peers[2:], await self.accept()):
                await peer.until()
                await peer.send(OK)
            for each in again:
                self.assertEqual((await each.asFuture(self.loop)).code, 200)
            await self.turn()
            polls.clear()
            self.agent.send(GET).addErrback(lambda _: None).cancel()
            self.assertEqual(len(polls), 1)

        self.run_to_end(test())


class UvloopRequestTests(RequestTests, Uvloop):
    """The same on uvloop's."""
