"""Connections that begin with a PROXY header, on each kind of event loop."""

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import ISSLTransport
from twisted.logger import LogLevel, capturedLogs, formatEvent

from clusterapp.http.connection_limits import Limits
from clusterapp.http.transports.asyncio_server import AsyncioServer
from clusterapp.http.transports.proxy_protocol_listener import ProxyProtocolServer
from tests.unit.http.native_sites import Client, Tls, on_each_loop, pair
from tests.unit.http.syntax.test_proxy_protocol import INET, INET6, ssl, v2
from tests.unit.http.transports.draining_sites import CLOSE, LeavingCase, TakingWorker

V1 = b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n"
CLIENT = IPv4Address("TCP", "192.0.2.1", 56324)
HI = b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n"


class AnnouncedCase(LeavingCase):
    """A site whose connections a proxy announces."""

    limits = Limits(requests=None, header_timeout=5.0)

    def proxied(
        self, versions: str = "auto", *, tls: Tls | None = None, trusts: bool = True
    ) -> ProxyProtocolServer:
        """Make what serves the connections of a listener."""
        context = None if tls is None else lambda: tls.server
        server = AsyncioServer(self.loop, self.site, context)
        return ProxyProtocolServer(
            self.loop, server, versions, lambda _: trusts, "tcp:1"
        )

    async def proxy(
        self, first: bytes = b"", listener: ProxyProtocolServer | None = None
    ) -> Client:
        """Connect a proxy; what it says first may be there when it is accepted."""
        near, far = pair(socket.AF_INET)
        listener = listener or self.proxied()
        client = Client(
            self.loop, near, partial(listener.serve, far, near.getsockname())
        )
        self.clients.append(client)
        if not self.asks_first:
            client.accepted()
        if first:
            with contextlib.suppress(ConnectionError):  # it may be refused at once
                await client.send(first)
        return client

    async def closed(self, client: Client) -> None:
        """Assert that a connection is closed without a response, and forgotten."""
        with contextlib.suppress(ConnectionResetError):  # with bytes unread
            self.assertEqual(await client.rest(), b"")
        await self.so(lambda: not self.site.connections)


class HeaderTests(AnnouncedCase):
    """Headers, and the client address that they give."""

    async def peers(self, header: bytes, pieces: int = 1) -> tuple[Any, Any]:
        """Send a header in pieces, and a request; return that, and the connection."""
        before = len(self.resource.requests)
        size = -(-len(header) // pieces)
        client = await self.proxy(header[:size])
        for begin in range(size, len(header), size):
            await self.turns(5)
            await client.send(header[begin : begin + size])
        await client.send(SLOW)
        request = await self.request(count=before + 1)
        return request, request.channel

    @on_each_loop
    async def test_versions(self) -> None:
        """However they come, and with the request behind them or after them."""
        for pieces in (1, 2, 5):
            for header, address in (
                (V1, CLIENT),
                (v2(0x11, INET), CLIENT),
                (v2(0x21, INET6), IPv6Address("TCP", "2001:db8::1", 56324)),
            ):
                request, connection = await self.peers(header, pieces)
                self.assertEqual(request.getClientAddress(), address)
                self.assertEqual(connection.getPeer(), address)
                self.assertEqual(request.transport.getPeer(), address)
                self.assertFalse(request.isSecure())
        both = await self.proxy(V1 + HI + HI)
        await both.until(b"\r\n\r\nhi")
        await both.until(b"\r\n\r\nhi")

    @on_each_loop
    async def test_nobody_announced(self) -> None:
        """The proxy's own requests are its own."""
        for header in (b"PROXY UNKNOWN\r\n", v2(0, b"", command=0x20)):
            request, connection = await self.peers(header)
            peer = IPv4Address("TCP", *self.clients[-1].socket.getsockname())
            self.assertEqual(request.getClientAddress(), peer)
            self.assertEqual(connection.getPeer(), peer)

    @on_each_loop
    async def test_client_with_tls(self) -> None:
        """The request is secure, and its transport is none of TLS."""
        request, connection = await self.peers(v2(0x11, INET + ssl(1)))
        self.assertTrue(request.isSecure())
        self.assertTrue(connection.isSecure())
        self.assertFalse(ISSLTransport.providedBy(request.transport))
        request.transport.write(b"raw")
        await self.clients[-1].until(b"raw")

    @on_each_loop
    async def test_before_tls(self) -> None:
        """The header is read first, and the handshake is the client's own."""
        tls = Tls()
        for pieces in (1, 3):
            before = len(self.resource.requests)
            client = await self.proxy(V1[:7], self.proxied(tls=tls))
            client.accepted()
            if pieces > 1:
                await self.turns(5)
            await client.send(V1[7:])
            self.clients.remove(client)
            reader, writer = await asyncio.open_connection(
                sock=client.socket, ssl=tls.client, server_hostname="localhost"
            )
            writer.write(SLOW)
            request = await self.request(count=before + 1)
            self.assertEqual(request.getClientAddress(), CLIENT)
            self.assertTrue(request.isSecure())
            self.assertTrue(ISSLTransport.providedBy(request.transport))
            request.finish()
            await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()


class RefusedTests(AnnouncedCase):
    """Connections that are closed without an answer."""

    def told(self, events: Sequence[dict[str, Any]]) -> list[str]:
        """Return the warnings, of which each is one line."""
        self.assertTrue(all(e["log_level"] is LogLevel.warn for e in events))
        return [str(formatEvent(event)) for event in events]

    @on_each_loop
    async def test_no_header(self) -> None:
        """A request, a wrong version, a malformed line: none is answered."""
        for first, versions, why in (
            (HI, "auto", "no PROXY header"),
            (V1, "v2", "of v1, not v2"),
            (v2(0x11, INET), "v1", "of v2, not v1"),
            (b"PROXY TCP4 nobody\r\n" + HI, "v1", "a malformed PROXY line"),
        ):
            with capturedLogs() as events:
                await self.closed(await self.proxy(first, self.proxied(versions)))
            [line] = self.told(events)
            self.assertIn("refused a connection of 127.0.0.1 to tcp:1", line)
            self.assertIn(why, line)
        self.assertEqual(self.site.requests, 0)

    @on_each_loop
    async def test_stranger(self) -> None:
        """It is closed whatever it says, and is not waited for."""
        for first in (b"", V1 + HI, HI):
            with capturedLogs() as events:
                listener = self.proxied(trusts=False)
                await self.closed(await self.proxy(first, listener))
            [line] = self.told(events)
            self.assertIn("trusted_proxies", line)

    @on_each_loop
    async def test_late(self) -> None:
        """Nobody waits longer for a header than for a request's head."""
        for first in (b"", V1[:20], v2(0x11, INET)[:20]):
            with capturedLogs() as events:
                client = await self.proxy(first)
                await self.turns()
                self.assertEqual(self.site.connections, 1)
                await self.later(4)
                self.assertEqual(self.site.connections, 1)
                await self.later(3)
                await self.closed(client)
            [line] = self.told(events)
            self.assertIn("in time", line)

    @on_each_loop
    async def test_gone(self) -> None:
        """Balancers look so whether a port is open: there is nothing to tell."""
        with capturedLogs() as events:
            for first in (b"", V1[:20], V1):
                for end in (Client.goes, Client.resets):
                    client = await self.proxy(first)
                    await self.turns(5)
                    end(client)
                    client.accepted()
                    await self.so(lambda: not self.site.connections)
        self.assertEqual(events, [])

    @on_each_loop
    async def test_told_now_and_then(self) -> None:
        """A wrong proxy does not fill the log; its connections are counted."""
        listener = self.proxied()
        with capturedLogs() as events:
            for _ in range(5):
                await self.closed(await self.proxy(HI, listener))
            self.assertEqual(len(events), 1)
            self.clock.advance(60)
            await self.closed(await self.proxy(HI, listener))
        self.assertIn("4 others", self.told(events)[1])

    @on_each_loop
    async def test_others_go_on(self) -> None:
        """While headers are awaited, or refused, other clients are served."""
        listener = self.proxied()
        good = await self.proxy(V1 + HI, listener)
        for first in (b"", V1[:9], HI, b"PROXY " + b"x" * 200):
            await self.proxy(first, listener)
        await good.until(b"\r\n\r\nhi")
        await good.send(HI)
        await good.until(b"\r\n\r\nhi")

    @on_each_loop
    async def test_failure_behind_the_header(self) -> None:
        """What is wrong with us is told, and leaves nothing behind."""
        listener = self.proxied()
        client = await self.proxy(V1[:9], listener)
        await self.turns()

        def fail(*_: object) -> None:
            raise RuntimeError("broken")

        self.patch(listener._server, "begin", fail)
        with capturedLogs() as events:
            await client.send(V1[9:])
            await self.closed(client)
        [event] = events
        self.assertIn("RuntimeError('broken')", str(formatEvent(event)))


class DrainTests(AnnouncedCase):
    """A site that comes to its end."""

    @on_each_loop
    async def test_awaited_header(self) -> None:
        """It holds up a drain for a moment, as a new connection's request does."""
        with capturedLogs() as events:
            await self.proxy(V1[:9])
            await self.turns()
            drained = self.site.drain()
            await self.turns()
            self.assertFalse(drained.called)
            await self.later(2)
            await self.so(lambda: drained.called)
        self.assertEqual(events, [])

    @on_each_loop
    async def test_header_in_a_drain(self) -> None:
        """Its request is answered, and the client told that it was the last."""
        for first in (b"", V1[:9]):
            client = await self.proxy(first)
            await self.turns()
            drained = self.site.drain()
            await client.send(V1[len(first) :] + HI)
            self.assertIn(CLOSE, await client.rest())
            self.assertTrue(client.received.endswith(b"hi"))
            await self.so(lambda: not self.site.connections)
            self.assertTrue(drained.called)
            self.site.draining = False

    @on_each_loop
    async def test_abort(self) -> None:
        """At each step; nothing is left."""
        with capturedLogs() as events:
            for turns in range(6):
                self.site.drain()
                client = await self.proxy(V1[:9])
                client.accepted()
                for _ in range(turns):
                    await asyncio.sleep(0)
                await client.send(V1[9:])
                self.site.abort()
                await self.closed(client)
                self.site.draining = False
        self.assertEqual(events, [])

    @on_each_loop
    async def test_not_lent(self) -> None:
        """Another process could not know the client: only what is the proxy's own."""
        for header, lent in (
            (V1, 0),
            (v2(0x31, bytes(216) + ssl(1)), 0),
            (b"PROXY UNKNOWN\r\n", 1),
        ):
            taker = TakingWorker(self)
            client = await self.proxy(header + HI)
            await client.until(b"\r\n\r\nhi")
            drained = await self.leave(taker)
            await self.so(lambda: drained.called)  # noqa: B023
            self.assertEqual(taker.taken, lent)
            self.site.draining = False
            await self.end(taker)
