"""Connections on which another worker passes clients' requests, written by hand."""

import socket

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.connection_limits import Limits
from clusterapp.http.syntax.client_origin import Origin
from clusterapp.http.upstream.core_agent import IDLE_TIMEOUT
from clusterapp.worker.proxy.relay_limits import relayed_limits
from tests.unit.http.native_sites import Client, on_each_loop
from tests.unit.worker.workers import WorkersCase

HERE = IPv4Address("TCP", "5.6.7.8", 80)
FROM = b"Clusterapp-From: 0 1.2.3.4 99 5.6.7.8 80\r\n"


class FieldTests(SynchronousTestCase):
    """The field that says whose a request is."""

    def test_written(self) -> None:
        """Addresses with their ports, and nothing of those that have none."""
        there = IPv6Address("TCP", "fe80::1%2", 9)
        for address, written in (
            (IPv4Address("TCP", "1.2.3.4", 99), b"1.2.3.4 99"),
            (there, b"fe80::1%2 9"),
            (UNIXAddress("/run/x"), b"- 0"),
        ):
            for secure in (False, True):
                self.assertEqual(
                    Origin(address, HERE, secure).field,
                    (b"Clusterapp-From", b"%d %b 5.6.7.8 80" % (secure, written)),
                )

    def test_limits(self) -> None:
        """More of a head, and as long as the other worker wants; the rest stays."""
        limits = Limits(body=7, keepalive_timeout=2.0, request_timeout=3.0)
        made = relayed_limits(limits)
        self.assertGreater(made.head, limits.head)
        self.assertGreater(made.fields, limits.fields)
        self.assertGreater(made.keepalive_timeout, IDLE_TIMEOUT)
        self.assertEqual((made.requests, made.body, made.request_timeout), (None, 7, 3))
        self.assertEqual(
            relayed_limits(Limits(keepalive_timeout=90.0)).keepalive_timeout, 90
        )


class ConnectionTests(WorkersCase):
    """A worker's private socket."""

    async def client(self, **_: object) -> Client:
        """Connect to the private socket there."""
        near = socket.socket(socket.AF_UNIX)
        near.connect(f"{self.folder}/worker-1.sock")
        client = Client(self.loop, near)
        self.clients.append(client)
        return client

    async def refused(self, head: bytes) -> None:
        client = await self.asking(head + b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n")
        answer = await client.rest()
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
        self.assertEqual(answer.count(b"HTTP/1.1 "), 1)
        self.assertEqual((self.there.site.requests, self.there.recorded), (0, []))

    @on_each_loop
    async def test_missing(self) -> None:
        """A request without the field is refused, with all that is behind it."""
        await self.refused(b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n")
        await self.refused(b"GET /hi HTTP/1.0\r\n\r\n")
        await self.refused(b"GET /hi HTTP/1.1\r\nHost: h\r\n" + FROM + b"\r\n")
        other = b"X-" + FROM
        await self.refused(b"GET /hi HTTP/1.1\r\n" + other + b"Host: h\r\n\r\n")

    @on_each_loop
    async def test_bad(self) -> None:
        for value in (
            b"",
            b"0",
            b"2 1.2.3.4 99 5.6.7.8 80",
            b"0 1.2.3.4 99 5.6.7.8",
            b"0 1.2.3.4 x 5.6.7.8 80",
            b"0 1.2.3.4 99 5.6.7.8 80 1",
        ):
            await self.refused(
                b"GET /hi HTTP/1.1\r\nClusterapp-From: %b\r\nHost: h\r\n\r\n" % value
            )

    @on_each_loop
    async def test_each_its_own(self) -> None:
        """Requests that come at once are of the clients that they name."""
        client = await self.client()
        await client.send(
            b"".join(
                b"GET /slow HTTP/1.1\r\nClusterapp-From: %b\r\nHost: h\r\n\r\n" % whose
                for whose in (
                    b"0 1.2.3.4 9 - 0",
                    b"1 fe80::1%2 8 ::1 443",
                    b"0 - 0 - 0",
                )
            )
        )
        for count, peer, host, secure in (
            # What came by a Unix socket has stand-ins of IP.
            (
                1,
                IPv4Address("TCP", "1.2.3.4", 9),
                IPv4Address("TCP", "127.0.0.1", 80),
                False,
            ),
            (
                2,
                IPv6Address("TCP", "fe80::1%2", 8),
                IPv6Address("TCP", "::1", 443),
                True,
            ),
            (
                3,
                IPv4Address("TCP", "127.0.0.1", 0),
                IPv4Address("TCP", "127.0.0.1", 80),
                False,
            ),
        ):
            request = await self.relayed(count=count)
            self.assertEqual(request.getClientAddress(), peer)
            self.assertEqual(request.getHost(), host)
            self.assertEqual(request.isSecure(), secure)
            self.assertIsNone(request.getHeader("clusterapp-from"))
            request.respond(b"")
        self.assertEqual(self.there.recorded, [])

    @on_each_loop
    async def test_asked_late(self) -> None:
        """A request keeps its client's address when requests of others follow."""
        client = await self.client()
        for count, address in ((1, b"1.1.1.1"), (2, b"2.2.2.2")):
            await client.send(
                b"GET /slow HTTP/1.1\r\nClusterapp-From: 0 %b 1 %b 2\r\nHost: h\r\n\r\n"
                % (address, address)
            )
            (await self.relayed(count=count)).respond(b"")
        first, second = self.there.scripted.requests
        for request, host in ((first, "1.1.1.1"), (second, "2.2.2.2")):
            self.assertEqual(request.getClientAddress().host, host)
            self.assertEqual(request.getHost().host, host)

    @on_each_loop
    async def test_repeated_head(self) -> None:
        """Each of several requests with the same head has its client's origin."""
        client = await self.client()
        for count in range(1, 5):
            await client.send(
                b"GET /slow HTTP/1.1\r\n" + FROM + b"Host: h\r\nA: b\r\n\r\n"
            )
            request = await self.relayed(count=count)
            self.assertEqual(
                list(request._head.fields), [(b"Host", b"h"), (b"A", b"b")]
            )
            self.assertEqual(request.getClientAddress().port, 99)
            request.respond(b"")
            await client.until(b"\r\n\r\n")

    @on_each_loop
    async def test_under_way(self) -> None:
        """The requests under way are reported with their client."""
        client = await self.client()
        self.assertEqual(self.there.site.under_way(), [])
        await client.send(b"GET /slow HTTP/1.1\r\n" + FROM + b"Host: h\r\n\r\n")
        await self.relayed()
        self.assertEqual(
            self.there.site.under_way(), [(b"GET", b"/slow", "1.2.3.4", 0.0)]
        )

    @on_each_loop
    async def test_says_nothing(self) -> None:
        """A connection that ends before it has brought anything, or within a head."""
        for start in (b"", b"GET / HTTP/1.1\r\nClus"):
            client = await self.asking(start)
            await self.so(lambda: self.there.site.connections)
            client.goes()
            await self.so(lambda: not self.there.site.connections)

    @on_each_loop
    async def test_long_head(self) -> None:
        """One that goes beyond what a worker may pass on is refused."""
        client = await self.asking(b"GET /" + b"a" * 9000)
        self.assertIn(b" 414 ", await client.rest())
        client = await self.asking(
            b"GET / HTTP/1.1\r\n" + FROM + b"Host: h\r\n" + b"A: b\r\n" * 110 + b"\r\n"
        )
        self.assertIn(b" 431 ", await client.rest())
