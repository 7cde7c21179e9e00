"""The cookie that a new client gets: on which responses, and beside what."""

import warnings
from collections.abc import Callable
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.wsgi import WSGIResource

from clusterapp import streamed
from clusterapp.channel.stickiness import Stickiness
from clusterapp.http.connection_limits import Limits
from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.server.prepared_response import Prepared
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.message_head import ResponseHead
from clusterapp.web.clients.trusted_proxies import TrustedProxies
from clusterapp.worker.proxy.relay import Relay
from clusterapp.worker.proxy.relay_affinity import SlotAffinity
from tests.unit.http.clients import Client
from tests.unit.http.connection.test_request_timeout import Threads
from tests.unit.web.clients.test_client_slot import SECRET, cookie

#: The name of the listener that a connection of Twisted's has come by.
DOOR = ""

COOKIE = b"\r\nSet-Cookie: clusterapp_slot=%b; Path=/; HttpOnly; SameSite=Lax\r\n" % (
    cookie(0)
)


def get(
    path: str = "/", *fields: str, method: str = "GET", version: str = "1.1"
) -> bytes:
    """Write a request."""
    lines = [f"{method} {path} HTTP/{version}", "Host: h", *fields, "", ""]
    return "\r\n".join(lines).encode()


class GreetingCase(SynchronousTestCase):
    """A worker of slot 0, whose clients are known by a cookie."""

    def served(self, root: IResource, **others: Any) -> Client:
        """Connect a client to a site."""
        self.clock = Clock()
        trusted = TrustedProxies([])
        relay = Relay(self.clock, "/run/x/worker-0.sock", trusted)
        self.affinity = SlotAffinity(0, relay, trusted)
        self.affinity.update_affinity(Stickiness((DOOR,), "cookie", (0, 1), SECRET))
        self.site = ClusterSite(self.clock, root, affinity=self.affinity, **others)
        client = Client(self.site, self.clock)
        self.addCleanup(client.goes)
        return client

    def assert_greeted(self, client: Client, status: int, *lines: bytes) -> bytes:
        """Assert that there is one response, with the cookie and these lines."""
        received = client.received
        client.transport.clear()
        head, _, body = received.partition(b"\r\n\r\n")
        head += b"\r\n"
        self.assertTrue(head.startswith(b"HTTP/1.1 %d " % status), head)
        self.assertEqual(head.count(COOKIE), 1, head)
        for line in lines:
            self.assertIn(b"\r\n%b\r\n" % line, head)
        self.assertEqual(head.count(b"\r\nSet-Cookie: clusterapp_slot"), 1)
        return body


class Answering(Resource):
    """Answers as a test says."""

    isLeaf = True

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        super().__init__()
        self.render = answer  # type: ignore[method-assign]


class Posting(Resource):
    """Knows one method."""

    isLeaf = True

    def render_POST(self, request: Any) -> bytes:
        return b""


class ResourceTests(GreetingCase):
    """Responses of resources."""

    def answered(self, answer: Callable[[Any], Any], request: bytes = b"") -> Client:
        client = self.served(Answering(answer))
        client.send(request or get())
        return client

    def test_at_once(self) -> None:
        client = self.answered(lambda _: b"hi")
        self.assertEqual(self.assert_greeted(client, 200), b"hi")

    def test_each_request(self) -> None:
        """Until the client sends it; and not when it does."""
        client = self.answered(lambda _: b"hi")
        self.assert_greeted(client, 200)
        client.send(get())
        self.assert_greeted(client, 200)
        client.send(get("/", f"Cookie: clusterapp_slot={cookie(0).decode()}"))
        self.assertNotIn(b"Set-Cookie", client.received)

    def test_cookies_of_the_application(self) -> None:
        """They stay, however they are set, and its own look at them shows no other."""
        seen: list[Any] = []

        def by_header(request: Any) -> bytes:
            request.setHeader("set-cookie", "a=1")
            seen.append(request.responseHeaders.getRawHeaders("set-cookie"))
            return b""

        def by_lines(request: Any) -> bytes:
            request.responseHeaders.addRawHeader("Set-Cookie", "a=1")
            request.responseHeaders.addRawHeader("Set-Cookie", "b=2")
            return b""

        def by_method(request: Any) -> bytes:
            request.addCookie("a", "1")
            request.addCookie("b", "2")
            return b""

        own = (b"Set-Cookie: a=1", b"Set-Cookie: b=2")
        self.assert_greeted(self.answered(by_header), 200, own[0])
        self.assert_greeted(self.answered(by_lines), 200, *own)
        self.assert_greeted(self.answered(by_method), 200, *own)
        self.assertEqual(seen, [["a=1"]])

    def test_head(self) -> None:
        for answer in (lambda _: b"hi", _written):
            client = self.answered(answer, get(method="HEAD"))
            self.assertEqual(self.assert_greeted(client, 200), b"")

    def test_without_a_body(self) -> None:
        """204 and 304."""
        for status in (204, 304):
            client = self.answered(_with_status(status))
            self.assertEqual(self.assert_greeted(client, status), b"")

    def test_not_modified(self) -> None:
        """Twisted's own 304 for an ETag."""

        def answer(request: Any) -> bytes:
            request.setETag(b'"a"')
            return b""

        client = self.answered(answer, get("/", 'If-None-Match: "a"'))
        self.assert_greeted(client, 304, b'ETag: "a"')

    def test_errors(self) -> None:
        """Of the application's, and of what it raises."""

        def fail(request: Any) -> bytes:
            raise ValueError("no")

        self.assert_greeted(self.answered(_with_status(404)), 404)
        self.assert_greeted(self.answered(fail), 500)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        client = self.served(Answering(fail), failure_page=lambda _: b"page")
        client.send(get())
        self.assertEqual(self.assert_greeted(client, 500), b"page")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_twisteds_own(self) -> None:
        """What is not found, and what is not done with it."""
        with warnings.catch_warnings():
            # Twisted uses pages of its own that it deprecates.
            warnings.simplefilter("ignore", DeprecationWarning)
            client = self.served(Resource())
            client.send(get("/nowhere"))
            self.assert_greeted(client, 404)
            client = self.served(Posting())
            client.send(get())
            self.assert_greeted(client, 405)

    def test_chunks(self) -> None:
        client = self.answered(_written)
        body = self.assert_greeted(client, 200, b"Transfer-Encoding: chunked")
        self.assertEqual(body, b"2\r\nhi\r\n0\r\n\r\n")

    def test_old_clients(self) -> None:
        client = self.answered(_written, get(version="1.0"))
        self.assert_greeted(client, 200, b"Connection: close")

    def test_options(self) -> None:
        """Of the server as a whole."""
        client = self.answered(lambda _: b"", get("*", method="OPTIONS"))
        self.assert_greeted(client, 200)

    def test_upgrade(self) -> None:
        """A WebSocket may be the first that a client asks for."""

        def switch(request: Any) -> int:
            request.setResponseCode(101)
            request.setHeader("upgrade", "websocket")
            request.setHeader("connection", "Upgrade")
            request.write(b"")
            return NOT_DONE_YET

        client = self.answered(switch, get("/", "Upgrade: x", "Connection: Upgrade"))
        self.assert_greeted(client, 101, b"Connection: Upgrade")

    def test_once(self) -> None:
        """A 100 before it has none."""
        client = self.served(Answering(lambda _: b"hi"))
        client.send(
            get("/", "Expect: 100-continue", "Content-Length: 1", method="POST")
        )
        self.assertEqual(client.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        client.transport.clear()
        client.send(b"a")
        self.assert_greeted(client, 200)


def _written(request: Any) -> int:
    request.write(b"hi")
    request.finish()
    return NOT_DONE_YET


def _with_status(status: int) -> Callable[[Any], bytes]:
    def answer(request: Any) -> bytes:
        request.setResponseCode(status)
        return b""

    return answer


class ApplicationTests(GreetingCase):
    """Responses of applications."""

    def setUp(self) -> None:
        app = Klein()
        self.waiting: Deferred[bytes] = Deferred()

        @app.route("/hi", methods=["GET"])
        def hi(request: Any) -> bytes:
            return b"hi"

        @app.route("/later")
        def later(request: Any) -> Deferred[bytes]:
            return self.waiting

        @app.route("/upload", methods=["POST"])
        @streamed
        async def upload(request: Any) -> bytes:
            return b"".join([piece async for piece in request.body])

        self.app = app

    def test_klein(self) -> None:
        """At once, later, and for what is not found or goes elsewhere."""
        client = self.served(klein_resource(self.app))
        client.send(get("/hi"))
        self.assertEqual(self.assert_greeted(client, 200), b"hi")
        client.send(get("/nowhere"))
        self.assert_greeted(client, 404)
        client.send(get("/hi", method="DELETE"))
        self.assert_greeted(client, 405)
        client.send(get("/later"))
        self.waiting.callback(b"late")
        self.assertEqual(self.assert_greeted(client, 200), b"late")

    def test_streamed_body(self) -> None:
        client = self.served(klein_resource(self.app))
        client.send(get("/upload", "Content-Length: 2", method="POST"), b"a", b"b")
        self.assertEqual(self.assert_greeted(client, 200), b"ab")

    def test_wsgi(self) -> None:
        """Beside the application's own."""

        def app(environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
            return [b"hi"]

        threads = Threads()
        client = self.served(WSGIResource(threads, threads, app))
        client.send(get())
        threads.waiting.pop()()
        self.assert_greeted(client, 200, b"Set-Cookie: a=1", b"Set-Cookie: b=2")


class ElsewhereTests(GreetingCase):
    """Responses that no worker makes for a client of its own."""

    def test_static(self) -> None:
        """Responses with static files, which caches may share, set no cookie."""
        client = self.served(
            Resource(), answer=lambda *_: Prepared(200, [], [b"a file"])
        )
        client.send(get())
        self.assertTrue(client.received.endswith(b"\r\n\r\na file"))
        self.assertNotIn(b"Set-Cookie", client.received)

    def test_core(self) -> None:
        """Every worker reaches the core."""

        def take(exchange: Any) -> None:
            exchange.respond(ResponseHead(200, b"OK", [(b"Content-Length", b"0")]))
            exchange.finish()

        client = self.served(Resource(), forward=lambda _: take)
        client.send(get())
        self.assertTrue(client.received.startswith(b"HTTP/1.1 200 "))
        self.assertNotIn(b"Set-Cookie", client.received)

    def test_other_listeners(self) -> None:
        """Where clients belong to nobody, nobody is told of a worker."""
        client = self.served(Answering(lambda _: b"hi"))
        self.affinity.update_affinity(
            Stickiness(("1 tcp:81",), "cookie", (0, 1), SECRET)
        )
        client.send(get())
        self.assertTrue(client.received.endswith(b"hi"))
        self.assertNotIn(b"Set-Cookie", client.received)

    def test_refused(self) -> None:
        """What could not be read, or took too long."""
        client = self.served(
            Answering(lambda _: NOT_DONE_YET), limits=Limits(request_timeout=5.0)
        )
        client.send(get())
        self.clock.pump([1.0] * 7)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 503 "))
        self.assertNotIn(b"Set-Cookie", client.received)
