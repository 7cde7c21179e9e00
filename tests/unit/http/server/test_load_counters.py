"""What a worker's row on the scoreboard says of its site's connections."""

import socket
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from clusterapp.http.connection_limits import Limits
from clusterapp.http.server.load_counters import LoadCounters
from clusterapp.http.site import ClusterSite
from clusterapp.http.transports.asyncio_server import AsyncioServer
from clusterapp.http.transports.proxy_protocol_listener import ProxyProtocolServer
from clusterapp.interfaces import LOAD, OPEN, private_row
from tests.unit.http import clients
from tests.unit.http.native_sites import Client, NativeCase, Tls, on_each_loop, pair
from tests.unit.http.transports.draining_sites import TakingWorker

GET = b"GET /hi HTTP/1.1\r\nHost: h\r\n"


class RowCase(NativeCase):
    """A site with a row that the test sees."""

    limits = Limits(requests=None, header_timeout=5.0, keepalive_timeout=8.0)

    async def _whole(self, test: Callable[[], Awaitable[None]]) -> None:
        self.row = private_row()
        self.site = ClusterSite(
            self.clock,
            self.resource,
            limits=self.limits,
            counters=LoadCounters(self.row),
        )
        await super()._whole(test)
        self.assertEqual(self.row[OPEN], 0)

    async def asking(self, data: bytes) -> Client:
        """Connect a client that sends something, and is served by then."""
        client = await self.client()
        await client.send(data)
        client.accepted()
        await self.turns()
        return client

    async def none(self) -> None:
        """Wait until the row says that nobody is connected."""
        await self.so(lambda: not self.row[OPEN])


class EndTests(RowCase):
    """The ways in which a connection ends."""

    @on_each_loop
    async def test_counts(self) -> None:
        """How many there are, and how many have come."""
        there = [await self.asking(GET + b"\r\n") for _ in range(3)]
        self.assertEqual((self.row[OPEN], self.row[LOAD]), (3, 3 + 3))
        there[0].goes()
        await self.so(lambda: self.row[OPEN] == 2)
        self.assertEqual(self.row[LOAD], 2 + 3)

    @on_each_loop
    async def test_last_response(self) -> None:
        """It may be sent before the loop has the connection."""
        client = await self.asking(GET + b"Connection: close\r\n\r\n")
        self.assertTrue((await client.rest()).endswith(b"\r\n\r\nhi"))
        await self.none()
        self.assertEqual(self.row[LOAD], 1)

    @on_each_loop
    async def test_bad_message(self) -> None:
        client = await self.asking(b"x\r\n\r\n")
        await client.rest()
        client.goes()
        await self.none()

    @on_each_loop
    async def test_client_leaves(self) -> None:
        """Between requests, within a head, a body, and before its response."""
        post = b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"
        get = b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n"
        for data in (GET + b"\r\n", b"GE", post + b"a", get):
            for leave in (Client.goes, Client.resets):
                leave(await self.asking(data))
                await self.none()

    @on_each_loop
    async def test_without_a_word(self) -> None:
        """Whether it is accepted before it has gone, or after."""
        for leave in (Client.goes, Client.resets):
            client = await self.client()
            near = client._accept
            leave(client)
            if near is not None:
                near()
            await self.turns()
            await self.none()

    @on_each_loop
    async def test_too_late(self) -> None:
        """For a request, or for the rest of one."""
        for data in (b"", b"GET", GET + b"\r\n"):
            await self.asking(data)
            self.assertEqual(self.row[OPEN], 1)
            await self.later(30)
            await self.lingered()
            await self.none()

    @on_each_loop
    async def test_abort(self) -> None:
        for data in (GET + b"\r\n", b""):
            await self.asking(data)
        self.assertEqual(self.row[OPEN], 2)
        self.site.abort()
        await self.none()

    @on_each_loop
    async def test_handed_over(self) -> None:
        """It counts where it has gone to."""
        client = await self.asking(GET + b"\r\n")
        taker = TakingWorker(self)
        drained = self.site.drain(hand_over=taker.hand_over)
        await self.none()
        self.assertTrue(drained.called)
        client.goes()
        await self.so(lambda: not taker.site.connections)
        self.clock.advance(1)

    @on_each_loop
    async def test_upgrade(self) -> None:
        """An upgraded connection counts until its end, by the server or the client."""
        for here in (True, False):
            client, request = await self.asked()
            protocol = Protocol()
            request.channel._protocolUpgradeForWebsockets(protocol)
            await self.turns()
            self.assertEqual(self.row[OPEN], 1)
            if here:
                protocol.transport.loseConnection()  # type: ignore[union-attr]
            else:
                client.goes()
            await self.none()
            self.resource.requests.clear()

    @on_each_loop
    async def test_protocol_that_fails(self) -> None:
        """What it raises at the end changes nothing."""

        class Failing(Protocol):
            def connectionLost(self, reason: Any = None) -> None:
                raise ValueError("no")

        client, request = await self.asked()
        request.channel._protocolUpgradeForWebsockets(Failing())
        await self.turns()
        client.goes()
        await self.none()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    @on_each_loop
    async def test_tls(self) -> None:
        """One whose handshake fails counts as long as it lasts."""
        tls = Tls()
        near, far = pair()
        client = Client(self.loop, near)
        self.clients.append(client)
        AsyncioServer(self.loop, self.site, lambda: tls.server).serve(far, None)
        await self.turns()
        self.assertEqual(self.row[OPEN], 1)
        await client.send(b"this is no TLS\r\n\r\n")
        await self.none()

    @on_each_loop
    async def test_announced(self) -> None:
        """One that waits for the header of the PROXY protocol counts as well."""
        server = AsyncioServer(self.loop, self.site)
        announced = ProxyProtocolServer(
            self.loop, server, "v1", lambda _: True, "tcp:80"
        )
        parts = (b"", b"PROXY", b"PROXY nonsense\r\n")
        for count, data in enumerate(parts, start=1):
            near, far = pair()
            client = Client(self.loop, near)
            self.clients.append(client)
            with capturedLogs():
                announced.serve(far, near.getsockname())
                self.assertEqual((self.row[OPEN], self.row[LOAD]), (1, 1 + count))
                await client.send(data)
                if data == b"":
                    client.goes()
                else:
                    await self.later(7)
                await self.none()

    @on_each_loop
    async def test_unix(self) -> None:
        client = await self.client(family=socket.AF_UNIX)
        await client.get("/hi")
        await client.until(b"\r\n\r\nhi")
        self.assertEqual(self.row[OPEN], 1)
        client.goes()
        await self.none()


class HostedTests(SynchronousTestCase):
    """Connections on Twisted's transports."""

    def test_counts(self) -> None:
        """They count in the same way; a site without a row has one of its own."""
        clock, row = Clock(), private_row()
        site = ClusterSite(clock, Resource(), counters=LoadCounters(row))
        other = ClusterSite(clock, Resource())
        there = [clients.Client(each, clock) for each in (site, site, other)]
        self.assertEqual((row[OPEN], row[LOAD]), (2, 2 + 2))
        for client in there:
            client.goes()
        self.assertEqual((row[OPEN], row[LOAD]), (0, 2))
        self.assertEqual(site.connections, 0)
        clock.advance(1)
        self.assertEqual(clock.getDelayedCalls(), [])
