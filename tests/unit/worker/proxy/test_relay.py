"""Requests that one worker passes to another: what arrives, and what comes back."""

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.web.wsgi import WSGIResource

from clusterapp.http.connection_limits import Limits
from clusterapp.interfaces import OPEN
from tests.unit.http.connection.test_request_timeout import Threads
from tests.unit.http.native_sites import Client, on_each_loop
from tests.unit.web.clients.test_client_slot import cookie
from tests.unit.worker.workers import MARK, WorkersCase

POST = b"POST /slow HTTP/1.1\r\nHost: h\r\n" + MARK


def ends(client: Client) -> tuple[Any, Any]:
    """Return the addresses of a client, and of what it has connected to."""
    return client.socket.getsockname(), client.socket.getpeername()


class RelayTests(WorkersCase):
    """Whole requests."""

    @on_each_loop
    async def test_passed_on(self) -> None:
        """A client that belongs there is answered there, and counted here."""
        client = await self.marked("/hi")
        await client.until(b"\r\n\r\nhi")
        self.assertEqual((self.here.relay.relayed, self.there.site.requests), (1, 1))

    @on_each_loop
    async def test_own(self) -> None:
        """One that belongs to nobody, or here, is answered here."""
        client = await self.client()
        await client.get("/hi")
        await client.until(b"\r\n\r\nhi")
        self.here.believe(0)
        await client.get("/hi", also=MARK)
        await client.until(b"\r\n\r\nhi")
        self.assertEqual((self.here.relay.relayed, self.there.site.requests), (0, 0))

    @on_each_loop
    async def test_client(self) -> None:
        """The application there sees the client, and where it has connected to."""
        client = await self.marked()
        request = await self.relayed()
        near, far = ends(client)
        self.assertEqual(request.getClientAddress(), IPv4Address("TCP", *near))
        self.assertEqual(request.getHost(), IPv4Address("TCP", *far))
        self.assertEqual(request.transport.getPeer(), IPv4Address("TCP", *near))
        self.assertEqual(request.transport.getHost(), IPv4Address("TCP", *far))
        self.assertFalse(request.isSecure())

    @on_each_loop
    async def test_unix_client(self) -> None:
        """One that came by a Unix socket has the same stand-ins as here."""
        near_is_unix = await self.client(family=1)
        await near_is_unix.get("/slow", also=MARK)
        request = await self.relayed()
        here = IPv4Address("TCP", "127.0.0.1", 0)
        self.assertEqual(request.getClientAddress(), here)
        self.assertEqual(request.getHost(), IPv4Address("TCP", "127.0.0.1", 80))
        self.assertEqual(request.transport.getPeer(), here)
        self.assertEqual(request.transport.getHost(), here)

    @on_each_loop
    async def test_wsgi(self) -> None:
        """An application there is told the same of the two as it would be here."""
        told: list[Any] = []

        def app(environ: Any, start_response: Any) -> list[bytes]:
            told.append(environ)
            start_response("200 OK", [])
            return [environ["wsgi.input"].read()]

        threads = Threads()
        await self.replaced(WSGIResource(threads, threads, app))
        client = await self.asking(POST + b"Content-Length: 2\r\n\r\nhi")
        await self.so(lambda: threads.waiting)
        threads.waiting.pop()()
        await client.until(b"2\r\nhi\r\n")
        names = ("REMOTE_ADDR", "REMOTE_PORT", "SERVER_PORT")
        ports = [end[1] for end in ends(client)]
        self.assertEqual(
            [told[0][name] for name in names], ["127.0.0.1", *map(str, ports)]
        )

    @on_each_loop
    async def test_fields(self) -> None:
        """
        Fields arrive as they were, but for those of one hop and whose it is.

        What Connection names stays: the application would see it here, too.
        """
        await self.asking(
            b"GET /slow HTTP/1.1\r\nHost: h\r\n" + MARK + b"b: 1\r\nA: 2\r\nB: 3\r\n"
            b"Connection: keep-alive, Hop\r\nHop: x\r\nTE: trailers\r\n\r\n"
        )
        request = await self.relayed()
        self.assertEqual(
            [b"%b: %b" % field for field in request._head.fields],
            [b"Host: h", b"X-Key: k", b"b: 1", b"A: 2", b"B: 3", b"Hop: x"],
        )

    @on_each_loop
    async def test_forged(self) -> None:
        """A client that writes whose it is says nothing, wherever it is served."""
        forged = b"Clusterapp-From: 1 1.2.3.4 5 6.7.8.9 443\r\n"
        for mark in (MARK, b""):
            for also in (b"", b"Connection: Clusterapp-From\r\n"):
                await self.asking(
                    b"GET /slow HTTP/1.1\r\n%bHost: h\r\n%b%b\r\n"
                    % (forged, mark, also)
                )
        await self.relayed(count=2)
        requests = self.there.scripted.requests + self.here.scripted.requests
        for request in requests:
            self.assertEqual(request.getClientAddress().host, "127.0.0.1")
            self.assertFalse(request.isSecure())
        self.assertEqual(len(requests), 4)
        for request in requests:
            # Nor can an application be made to send it on.
            self.assertIsNone(request.getHeader("clusterapp-from"))

    @on_each_loop
    async def test_no_host(self) -> None:
        """Requests of HTTP/1.0 need none, and get the end of the connection."""
        client = await self.asking(b"GET /hi HTTP/1.0\r\n" + MARK + b"\r\n")
        answer = await client.rest()
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer)
        self.assertTrue(answer.endswith(b"\r\nConnection: close\r\n\r\nhi"), answer)

    @on_each_loop
    async def test_kept(self) -> None:
        """Requests that follow each other take one connection between the workers."""
        client = await self.client()
        for _ in range(3):
            await client.get("/hi", "/hi", also=MARK)
            await client.until(b"\r\n\r\nhi")
            await client.until(b"\r\n\r\nhi")
        self.assertEqual(self.there.site.requests, 6)
        self.assertEqual(self.there.site.connections, 1)
        # Of clients there is none.
        self.assertEqual(
            (self.there.site.counters.clients, self.there.row[OPEN]), (0, 0)
        )

    @on_each_loop
    async def test_mixed(self) -> None:
        """A proxy's connection: each request goes its way, answers keep their order."""
        client = await self.client()
        get = b"GET /slow HTTP/1.1\r\nHost: h\r\n"
        await client.send(get + MARK + b"\r\n" + get + b"\r\n")
        first = await self.relayed()
        await self.turns()
        self.assertEqual(self.here.scripted.requests, [])
        first.respond(b"there")
        await self.so(lambda: self.here.scripted.requests)
        self.here.scripted.requests[0].respond(b"here")
        answers = await client.until(b"\r\n\r\nhere")
        self.assertLess(answers.index(b"\r\n\r\nthere"), answers.index(b"here"))

    @on_each_loop
    async def test_body(self) -> None:
        """A body arrives whole, with its length or in chunks, and asked for or not."""
        bodies = (
            b"Content-Length: 3\r\n\r\nabc",
            b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        )
        for number, body in enumerate(bodies, start=1):
            client = await self.asking(POST + body)
            request = await self.relayed(count=number)
            self.assertEqual(request.content.read(), b"abc")
            request.respond(b"thanks")
            await client.until(b"\r\n\r\nthanks")
        client = await self.asking(
            POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        await client.until(b"HTTP/1.1 100 Continue\r\n\r\n")
        await client.send(b"abc")
        request = await self.relayed(count=3)
        self.assertEqual(request.content.read(), b"abc")

    @on_each_loop
    async def test_log(self) -> None:
        """The worker that the client is connected to writes the request down."""
        client = await self.marked("/hi?x")
        await client.until(b"\r\n\r\nhi")
        self.assertEqual(self.there.recorded, [])
        [line] = self.here.recorded
        self.assertEqual(
            (line.client, line.method, line.target, line.status, line.sent),
            ("127.0.0.1", b"GET", b"/hi?x", 200, 2),
        )

    @on_each_loop
    async def test_no_loop(self) -> None:
        """What was passed on is served, whatever the two workers believe."""
        for slots in ((0,), (), (7,)):
            self.there.believe(*slots)
            client = await self.marked("/hi")
            await client.until(b"\r\n\r\nhi")
        self.assertEqual(self.there.relay.relayed, 0)
        self.assertEqual(self.there.site.requests, 3)


class CookieTests(WorkersCase):
    """Clients that are known by a cookie, on connections of their own."""

    @on_each_loop
    async def test_cookie(self) -> None:
        """A new client stays where it is; one that has a cookie goes where it names."""
        for worker in (self.here, self.there):
            worker.believe(0, 1, key="cookie")
        client = await self.client()
        for slot, set_here in ((None, 1), (0, 0), (1, 0), (7, 1)):
            line = b"" if slot is None else b"clusterapp_slot=%b" % cookie(slot)
            await client.get("/hi", also=b"Cookie: %b\r\n" % line)
            answer = await client.until(b"\r\n\r\nhi")
            own = b"\r\nSet-Cookie: clusterapp_slot=%b;" % cookie(0)
            self.assertEqual(answer.count(own), set_here, answer)
            self.assertEqual(answer.count(b"Set-Cookie"), set_here, answer)
        self.assertEqual(self.there.site.requests, 1)


class ProxyTests(WorkersCase):
    """Clients behind a proxy that is trusted."""

    trusted = ("127.0.0.1",)

    @on_each_loop
    async def test_proxy(self) -> None:
        """The other worker and this worker's log have the client behind the proxy."""
        self.here.believe(1, key="client-ip")
        client = await self.client()
        await client.get(
            "/slow",
            also=b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n",
        )
        request = await self.relayed()
        self.assertEqual(request.getClientAddress().host, "1.2.3.4")
        self.assertTrue(request.isSecure())
        request.respond(b"")
        await client.until(b"\r\n\r\n")
        self.assertEqual([line.client for line in self.here.recorded], ["1.2.3.4"])


class BoundTests(WorkersCase):
    """Requests at the bounds of what clients may send."""

    limits = Limits(requests=2, keepalive_timeout=5.0, body=10)

    @on_each_loop
    async def test_most_fields(self) -> None:
        """What is taken here is taken there, too."""
        head = b"GET /hi HTTP/1.1\r\nHost: h\r\n" + MARK
        client = await self.asking(head + b"A:b\r\n" * 98 + b"\r\n")
        await client.until(b"\r\n\r\nhi")
        filling = self.limits.head - len(head) - len(b"A:\r\n" * 98) - 2
        last = b"A:%b\r\n" % (b"b" * filling)
        await client.send(head + b"A:\r\n" * 97 + last + b"\r\n")
        await client.until(b"\r\n\r\nhi")

    @on_each_loop
    async def test_connections_between_workers(self) -> None:
        """They end neither after so many requests nor after so short a time."""
        for _ in range(3):
            client = await self.marked("/hi")
            await client.until(b"\r\n\r\nhi")
            await self.later(20)
        self.assertEqual(self.there.connection().cycle.count, 3)

    @on_each_loop
    async def test_longest_body(self) -> None:
        """What is refused here is known to nobody there."""
        client = await self.asking(POST + b"Content-Length: 11\r\n\r\n")
        self.assertIn(b" 413 ", await client.until(b"\r\n"))
        client = await self.asking(POST + b"Content-Length: 10\r\n\r\n0123456789")
        await self.relayed()
        self.assertEqual(len(self.there.scripted.requests), 1)
