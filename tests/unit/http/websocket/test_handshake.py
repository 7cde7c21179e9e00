"""Opening handshakes of WebSockets: what is refused before any resource sees it."""

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from clusterapp.http.exchange.exchange import Exchange
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.request_head import Head
from tests.unit.http.clients import Client

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
CONNECTION = b"Connection: Upgrade\r\n"
UPGRADE = b"Upgrade: websocket\r\n"
WHOLE = CONNECTION + UPGRADE + VERSION + KEY


class Noting(Resource):
    """A resource that is asked, or not."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.upgrades: list[Any] = []

    def render(self, request: Request) -> int:
        self.asked += 1
        self.upgrades.append(request.requestHeaders.getRawHeaders(b"upgrade"))
        return NOT_DONE_YET


class HandshakeTests(SynchronousTestCase):
    """RFC 6455, section 4.2.1, for resources and for what is forwarded alike."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.resource = Noting()
        self.exchanges: list[Exchange] = []

        def forward(head: Head) -> Callable[[Exchange], object] | None:
            return self.exchanges.append if head.target == b"/core" else None

        self.handshaking = ClusterSite(self.clock, self.resource, forward)

    def ask(self, fields: bytes, line: bytes = b"GET %b HTTP/1.1") -> tuple[bytes, ...]:
        """Ask a resource and the core; give what both have answered, which is one."""
        answers = set()
        for target in (b"/own", b"/core"):
            client = Client(self.handshaking, self.clock)
            client.send(line % target + b"\r\nHost: h\r\n" + fields + b"\r\n")
            answers.add(client.received)
        return tuple(answers)

    def refused(self, fields: bytes, line: bytes = b"GET %b HTTP/1.1") -> bytes:
        """It is refused, the same for both, and nobody is asked; give the answer."""
        [answer] = self.ask(fields, line)
        self.assertEqual((self.resource.asked, self.exchanges), (0, []), fields)
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        return answer

    def taken(self, fields: bytes, *, websocket: bool = True) -> None:
        """It reaches both."""
        self.assertEqual(self.ask(fields), (b"",), fields)
        self.assertEqual((self.resource.asked, len(self.exchanges)), (1, 1), fields)
        self.assertEqual(self.exchanges[0].wants_upgrade, websocket)
        self.resource.asked = 0
        self.exchanges.clear()

    def test_right(self) -> None:
        """What is right reaches the application, whatever else it says."""
        self.taken(WHOLE)
        self.taken(WHOLE.lower().replace(KEY.lower(), KEY))
        self.taken(WHOLE.replace(b"websocket", b"h2c, WebSocket"))
        self.taken(WHOLE.replace(b"Upgrade\r\n", b"keep-alive, upgrade\r\n", 1))
        self.taken(
            WHOLE + b"Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n"
        )
        self.taken(WHOLE + b"Origin: https://other.example\r\n")

    def test_lists(self) -> None:
        """Of a list with ``websocket``, applications see that alone, on both sides."""
        for names in (
            b"websocket, foo",
            b"foo, websocket",
            b"foo/1.0 ,\twebsocket",
            b"WebSocket",
            b"foo\r\nUpgrade: websocket",
            b"websocket, websocket",
        ):
            self.resource.upgrades.clear()
            self.taken(WHOLE.replace(b"websocket", names))
            self.assertEqual(self.resource.upgrades, [[b"websocket"]], names)
        for names in (
            b"websocket/13",
            b"websocket2",
            b"foo, a websocket",
            b"foo; websocket",
            b'"websocket"',
        ):
            answer = self.refused(WHOLE.replace(b"websocket", names))
            self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), names)

    def test_other_protocols(self) -> None:
        """Nothing is asked of them, nor of requests that offer none."""
        self.taken(CONNECTION + b"Upgrade: h2c\r\n", websocket=False)
        self.taken(b"Upgrade: h2c\r\n", websocket=False)
        self.taken(
            KEY.replace(b"d", b"!") + b"Sec-WebSocket-Version: 8\r\n", websocket=False
        )

    def test_keys(self) -> None:
        """Exactly one key, of 16 bytes in base64."""
        for value in (
            b"",
            b"k",
            b"AQIDBAUGBwg=",  # 8 bytes
            b"AQIDBAUGBwgJCgsMDQ4P",  # 15
            b"AQIDBAUGBwgJCgsMDQ4PEBE=",  # 17
            b"AQIDBAUGBwgJCgsMDQ4PEBES",  # 18
            b"dGhlIHNhbXBsZSBub25jZ!==",
            b"dGhlIHNhbXBsZSBub25jZQ=",
            b"dGhlIHNhbXBsZSBub25jZQ== ==",
            b"dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
            b"A" * 20_000,
        ):
            fields = (
                CONNECTION
                + UPGRADE
                + VERSION
                + b"Sec-WebSocket-Key: "
                + value
                + b"\r\n"
            )
            self.assertTrue(self.refused(fields).startswith(b"HTTP/1.1 400 "), value)
        for fields in (CONNECTION + UPGRADE + VERSION, WHOLE + KEY):
            self.assertTrue(self.refused(fields).startswith(b"HTTP/1.1 400 "), fields)

    def test_versions(self) -> None:
        """Another version is told which one there is (RFC 6455, section 4.4)."""
        for version in (b"8", b"0", b"14", b"013", b"13, 8", b"x"):
            answer = self.refused(WHOLE.replace(b"13", version))
            self.assertTrue(answer.startswith(b"HTTP/1.1 426 "), version)
            for field in (VERSION, UPGRADE, CONNECTION):
                self.assertIn(field, answer)
        for fields in (CONNECTION + UPGRADE + KEY, WHOLE + VERSION):
            self.assertTrue(self.refused(fields).startswith(b"HTTP/1.1 400 "), fields)

    def test_requests(self) -> None:
        """A GET of HTTP/1.1 without a body, that says Connection: upgrade."""
        for line in (
            b"POST %b HTTP/1.1",
            b"HEAD %b HTTP/1.1",
            b"GET %b HTTP/1.0",
        ):
            self.assertTrue(
                self.refused(WHOLE, line).startswith(b"HTTP/1.1 400 "), line
            )
        for fields in (
            UPGRADE + VERSION + KEY,
            b"Connection: keep-alive\r\n" + UPGRADE + VERSION + KEY,
            UPGRADE,
            WHOLE + b"Content-Length: 1\r\n",
            WHOLE + b"Transfer-Encoding: chunked\r\n",
        ):
            self.assertTrue(self.refused(fields).startswith(b"HTTP/1.1 400 "), fields)

    def test_names_that_a_library_may_read(self) -> None:
        """What a library could take for WebSocket is held to the same."""
        for name in (
            b"websocket\xc2\xa0",  # str.strip takes that away
            "websoc\N{KELVIN SIGN}et".encode(),  # and str.lower makes it a k
            b"h2c, websocket",
            b"websocket/13",
        ):
            fields = CONNECTION + VERSION + b"Upgrade: " + name + b"\r\n"
            self.assertTrue(self.refused(fields).startswith(b"HTTP/1.1 400 "), name)
