"""Connections that end over some time, and responses that do not come in time."""

from typing import Any

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel

from clusterapp.http.bridge import bridge
from clusterapp.http.frames import SERVICE_RESTART
from clusterapp.http.klein_resource import klein_resource
from clusterapp.http.limits import Limits
from clusterapp.http.site import ClusterSite
from tests.unit.clients import CHUNKED, Client, SiteTestCase, Slow
from tests.unit.fakes import Log
from tests.unit.test_http_site_drain import SWITCH, WEBSOCKET

GET = b"GET /own HTTP/1.1\r\nHost: h\r\n\r\n"
CLOSE = b"\r\nConnection: close\r\n"


class SpreadTests(SiteTestCase):
    """Connections that nobody else takes, with time to leave."""

    def test_next_response_says_so(self) -> None:
        """An idle connection is there for its next request."""
        client = self.client()
        client.send(GET)
        self.assertNotIn(CLOSE, client.received)
        drained = self.site.drain(spread=10.0)
        self.assertEqual(client.transport.ended, "")
        client.send(GET)
        self.assertIn(CLOSE, client.received)
        self.assertEqual(client.transport.ended, "closed")
        self.clock.advance(0)
        self.successResultOf(drained)

    def test_each_at_a_moment_of_its_own(self) -> None:
        """Those that ask nothing are closed within the time, not all at once."""
        clients = [self.client() for _ in range(30)]
        for client in clients:
            client.send(GET)
        drained = self.site.drain(spread=10.0)
        self.clock.pump([1.0] * 5)
        closed = sum(client.transport.ended == "closed" for client in clients)
        self.assertTrue(0 < closed < 30, closed)
        self.clock.pump([1.0] * 7)
        self.successResultOf(drained)

    def test_new_connection(self) -> None:
        """It has brought nothing: its first request may be on its way for long."""
        client = self.client()
        drained = self.site.drain(spread=10.0)
        self.clock.pump([1.0] * 9)
        client.send(GET)
        self.assertIn(CLOSE, client.received)
        self.clock.advance(0)
        self.successResultOf(drained)

    def test_hosted_connections_stay(self) -> None:
        """Twisted's transports cannot leave the process."""
        client = self.client()
        client.send(GET)

        def hand_over(_: object) -> Deferred[bool]:
            raise AssertionError("it was lent")

        drained = self.site.drain(spread=1.0, hand_over=hand_over)
        self.assertEqual(client.transport.ended, "")
        self.clock.pump([1.0] * 3)
        self.successResultOf(drained)


class EventStreamTests(SiteTestCase):
    """Responses that would not end by themselves."""

    def stream(self, kind: bytes | None) -> tuple[ClusterSite, Client, Any, list[Any]]:
        slow = Slow()
        site = ClusterSite(self.clock, slow)
        client = Client(site, self.clock)
        client.send(GET)
        [request] = slow.requests
        ends: list[Any] = []
        request.notifyFinish().addBoth(ends.append)
        if kind is not None:
            request.setHeader(b"content-type", kind)
        request.write(b"data: 1\n\n")
        return site, client, request, ends

    def test_end(self) -> None:
        """It is whole for the client; the application hears that nobody listens."""
        site, client, request, ends = self.stream(b"text/event-stream; charset=utf-8")
        drained = site.drain()
        self.assertTrue(client.received.endswith(b"data: 1\n\n\r\n0\r\n\r\n"))
        self.assertEqual(len(ends), 1)
        request.write(b"data: 2\n\n")
        self.assertTrue(client.received.endswith(b"\r\n0\r\n\r\n"))
        self.clock.pump([1.0] * 12)
        self.successResultOf(drained)

    def test_spread(self) -> None:
        site, client, _, ends = self.stream(b"text/event-stream")
        drained = site.drain(spread=4.0)
        self.assertEqual(ends, [])
        self.clock.pump([1.0] * 6)
        self.assertTrue(client.received.endswith(b"\r\n0\r\n\r\n"))
        self.assertEqual(len(ends), 1)
        self.clock.pump([1.0] * 12)
        self.successResultOf(drained)

    def test_those_that_begin_later(self) -> None:
        """They end as well, within the time or a second after they have begun."""
        slow = Slow()
        site = ClusterSite(self.clock, slow)
        under_way, kept = Client(site, self.clock), Client(site, self.clock)
        under_way.send(GET)
        kept.send(GET)
        slow.requests.pop().finish()
        drained = site.drain(spread=2.0)
        kept.send(GET)  # on a connection that stays for its next request
        for request in slow.requests:
            request.setHeader(b"content-type", b"text/event-stream")
            request.write(b"data: 1\n\n")
        self.clock.pump([1.0] * 6)
        for client in (under_way, kept):
            self.assertIn(CLOSE, client.received)
            self.assertTrue(client.received.endswith(b"data: 1\n\n\r\n0\r\n\r\n"))
        self.clock.pump([1.0] * 12)
        self.successResultOf(drained)

    def test_others_are_let_end(self) -> None:
        """A long download is not cut in the middle."""
        for kind in (b"text/plain", None):
            site, client, request, ends = self.stream(kind)
            drained = site.drain(spread=2.0)
            self.clock.pump([1.0] * 10)
            self.assertEqual(ends, [])
            request.write(b"more")
            request.finish()
            self.assertTrue(client.received.endswith(b"more\r\n0\r\n\r\n"))
            self.clock.pump([1.0] * 4)
            self.successResultOf(drained)


class TunnelTests(SiteTestCase):
    """WebSockets that are the core's."""

    def tunnel(self) -> tuple[Client, Protocol]:
        """Give the client, and what stands for the core's end."""
        client, exchange = self.ask(WEBSOCKET)
        exchange.respond(SWITCH)
        far: list[Any] = []

        def core(protocol: Any) -> None:
            protocol.makeConnection(StringTransport())
            far.append(protocol)

        bridge(exchange.upgrade, core)
        return client, far[0]

    def test_between_frames(self) -> None:
        """The client is told; nothing of the core's comes after that."""
        client, core = self.tunnel()
        core.dataReceived(b"\x82\x02ab")
        drained = self.site.drain()
        core.dataReceived(b"\x82\x02cd")
        self.assertTrue(client.received.endswith(b"\x82\x02ab" + SERVICE_RESTART))
        self.clock.pump([1.0] * 4)
        self.assertEqual(client.transport.ended, "closed")
        self.successResultOf(drained)

    def test_within_a_frame(self) -> None:
        """It is told when the frame is whole."""
        client, core = self.tunnel()
        core.dataReceived(b"\x82\x04ab")
        drained = self.site.drain()
        self.clock.pump([1.0] * 3)
        self.assertTrue(client.received.endswith(b"\x82\x04ab"))
        core.dataReceived(b"cd")
        self.clock.pump([1.0] * 2)
        self.assertTrue(client.received.endswith(b"\x82\x04abcd" + SERVICE_RESTART))
        self.clock.pump([1.0] * 4)
        self.successResultOf(drained)


class RequestTimeoutTests(SiteTestCase):
    """Responses that do not begin in time."""

    def setUp(self) -> None:
        super().setUp()
        self.log = Log(self)
        self.app = Klein()
        self.waiting: Deferred[bytes] = Deferred()
        self.ends: list[type] = []

        @self.app.route("/deferred", methods=["GET", "POST"])
        def deferred(request: object) -> Deferred[bytes]:
            self.waiting.addErrback(self.note)
            return self.waiting

        @self.app.route("/coroutine")
        async def coroutine(request: object) -> bytes:
            try:
                return await self.waiting
            except CancelledError:
                self.ends.append(CancelledError)
                raise

        @self.app.route("/begun")
        def begun(request: Any) -> Deferred[bytes]:
            request.write(b"a")
            return self.waiting

        self.site = ClusterSite(
            self.clock,
            klein_resource(self.app),
            self.take,
            limits=Limits(request_timeout=5.0),
        )

    def note(self, why: Any) -> Any:
        self.ends.append(why.type)
        return why

    def get(self, path: bytes) -> Client:
        client = self.client()
        client.send(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % path)
        return client

    def assert_given_up(self, client: Client, status: bytes) -> None:
        self.assertTrue(client.received.startswith(b"HTTP/1.1 " + status))
        self.assertIn(CLOSE, client.received)
        client.goes()
        self.clock.pump([1.0] * 3)

    def test_handlers_are_cancelled(self) -> None:
        for path in (b"/deferred", b"/coroutine"):
            self.waiting, self.ends = Deferred(), []
            client = self.get(path + b"?secret=1")
            self.clock.pump([1.0] * 4)
            self.assertEqual(client.received, b"")
            self.clock.pump([1.0] * 3)
            self.assert_given_up(client, b"503 ")
            self.assertEqual(self.ends, [CancelledError])
        self.assertEqual(
            self.log.lines(LogLevel.error),
            [
                f"GET {path} is given up: no response within 5 s"
                for path in ("/deferred", "/coroutine")
            ],
        )

    def test_forwarded(self) -> None:
        """The core's work is cancelled as when the client leaves."""
        client = self.get(b"/core")
        gone: list[object] = []
        self.taken[-1].gone.addCallback(gone.append)
        self.clock.pump([1.0] * 7)
        self.assertEqual(gone, [None])
        self.assert_given_up(client, b"504 ")

    def test_response_that_has_begun(self) -> None:
        """It may take as long as it takes."""
        client = self.get(b"/begun")
        self.clock.pump([1.0] * 30)
        self.waiting.callback(b"b")
        self.assertTrue(client.received.endswith(b"0\r\n\r\n"))
        client, exchange = self.get(b"/core"), self.taken[-1]
        exchange.respond(CHUNKED)
        self.clock.pump([1.0] * 30)
        exchange.finish()
        self.assertTrue(client.received.endswith(b"0\r\n\r\n"))

    def test_upload(self) -> None:
        """The time begins when the request is complete."""
        client = self.client()
        client.send(
            b"POST /deferred HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n", b"a"
        )
        self.clock.pump([1.0] * 20)
        self.assertEqual(client.received, b"")
        client.send(b"b")
        self.clock.pump([1.0] * 4)
        self.assertEqual(client.received, b"")
        self.clock.pump([1.0] * 3)
        self.assert_given_up(client, b"503 ")

    def test_in_time(self) -> None:
        """The connection is kept, and the next request has a time of its own."""
        client = self.get(b"/deferred")
        self.clock.pump([1.0] * 4)
        self.waiting.callback(b"here")
        self.assertTrue(client.received.endswith(b"here"))
        self.waiting = Deferred()
        client.send(b"GET /deferred HTTP/1.1\r\nHost: h\r\n\r\n")
        self.clock.pump([1.0] * 4)
        self.waiting.callback(b"again")
        self.assertTrue(client.received.endswith(b"again"))
        self.assertEqual(self.log.lines(LogLevel.error), [])

    def test_off(self) -> None:
        self.site.limits = Limits()
        client = self.get(b"/deferred")
        self.clock.pump([10.0] * 100)
        self.assertEqual(client.received, b"")
        client.goes()
        self.assertEqual(self.ends, [CancelledError])
