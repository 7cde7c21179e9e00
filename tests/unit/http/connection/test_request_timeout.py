"""Applications that do not begin their response in time."""

from typing import Any

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import LogLevel
from twisted.web.wsgi import WSGIResource

from clusterapp.http.connection_limits import Limits
from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.site import ClusterSite
from clusterapp.web.streaming import streamed
from tests.unit.fakes import Log
from tests.unit.http.clients import CHUNKED, Client, SiteTestCase

CLOSE = b"\r\nConnection: close\r\n"


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

        @self.app.route("/hi")
        def hi(request: object) -> bytes:
            return b"hi"

        self.uploaded = 0

        @self.app.route("/upload", methods=["POST"])
        @streamed
        async def upload(request: Any) -> bytes:
            async for piece in request.body:
                self.uploaded += len(piece)
            return await coroutine(request)

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

    def test_others(self) -> None:
        """The worker goes on with everything else."""
        client = self.get(b"/deferred")
        self.clock.pump([1.0] * 7)
        self.assert_given_up(client, b"503 ")
        self.waiting = succeed(b"quick")
        self.assertTrue(self.get(b"/deferred").received.endswith(b"quick"))

    def test_head(self) -> None:
        """Its answer has no body either."""
        client = self.client()
        client.send(b"HEAD /coroutine HTTP/1.1\r\nHost: h\r\n\r\n")
        self.clock.pump([1.0] * 7)
        self.assertTrue(client.received.endswith(b"\r\n\r\n"))
        self.assert_given_up(client, b"503 ")

    def test_requests_behind_it(self) -> None:
        """They are not looked at: the client knows that the connection has ended."""
        client = self.client()
        client.send(b"GET /coroutine HTTP/1.1\r\nHost: h\r\n\r\n" * 2)
        self.clock.pump([1.0] * 7)
        self.assertEqual(client.received.count(b"HTTP/1.1 "), 1)
        self.assert_given_up(client, b"503 ")
        self.assertEqual(self.ends, [CancelledError])

    def test_streamed_upload(self) -> None:
        """As long as the body comes, its handler may take its time."""
        request = b"POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n"
        client = self.client()
        client.send(request)
        for _ in range(12):
            self.clock.pump([1.0] * 2)
            client.send(b"x" * 5000)
        self.clock.pump([1.0] * 4)
        self.assertEqual((client.received, self.uploaded), (b"", 60_000))
        self.clock.pump([1.0] * 3)
        self.assert_given_up(client, b"503 ")
        self.assertEqual(self.ends, [CancelledError])

    def test_in_a_drain(self) -> None:
        """It counts there too, for what was under way and for what comes later."""
        early, kept = self.get(b"/coroutine"), self.get(b"/hi")
        forwarded = self.get(b"/core")
        self.clock.pump([1.0] * 3)
        drained = self.site.drain(spread=60.0)
        self.waiting = Deferred()
        kept.send(b"GET /coroutine HTTP/1.1\r\nHost: h\r\n\r\n")
        self.clock.pump([1.0] * 4)
        self.assert_given_up(early, b"503 ")
        self.assert_given_up(forwarded, b"504 ")
        self.clock.pump([1.0] * 3)
        self.assertIn(b"HTTP/1.1 503 ", kept.received)
        self.assertEqual(self.ends, [CancelledError] * 2)
        kept.goes()
        self.successResultOf(drained)

    def test_drain_without_spread(self) -> None:
        client = self.get(b"/coroutine")
        drained = self.site.drain()
        self.clock.pump([1.0] * 7)
        self.assert_given_up(client, b"503 ")
        self.successResultOf(drained)

    def test_response_that_has_begun_in_a_drain(self) -> None:
        """It is left alone there, too, long after the time."""
        client = self.get(b"/begun")
        self.clock.pump([1.0] * 3)
        drained = self.site.drain(spread=2.0)
        self.clock.pump([1.0] * 30)
        self.waiting.callback(b"b")
        self.assertTrue(client.received.endswith(b"b\r\n0\r\n\r\n"))
        self.clock.pump([1.0] * 4)
        self.successResultOf(drained)

    def test_off(self) -> None:
        self.site.limits = Limits()
        client = self.get(b"/deferred")
        self.clock.pump([10.0] * 100)
        self.assertEqual(client.received, b"")
        client.goes()
        self.assertEqual(self.ends, [CancelledError])


class Threads:
    """A reactor and its threads, where a test says when they run."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def callInThread(self, call: Any, *arguments: Any) -> None:
        """Keep it."""
        self.waiting.append(lambda: call(*arguments))

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        """Call it at once."""
        call(*arguments)


class WsgiTests(SiteTestCase):
    """What runs in a thread."""

    def test_thread_goes_on(self) -> None:
        """The client gets 503; the thread is not stopped, and its answer is dropped."""
        ran: list[str] = []

        def application(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            ran.append(environ["PATH_INFO"])
            return [b"late"]

        threads = Threads()
        self.site = ClusterSite(
            self.clock,
            WSGIResource(threads, threads, application),
            limits=Limits(request_timeout=5.0),
        )
        client = self.client()
        client.send(b"GET /work HTTP/1.1\r\nHost: h\r\n\r\n")
        self.clock.pump([1.0] * 7)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 503 "))
        [call] = threads.waiting
        call()
        self.assertEqual(ran, ["/work"])
        self.assertNotIn(b"late", client.received)
        client.goes()
