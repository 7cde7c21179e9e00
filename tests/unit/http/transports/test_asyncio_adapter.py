"""Connections on the event loop's own transports: requests, and how it all ends."""

import asyncio
import socket
from typing import Any

from clusterapp.http.connection.connection import Connection
from clusterapp.http.connection.request_cycle import RequestCycle
from clusterapp.http.connection.request_input import RequestInput
from clusterapp.http.connection_limits import (
    CHUNKS,
    FIRST_REQUEST_SECONDS,
    LINGER_SECONDS,
    MAX_PENDING_INPUT,
    PIPELINED,
)
from clusterapp.http.server.prepared_response import Prepared
from clusterapp.http.syntax.request_head import Head
from clusterapp.http.transports.asyncio_server import AsyncioServer
from tests.unit.http.native_sites import NativeCase, on_each_loop, pair

POST = b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"


class RequestTests(NativeCase):
    """One connection, many requests."""

    @on_each_loop
    async def test_one_after_the_other(self) -> None:
        """A connection is kept for the next request."""
        client = await self.client()
        for _ in range(3):
            await client.get("/hi")
            self.assertIn(b"200 OK", await client.until(b"\r\n\r\nhi"))

    @on_each_loop
    async def test_all_at_once(self) -> None:
        """Answers keep the order of the requests, even if the first is slow."""
        client = await self.client()
        await client.get("/slow", "/hi", "/slower", "/hi")
        first = await self.request()
        await self.turns()
        self.assertEqual(len(self.resource.requests), 1)
        first.write(b"first")
        first.finish()
        self.assertIn(b"first", await client.until(b"\r\n\r\nhi"))
        second = await self.request(1, 2)
        second.write(b"second")
        second.finish()
        self.assertIn(b"second", await client.until(b"\r\n\r\nhi"))
        self.assertEqual(self.resource.ends, [None, None])

    @on_each_loop
    async def test_byte_by_byte(self) -> None:
        """Heads come as they come."""
        client = await self.client()
        for byte in b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n":
            await client.send(bytes([byte]))
            await self.turns(3)
        await client.until(b"\r\n\r\nhi")

    @on_each_loop
    async def test_last_answer_is_whole(self) -> None:
        """An answer that closes arrives, although the client has sent more."""
        client = await self.client()
        await client.get("/slow", also=b"Connection: close\r\n")
        request = await self.request()
        await client.send(b"x" * 1000)
        await self.so(lambda: self.connection().input.stream.pending)
        request.write(b"y" * 100_000)
        request.finish()
        await client.send(b"x" * 100_000)
        self.assertIn(b"y" * 100_000, await client.rest())

    @on_each_loop
    async def test_lingering_has_an_end(self) -> None:
        """A client that goes on sending after the last answer is cut off."""
        client = await self.client()
        await client.get("/hi", "/hi", also=b"Connection: close\r\n")
        while await client.some():
            pass
        await self.later(LINGER_SECONDS - 1)
        self.assertEqual(self.site.connections, 1)
        await self.lingered()

    @on_each_loop
    async def test_prepared_answer_to_a_body(self) -> None:
        """It arrives although nobody reads the body, which comes behind it."""
        self.prepared[b"/ready"] = Prepared(405, [], [b"no" * 40_000])
        client = await self.client()
        await client.send(
            b"POST /ready HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"
        )
        await client.until(b"\r\n\r\n")
        await client.send(b"x" * 100_000)
        self.assertEqual(len(await client.rest()), 80_000)


class HeldTests(NativeCase):
    """What a client sends before it is its turn."""

    @on_each_loop
    async def test_reading_stops_and_goes_on(self) -> None:
        """More than 64 KiB of further requests are left in the kernel."""
        client, request = await self.asked(small=True)
        further = b"GET /hi HTTP/1.1\r\nHost: h\r\nX: %b\r\n\r\n" % (b"x" * 1000)
        sending = self.loop.create_task(client.send(further * 400))
        await self.so(lambda: self.connection().input.paused)
        await self.turns()
        self.assertLess(
            len(self.connection().input.stream.pending), MAX_PENDING_INPUT + 300_000
        )
        request.finish()
        for _ in range(400):
            await client.until(b"\r\n\r\nhi")
        await sending
        self.assertFalse(self.connection().input.paused)

    @on_each_loop
    async def test_client_that_only_asks(self) -> None:
        """Answers that nobody reads are not gathered: no more is answered."""
        client = await self.client(small=True)
        await client.get("/hi")
        await client.until(b"\r\n\r\nhi")
        connection = self.connection()
        largest = 0

        def is_stuck() -> bool:
            nonlocal largest
            waiting = connection.adapter.unsent
            largest = max(largest, waiting)
            return bool(connection.flow.paused and connection.input.paused)

        pipelined = b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n" * 20_000
        sending = self.loop.create_task(client.send(pipelined))
        await self.so(is_stuck)
        self.assertLess(largest, 80_000)
        self.assertLess(
            len(connection.input.stream.pending), MAX_PENDING_INPUT + 300_000
        )
        for _ in range(20_000):
            await client.until(b"\r\n\r\nhi")
        await sending


class DisconnectTests(NativeCase):
    """A client that leaves."""

    @on_each_loop
    async def test_after_a_refusal(self) -> None:
        """A client that leaves is gone at once, whether it has read why or not."""
        for reads in (True, False):
            client = await self.client()
            await client.send(b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n")
            if reads:
                self.assertIn(b" 400 ", await client.rest())
            client.goes()
            await self.so(lambda: not self.site._connections)

    @on_each_loop
    async def test_closed_with_a_bad_message(self) -> None:
        """The end that comes together with what is refused is the end of both."""
        client = await self.client()
        client.socket.send(b"GET / HTTP/1.1\r\n\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        self.assertIn(b" 400 ", await client.rest())
        await self.so(lambda: not self.site._connections)

    @on_each_loop
    async def test_pipelined_requests_wait_their_turn(self) -> None:
        """Others are served between them; the end does not overtake them."""
        client, other = await self.client(), await self.client()
        other.socket.send(b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n")
        client.socket.send(b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n" * 1000)
        client.socket.shutdown(socket.SHUT_WR)
        client.accepted()
        await other.until(b"hi")
        self.assertLess(self.site.requests, 500)
        self.assertEqual((await client.rest()).count(b"\r\n\r\nhi"), 1000)

    @on_each_loop
    async def test_exception_after_the_end_of_the_input(self) -> None:
        """The peer closes its side only once: this is not forgotten."""
        make, wait = RequestCycle._make, RequestInput._wait_for_turn

        def failing(cycle: RequestCycle, head: Head) -> Any:
            if head.path == b"/fails":
                raise ValueError(head.path)
            return make(cycle, head)

        def ended_meanwhile(read: RequestInput) -> None:
            wait(read)
            self.assertTrue(read.ended())

        self.patch(RequestCycle, "_make", failing)
        self.patch(RequestInput, "_wait_for_turn", ended_meanwhile)
        ends: list[object] = []
        self.patch(Connection, "peer_closed", lambda _: ends.append(1))
        client = await self.client()
        hello = b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n"
        fails = b"GET /fails HTTP/1.1\r\nHost: h\r\n\r\n"
        client.socket.send(hello * PIPELINED + fails)
        await self.so(lambda: ends)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        client.socket.close()

    @on_each_loop
    async def test_turns_are_shared(self) -> None:
        """Where many pipeline requests, a turn is no longer for that."""
        clients = [await self.client() for _ in range(100)]
        for client in clients:
            client.socket.send(b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n" * 64)
            client.accepted()
        most = seen = 0
        while self.site.requests < 6400:
            await asyncio.sleep(0)
            most = max(most, self.site.requests - seen)
            seen = self.site.requests
        self.assertLess(most, 400)
        self.assertEqual(self.site.waiting, 0)

    @on_each_loop
    async def test_turns_are_shared_by_chunks(self) -> None:
        """So it is where many send bodies in small chunks."""
        clients = [await self.client() for _ in range(30)]
        head = b"POST /hi HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        for client in clients:
            client.socket.send(head + b"1\r\nx\r\n" * 4000 + b"0\r\n\r\n")
            client.accepted()
        most = seen = 0
        while self.site.requests < len(clients):
            await asyncio.sleep(0)
            got = sum(each.input.stream.received for each in self.connections())
            most = max(most, got - seen)
            seen = got
        # The first ones do not know of the others yet.
        self.assertLess(most, 6 * CHUNKS)
        self.assertEqual(self.site.waiting, 0)

    @on_each_loop
    async def test_turns_of_who_leaves(self) -> None:
        """They are nobody's."""
        client = await self.client()
        client.socket.send(b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n" * 64)
        client.accepted()
        await self.so(lambda: self.site.waiting)
        client.resets()
        await self.so(lambda: not self.site._connections)
        self.assertEqual(self.site.waiting, 0)

    @on_each_loop
    async def test_close(self) -> None:
        """The request's notifyFinish fails as soon as the client has left."""
        client, _ = await self.asked()
        client.goes()
        await self.so(lambda: self.resource.ends)
        self.assertEqual(self.resource.ends, ["ConnectionDone"])

    @on_each_loop
    async def test_reset(self) -> None:
        """So it is of a reset."""
        client, _ = await self.asked()
        client.resets()
        await self.so(lambda: self.resource.ends)
        self.assertEqual(len(self.resource.ends), 1)

    @on_each_loop
    async def test_bytes_and_reset_at_once(self) -> None:
        """A request and a reset that come together are heard, both."""
        client = await self.client()
        await client.get("/hi")
        await client.until(b"\r\n\r\nhi")
        client.socket.send(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        client.resets()
        await self.so(lambda: not self.site._connections)
        self.assertEqual(len(self.resource.ends), len(self.resource.requests))

    @on_each_loop
    async def test_in_a_body(self) -> None:
        """A request whose body does not come to its end is never served."""
        for leave in ("goes", "resets"):
            client = await self.client()
            await client.send(POST + b"12345")
            await self.so(
                lambda: any(each.input.stream.received for each in self.connections())
            )
            getattr(client, leave)()
            await self.so(lambda: not self.site._connections)
        self.assertEqual(self.resource.requests, [])

    @on_each_loop
    async def test_half_closed(self) -> None:
        """A client's half-close ends the connection; open requests are not answered."""
        client, _ = await self.asked()
        client.socket.shutdown(socket.SHUT_WR)
        await self.so(lambda: self.resource.ends)
        self.assertEqual(len(self.resource.ends), 1)

    @on_each_loop
    async def test_half_closed_after_the_answers(self) -> None:
        """What was answered before the end is sent, as long as it is taken."""
        client = await self.client(small=True)
        await client.get(*["/hi"] * 200)
        client.socket.shutdown(socket.SHUT_WR)
        self.assertEqual((await client.rest()).count(b"\r\n\r\nhi"), 200)

    @on_each_loop
    async def test_half_closed_and_deaf(self) -> None:
        """A client that has half closed and takes nothing is given up."""
        for finishes in (True, False):
            client, request = await self.asked(small=True)
            del self.resource.ends[:]
            for _ in range(8):
                request.write(b"x" * 50_000)
                await self.turns(3)
            if finishes:
                request.finish()
            client.socket.shutdown(socket.SHUT_WR)
            if not finishes:
                await self.so(lambda: self.resource.ends)
                self.assertEqual(len(self.resource.ends), 1)
            await self.later(201)
            await self.so(lambda: not self.site._connections)
            self.resource.requests.clear()


class TimeTests(NativeCase):
    """What happens when nothing happens."""

    @on_each_loop
    async def test_idle(self) -> None:
        """A kept connection is closed after its time."""
        client = await self.client()
        await client.get("/hi")
        await client.until(b"\r\n\r\nhi")
        await self.later(60)
        self.assertEqual(len(self.site._connections), 1)
        await self.later(8)
        self.assertEqual(await client.rest(), b"")

    @on_each_loop
    async def test_slow_head(self) -> None:
        """A head that does not come to its end gets a 408."""
        client = await self.client()
        await client.send(b"GET / HTTP/1.1\r\n")
        await self.so(lambda: self.site._connections)
        await self.so(lambda: self.connection().input.stream.pending)
        await self.later(32)
        self.assertTrue((await client.rest()).startswith(b"HTTP/1.1 408 "))

    @on_each_loop
    async def test_stall(self) -> None:
        """A client that takes nothing of its answer for long is cut off."""
        client, request = await self.asked(small=True)
        for _ in range(20):
            request.write(b"x" * 50_000)
        await self.so(lambda: self.connection().flow.paused)
        await self.later(190)
        self.assertEqual(self.resource.ends, [])
        await self.later(15)
        await self.so(lambda: self.resource.ends)
        with self.assertRaises(ConnectionResetError):
            await client.rest()


class DrainTests(NativeCase):
    """A site that ends."""

    @on_each_loop
    async def test_idle_and_busy(self) -> None:
        """Idle connections end at once, busy ones with an answer that says so."""
        idle = await self.client()
        await idle.get("/hi")
        await idle.until(b"\r\n\r\nhi")
        busy, request = await self.asked()
        drained = self.site.drain()
        self.assertEqual(await idle.rest(), b"")
        self.assertNoResult(drained)
        request.finish()
        self.assertIn(b"\r\nConnection: close\r\n", await busy.rest())
        await self.so(lambda: drained.called)

    @on_each_loop
    async def test_abort(self) -> None:
        """What is aborted is reset."""
        client, _ = await self.asked()
        self.site.abort()
        with self.assertRaises(ConnectionResetError):
            await client.rest()
        await self.so(lambda: self.resource.ends)

    @on_each_loop
    async def test_connection_that_has_just_come(self) -> None:
        """What was accepted right before is waited for, and its request answered."""
        client = await self.client()
        client.accepted()
        client.socket.send(b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n")
        drained = self.site.drain()
        self.assertNoResult(drained)
        answer = await client.rest()
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertTrue(answer.endswith(b"hi"))
        await self.so(lambda: drained.called)

    @on_each_loop
    async def test_connection_that_brings_nothing(self) -> None:
        """It is waited for only shortly."""
        client = await self.client()
        client.accepted()
        drained = self.site.drain()
        await self.turns()
        self.assertNoResult(drained)
        await self.later(FIRST_REQUEST_SECONDS + 2)
        self.assertEqual(await client.rest(), b"")
        await self.so(lambda: drained.called)


class ServerTests(NativeCase):
    """What the server makes of connections that come to nothing."""

    @on_each_loop
    async def test_client_that_has_left(self) -> None:
        """It is nothing to be told of."""
        near, far = pair()
        peer = near.getsockname()
        near.close()
        AsyncioServer(self.loop, self.site).serve(far, peer)
        await self.turns()
        await self.so(lambda: not self.site._connections)
