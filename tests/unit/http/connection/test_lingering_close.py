"""Lingering close: the server closes while the client has yet to read the response."""

import asyncio
import socket
from http import HTTPStatus

import uvloop

from clusterapp.http.connection_limits import WRITE_STALL, Limits
from clusterapp.http.server.prepared_response import Prepared
from tests.unit.http.native_sites import Client, NativeCase, Tls, on_each_loop
from tests.unit.http.transports.tls_clients import RawTls, soon

#: The length of a response that the buffers of a small client's connection cannot hold.
LONG = 400_000

CLOSE = b"Connection: close"
NEXT = b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n"


class LingeringCase(NativeCase):
    """The second request on a connection is its last."""

    limits = Limits(requests=2)

    async def last_response(self, *, small: bool = True) -> Client:
        """Ask until the server closes; the client has not read the last response."""
        client = await self.client(small=small)
        await client.get("/hi")
        await client.until(b"hi")
        await client.get("/slow")
        request = await self.request()
        request.write(b"~" * LONG)
        request.finish()
        await self.turns()
        return client

    async def read_slowly(self, client: Client) -> bytes:
        """Read to the end, while time passes; and see that nothing is missing."""
        while await client.some():
            await self.later(1)
        received = client.received
        self.assertEqual(received.count(b"~"), LONG)
        self.assertIn(CLOSE, received)
        return received


class LingeringTests(LingeringCase):
    """A client whose further requests arrive when the server has closed."""

    @on_each_loop
    async def test_requests_behind_the_last(self) -> None:
        client = await self.last_response()
        await client.send(NEXT * 2)
        await self.later(10)
        await client.send(NEXT)
        await self.read_slowly(client)
        await client.send(NEXT)
        await self.lingered()

    @on_each_loop
    async def test_requests_behind_the_last_of_a_drain(self) -> None:
        client, request = await self.asked(small=True)
        drained = self.site.drain()
        request.write(b"~" * LONG)
        request.finish()
        await client.send(NEXT * 2)
        await self.later(10)
        self.assertFalse(drained.called)
        await self.read_slowly(client)
        await self.lingered()
        self.assertTrue(drained.called)

    @on_each_loop
    async def test_idle_for_too_long(self) -> None:
        """The keep-alive timeout ends while the response is in the kernel's buffers."""
        client, request = await self.asked(small=True)
        request.write(b"~" * 16_000)
        request.finish()
        await self.later(self.limits.keepalive_timeout + 1)
        await client.send(NEXT)
        self.assertEqual((await client.rest()).count(b"~"), 16_000)
        await self.lingered()

    @on_each_loop
    async def test_prepared_response(self) -> None:
        self.prepared[b"/long"] = Prepared(HTTPStatus.OK, (), [b"~" * LONG])
        client = await self.client(small=True)
        await client.get("/hi")
        await client.until(b"hi")
        await client.get("/long")
        await self.turns()
        await client.send(NEXT)
        await self.later(1)
        await self.read_slowly(client)
        await self.lingered()

    @on_each_loop
    async def test_client_that_reads_and_stays(self) -> None:
        """It has a moment to close; what it was sent is acknowledged."""
        client = await self.last_response(small=False)
        while await client.some():
            pass
        await self.lingered()
        self.assertLess(self.clock.seconds(), WRITE_STALL)

    @on_each_loop
    async def test_client_that_reads_nothing(self) -> None:
        await self.last_response()
        await self.later(WRITE_STALL - 10)
        self.assertEqual(self.site.connections, 1)
        await self.later(20)
        await self.so(lambda: not self.site.connections)

    @on_each_loop
    async def test_client_that_reads_little(self) -> None:
        """A trickle does not keep the connection."""
        client = await self.last_response()
        for _ in range(6):
            self.assertTrue(client.socket.recv(1))
            await self.later(WRITE_STALL / 4)
        await self.so(lambda: not self.site.connections)

    @on_each_loop
    async def test_client_that_closes(self) -> None:
        client = await self.last_response()
        client.goes()
        await self.so(lambda: not self.site.connections)

    @on_each_loop
    async def test_client_that_asks_for_the_close(self) -> None:
        """It sends nothing more: there is nothing to wait for."""
        client = await self.client()
        await client.get("/hi", also=b"Connection: close\r\n")
        await self.so(lambda: not self.site.connections)
        self.assertTrue((await client.rest()).endswith(b"hi"))

    @on_each_loop
    async def test_end_of_the_graceful_timeout(self) -> None:
        """What has been written arrives, though the process may end now."""
        client, request = await self.asked(small=True)
        self.site.drain()
        request.write(b"~" * 12_000)
        request.finish()
        await self.turns()
        self.assertEqual(self.site.connections, 1)
        self.site.abort()
        await self.so(lambda: not self.site.connections)
        self.assertEqual((await client.rest()).count(b"~"), 12_000)

    @on_each_loop
    async def test_end_of_the_graceful_timeout_within_a_response(self) -> None:
        """The client must not take a partial response for a complete one."""
        client = await self.last_response()
        self.site.abort()
        await self.so(lambda: not self.site.connections)
        with self.assertRaises(ConnectionResetError):
            await client.rest()

    @on_each_loop
    async def test_for_want_of_descriptors(self) -> None:
        """A client that has everything is closed before one that still reads."""
        reading = await self.last_response()
        stays = await self.client()
        await stays.get("/hi")
        await stays.until(b"hi")
        await stays.get("/hi")
        while await stays.some():
            pass
        await self.until_acknowledged()
        self.assertEqual(self.site.close_idle(), 1)
        await self.so(lambda: self.site.connections == 1)
        await self.read_slowly(reading)
        await self.lingered()

    async def until_acknowledged(self) -> None:
        """Wait until one of the clients has acknowledged everything."""
        await self.so(
            lambda: any(each.has_been_read for each in self.site._connections)
        )


class LingeringTlsTests(LingeringCase):
    """The same over TLS, to a client that answers no close_notify."""

    async def tls(self) -> RawTls:
        client = RawTls(self, Tls(), small=True)
        client.serve()
        await soon(asyncio.ensure_future(client.handshake()))
        return client

    @on_each_loop
    async def test_requests_behind_the_last(self) -> None:
        """They arrive before and after the server's close_notify was written."""
        client = await self.tls()
        await client.ask("/slow")
        request = await self.request()
        self.site.drain()
        request.write(b"~" * LONG)
        request.finish()
        await client.ask("/hi")
        await self.later(10)
        await client.ask("/hi")
        rest = await client.rest()
        await self.later(1)
        self.assertEqual(rest.count(b"~"), LONG)
        await client.ask("/hi")
        await self.lingered()
        client.socket.close()

    @on_each_loop
    async def test_requests_behind_what_is_in_the_kernel(self) -> None:
        """The close_notify is written at once; the client reads all much later."""
        # asyncio's own TLS drops what it has not passed to the kernel when data arrives
        # behind its close_notify (seen on CPython 3.11), so all must fit in there.
        length = 16_000 if isinstance(self.loop, uvloop.Loop) else 6_000
        client = await self.tls()
        await client.ask("/slow")
        request = await self.request()
        self.site.drain()
        request.write(b"~" * length)
        request.finish()
        await self.turns()
        await client.ask("/hi")
        await self.later(20)
        self.assertEqual(client.socket.recv(1, socket.MSG_PEEK)[:1], b"\x17")
        self.assertEqual((await client.rest()).count(b"~"), length)
        await self.lingered()
        client.socket.close()
