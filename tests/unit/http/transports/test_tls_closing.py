"""How TLS connections are closed on asyncio's transports, and by whose leave."""

import asyncio
import socket

from clusterapp.http.connection_limits import LINGER_SECONDS
from tests.unit.http.native_sites import NativeCase, Tls, on_each_loop
from tests.unit.http.transports.tls_clients import RawTls, soon

CLOSE = b"Connection: close\r\n"


class ClosingTests(NativeCase):
    """The client answers no close_notify."""

    async def raw(self, *, small: bool = False) -> RawTls:
        client = RawTls(self, Tls(), small=small)
        client.serve()
        await soon(asyncio.ensure_future(client.handshake()))
        return client

    async def gone(self) -> None:
        """Wait until the server has closed, which takes no timeout."""
        await soon(asyncio.ensure_future(self.so(lambda: not self.site.connections)))

    @on_each_loop
    async def test_response(self) -> None:
        """Its descriptor is free soon after the response is acknowledged."""
        client = await self.raw()
        await client.ask("/hi", CLOSE)
        self.assertTrue((await client.rest()).endswith(b"\r\n\r\nhi"))
        await self.turns()
        self.assertEqual(self.site.connections, 1)
        await self.lingered()
        client.socket.close()

    @on_each_loop
    async def test_idle_for_want_of_descriptors(self) -> None:
        client = await self.raw()
        await self.so(lambda: self.site.connections)
        self.assertEqual(self.site.close_idle(), 1)
        await self.gone()
        self.assertEqual(await client.rest(), b"")
        client.socket.close()

    @on_each_loop
    async def test_closed_for_want_of_descriptors(self) -> None:
        """Those that wait for a close_notify are the first."""
        idle = await self.raw()
        await self.so(lambda: self.site.connections)
        closed = await self.raw()
        await closed.ask("/hi", CLOSE)
        await closed.rest()
        self.assertEqual(self.site.close_idle(), 1)
        await soon(asyncio.ensure_future(self.so(lambda: self.site.connections == 1)))
        await idle.ask("/hi", CLOSE)
        self.assertTrue((await idle.rest()).endswith(b"\r\n\r\nhi"))
        idle.socket.close()
        closed.socket.close()

    @on_each_loop
    async def test_slow_reader(self) -> None:
        """What was written waits for the client for longer than a close_notify."""
        client = await self.raw(small=True)
        await client.ask("/slow", CLOSE)
        request = await self.request()
        request.write(b"~" * 1_000_000)
        request.finish()
        await self.later(LINGER_SECONDS + 5)
        self.assertEqual(self.site.connections, 1)
        rest = await client.rest()
        await self.lingered()
        self.assertEqual(rest.count(b"~"), 1_000_000)
        await self.gone()
        client.socket.close()

    @on_each_loop
    async def test_unread_input(self) -> None:
        """A refused request's connection lingers, so that its answer arrives."""
        client = await self.raw()
        await client.ask("/hi", b"Bad : x\r\n")
        rest = await client.rest()
        self.assertTrue(rest.startswith(b"HTTP/1.1 400 "), rest)
        self.assertEqual(self.site.connections, 1)
        client.socket.shutdown(socket.SHUT_WR)
        await self.gone()
        client.socket.close()
