"""The proxy to the core in front of a real one: a Klein behind the same site."""

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request
from twisted.web.websocket import (
    WebSocketClientEndpoint,
    WebSocketProtocol,
    WebSocketResource,
    WebSocketTransport,
)

from clusterapp.http.connection_limits import Limits
from clusterapp.http.site import ClusterSite
from tests.unit.http.wire import Application
from tests.unit.worker.proxy.proxying import ProxyTestCase, reactor


class Silent(WebSocketProtocol):
    """Does nothing of what a WebSocket can do."""

    transport: WebSocketTransport

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        self.transport = transport

    def negotiationFinished(self) -> None: ...

    def bytesMessageReceived(self, data: bytes | bytearray) -> None: ...

    def pongReceived(self, payload: bytes | bytearray) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...


class Echo(Silent):
    """Sends every message back."""

    def textMessageReceived(self, message: str) -> None:
        self.transport.sendTextMessage(f"echo {message}")


class EchoFactory:
    """Makes an echo of each connection."""

    def buildProtocol(self, request: Request) -> Echo:
        return Echo()


class Talker(Silent):
    """Says hello, and keeps the first answer."""

    def __init__(self) -> None:
        self.answer: Deferred[str] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def negotiationFinished(self) -> None:
        self.transport.sendTextMessage("hello")

    def textMessageReceived(self, message: str) -> None:
        self.answer.callback(message)

    def connectionLost(self, reason: Failure) -> None:
        self.lost.callback(None)


class TalkerFactory:
    """Makes a talker of a connection."""

    def buildProtocol(self, url: str) -> Talker:
        return Talker()


class WholeTests(ProxyTestCase):
    """Client, worker and core, in one process."""

    core_is_open = False

    def open_core(self) -> None:
        """Serve a Klein on the core's socket."""
        app = Klein()
        self.asked: Deferred[None] = Deferred()
        self.cancelled: Deferred[None] = Deferred()

        @app.route("/slow")
        def slow(request: Request) -> Deferred[bytes]:
            self.asked.callback(None)
            return Deferred(lambda _: self.cancelled.callback(None))

        @app.route("/form", methods=["POST"])
        def form(request: Request) -> bytes:
            assert request.args is not None
            return bytes(request.args[b"name"][0])

        @app.route("/ws")
        def ws(request: Request) -> IResource:
            return WebSocketResource(EchoFactory())

        limits = Limits().of_forwarded()
        self.core_site = ClusterSite(reactor, app.resource(), limits=limits)
        port = reactor.listenUNIX(self.path, self.core_site)
        self.addCleanup(self.core_site.drain)
        self.addCleanup(port.stopListening)
        self.proxy.core_ready(True)

    def setUp(self) -> None:
        super().setUp()
        self.open_core()

    async def test_form(self) -> None:
        """A form reaches the route of its path."""
        client = await self.client()
        client.send(
            b"POST /form HTTP/1.1\r\nHost: shop\r\nContent-Length: 8\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\nname=Ann"
        )
        self.assertTrue((await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 "))
        # Klein names no length, so the body is in chunks.
        self.assertEqual(await client.until(b"0\r\n\r\n"), b"3\r\nAnn\r\n0\r\n\r\n")

    async def test_what_the_worker_takes_the_core_takes(self) -> None:
        """Whatever the worker adds to it, and up to the bounds that clients have."""
        # Klein itself refuses a Host that is no name.
        self.core_site.resource = Application()
        most = Limits()
        for head in (
            b"Host: " + b"h" * 12_000,
            b"Host: " + b"h" * (most.head - 60),
            b"Host: h" + b"\r\nX: 1" * (most.fields - 1),
            b"Host:h" + b"\r\nX:1" * (most.fields - 1),
            b"Host: h\r\nX-Forwarded-Host: " + b'"' * (most.head - 90),
            b"Host: h\r\nX-Forwarded-For: " + b"::1," * (most.head // 4 - 30),
        ):
            client = await self.client()
            client.send(b"GET / HTTP/1.2\r\n" + head + b"\r\n\r\n")
            answer = await client.until(b"\r\n\r\n")
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), (head[:40], answer))
            client.transport.loseConnection()

    async def test_wrong_method_is_the_cores_own(self) -> None:
        """The core says which methods there are."""
        client = await self.client()
        client.send(b"GET /form HTTP/1.1\r\nHost: shop\r\n\r\n")
        self.assertTrue((await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 405 "))

    async def test_client_that_leaves_cancels_the_work(self) -> None:
        """The Deferred that the route has returned is cancelled."""
        client = await self.client()
        client.send(b"GET /slow HTTP/1.1\r\nHost: shop\r\n\r\n")
        await self.asked
        client.transport.loseConnection()
        await self.cancelled

    async def test_websocket_of_a_resource(self) -> None:
        """A WebSocket of Twisted's own works through the worker, until it drains."""
        url = f"ws://127.0.0.1:{self.port.getHost().port}/ws"
        endpoint = WebSocketClientEndpoint.new(reactor, url)
        talker: Talker = await endpoint.connect(TalkerFactory())
        self.assertEqual(await talker.answer, "echo hello")
        await self.site.drain()
        await talker.lost
