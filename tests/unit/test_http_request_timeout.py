"""Applications that do not begin their response in time."""

from typing import Any

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.web.wsgi import WSGIResource

from clusterapp.http.klein_resource import klein_resource
from clusterapp.http.limits import Limits
from clusterapp.http.site import ClusterSite
from clusterapp.web.streaming import streamed
from tests.unit.clients import OK, Client, SiteTestCase, Slow

LATE = b"HTTP/1.1 503 Service Unavailable\r\n"


class TimeoutCase(SiteTestCase):
    """A site that waits for 20 seconds."""

    def setUp(self) -> None:
        super().setUp()
        self.slow = Slow()
        self.serve(self.slow)

    def serve(self, root: Any) -> None:
        """Serve something else."""
        self.site = ClusterSite(
            self.clock, root, self.take, limits=Limits(request_timeout=20)
        )

    def wait(self, seconds: float) -> None:
        """Let time pass, a second at a time."""
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)

    def asked(self, request: bytes) -> Client:
        """Connect and ask."""
        client = self.client()
        client.send(request)
        return client


class OwnTests(TimeoutCase):
    """The application's own."""

    def test_late(self) -> None:
        """The client gets 503 within a second of the timeout, and a closed end."""
        client = self.asked(b"GET /a/b?secret=1 HTTP/1.1\r\nHost: h\r\n\r\n")
        [request] = self.slow.requests
        ended = request.notifyFinish()
        self.wait(19.9)
        self.assertEqual(client.received, b"")
        with capturedLogs() as events:
            self.wait(1.2)
        self.assertTrue(client.received.startswith(LATE), client.received)
        self.assertIn(b"\r\nConnection: close\r\n", client.received)
        self.assertEqual(client.transport.ended, "half")
        self.failureResultOf(ended)
        [told] = [each for each in events if each["log_level"] is LogLevel.warn]
        self.assertEqual((told["method"], told["path"]), ("GET", "/a/b"))
        # Whoever answers later is not heard.
        request.write(b"late")
        self.assertNotIn(b"late", client.received)

    def test_handlers_are_cancelled(self) -> None:
        """A Deferred and a coroutine of Klein's are told, as when a client leaves."""
        app = Klein()
        cancelled: list[object] = []

        @app.route("/deferred")
        def deferred(request: object) -> Deferred[bytes]:
            return Deferred(cancelled.append)

        @app.route("/coroutine")
        async def coroutine(request: object) -> bytes:
            try:
                return await Deferred()
            except CancelledError:
                cancelled.append(request)
                raise

        self.serve(klein_resource(app))
        for path in (b"deferred", b"coroutine"):
            client = self.asked(b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % path)
            self.wait(21.2)
            self.assertTrue(client.received.startswith(LATE), client.received)
            self.assertEqual(len(cancelled), 1)
            cancelled.clear()

    def test_response_that_has_begun(self) -> None:
        """From then on the client's pace counts, not the application's."""
        client = self.asked(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        [request] = self.slow.requests
        self.wait(19)
        request.write(b"a")
        self.wait(100)
        request.write(b"b")
        request.finish()
        self.assertTrue(client.received.endswith(b"\r\n1\r\nb\r\n0\r\n\r\n"))

    def test_next_request(self) -> None:
        """Each request has its own time, on one connection, too."""
        client = self.asked(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
        self.wait(19)
        self.slow.requests[0].finish()
        client.send(b"PUT /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n")
        self.wait(5)
        client.send(b"ab")
        self.wait(19)
        self.assertNotIn(LATE, client.received)
        self.wait(2.2)
        self.assertIn(LATE, client.received)

    def test_body_takes_its_time(self) -> None:
        """The time counts from the end of a body that is gathered."""
        client = self.asked(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n")
        self.wait(25)
        client.send(b"ab")
        self.wait(19.5)
        self.assertEqual(client.received, b"")
        self.wait(1.7)
        self.assertTrue(client.received.startswith(LATE))

    def test_streamed_body(self) -> None:
        """It counts from the call of a handler that takes the body as a stream."""
        app = Klein()
        cancelled: list[object] = []

        @app.route("/", methods=["PUT"])
        @streamed
        def upload(request: Any) -> Deferred[bytes]:
            return Deferred(cancelled.append)

        self.serve(klein_resource(app))
        client = self.asked(b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
        self.wait(18)
        client.send(b"abc")
        self.wait(3.2)
        self.assertTrue(client.received.startswith(LATE))
        self.assertEqual(len(cancelled), 1)

    def test_other_connections(self) -> None:
        """The worker goes on with everything else."""
        self.asked(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        self.wait(19)
        other = self.asked(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        self.wait(2.2)
        self.slow.requests[1].finish()
        self.assertTrue(other.received.startswith(b"HTTP/1.1 200 "))

    def test_no_timeout(self) -> None:
        """Without the setting it is waited for as long as the client does."""
        self.site = ClusterSite(self.clock, self.slow)
        client = self.asked(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        self.wait(1000)
        self.assertEqual(client.received, b"")


class ForwardedTests(TimeoutCase):
    """Requests that somebody else answers."""

    def test_late(self) -> None:
        """The client gets 504, and the forwarder hears that it need not go on."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        self.wait(21.2)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n"))
        self.successResultOf(exchange.gone)
        exchange.respond(OK)
        self.assertNotIn(b"200 OK", client.received)

    def test_upload(self) -> None:
        """The time counts from the end of the body, which the client sends."""
        client, exchange = self.ask(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n"
        )
        exchange.body.startProducing(StringTransport())
        self.wait(25)
        client.send(b"ab")
        self.wait(19)
        self.assertEqual(client.received, b"")
        self.wait(2.2)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 504 "))


class Threads:
    """A reactor and its threads, where a test says when they run."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def callInThread(self, call: Any, *arguments: Any) -> None:
        """Keep it."""
        self.waiting.append(lambda: call(*arguments))

    def callInThreadWithCallback(
        self, heard: Any, call: Any, *arguments: Any, **words: Any
    ) -> None:
        """Keep it."""
        self.waiting.append(lambda: call(*arguments, **words))

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        """Call it at once."""
        call(*arguments)


class WsgiTests(TimeoutCase):
    """What runs in a thread."""

    def test_thread_goes_on(self) -> None:
        """The client gets 503; the thread is not stopped, and its answer is dropped."""
        ran: list[str] = []

        def application(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            ran.append(environ["PATH_INFO"])
            return [b"late"]

        threads = Threads()
        self.serve(WSGIResource(threads, threads, application))
        client = self.asked(b"GET /work HTTP/1.1\r\nHost: h\r\n\r\n")
        self.wait(21.2)
        self.assertTrue(client.received.startswith(LATE))
        for call in threads.waiting:
            call()
        self.assertEqual(ran, ["/work"])
        self.assertNotIn(b"200 OK", client.received)
        self.assertEqual(self.flushLoggedErrors(), [])
