"""What the engine tells the access log."""

from collections.abc import Callable

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.access_log.access_record import AccessRecord
from clusterapp.http.exchange.exchange import Exchange
from clusterapp.http.server.trusted_peers import NoProxies
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.message_head import ResponseHead
from clusterapp.http.syntax.request_head import Head
from clusterapp.interfaces import Fields
from tests.unit.http.clients import CHUNKED, OK, Client, Slow
from tests.unit.http.websockets import HANDSHAKE


class Named(NoProxies):
    """Trusted proxies that take the client from a field, without checks."""

    def client_of(self, peer: IAddress, fields: Fields) -> str | None:
        return dict(fields).get(b"X", b"me").decode()


class RecorderTests(SynchronousTestCase):
    """Each request is written down once, however it ends."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.slow = Slow()
        self.taken: list[Exchange] = []
        self.seen: list[AccessRecord] = []
        self.site = ClusterSite(
            self.clock,
            self.slow,
            self.forward,
            recorder=self,
            proxies=Named(),
        )
        self.client = Client(self.site, self.clock)
        self.addCleanup(self.client.goes)

    def record(self, answered: AccessRecord) -> None:
        self.seen.append(answered)

    def forward(self, head: Head) -> Callable[[Exchange], None] | None:
        return self.taken.append if head.target == b"/core" else None

    def ask(self, target: bytes, more: bytes = b"") -> None:
        self.client.send(b"GET %b HTTP/1.1\r\nHost: h\r\n%b\r\n" % (target, more))

    def outcomes(self) -> list[tuple[bytes, int, int]]:
        return [(each.target, each.status, each.sent) for each in self.seen]

    def test_answer(self) -> None:
        """Everything is told, and the time that it took."""
        self.ask(b"/own?a=b", b"X: somebody\r\n")
        self.clock.advance(0.25)
        self.slow.requests[0].setResponseCode(201)
        self.slow.requests[0].write(b"12345")
        self.slow.requests[0].finish()
        [answered] = self.seen
        self.assertEqual(
            answered,
            AccessRecord(
                client="somebody",
                method=b"GET",
                target=b"/own?a=b",
                version=b"HTTP/1.1",
                fields=[(b"Host", b"h"), (b"X", b"somebody")],
                status=201,
                sent=5,
                seconds=0.25,
            ),
        )

    def test_forwarded_answer(self) -> None:
        """What the core answers is told like any other."""
        self.ask(b"/core")
        self.taken[0].respond(OK)
        self.taken[0].write(b"hi")
        self.taken[0].finish()
        self.assertEqual(self.outcomes(), [(b"/core", 200, 2)])

    def test_client_that_leaves_before_the_answer(self) -> None:
        """There is no status to tell."""
        self.ask(b"/own")
        self.client.goes()
        self.assertEqual(self.outcomes(), [(b"/own", 0, 0)])

    def test_client_that_leaves_within_the_answer(self) -> None:
        """What was sent until then is told."""
        self.ask(b"/own")
        self.slow.requests[0].write(b"123")
        self.client.goes()
        other = self.client = Client(self.site, self.clock)
        self.ask(b"/core")
        self.taken[0].respond(CHUNKED)
        self.taken[0].write(b"12")
        other.goes()
        self.assertEqual(self.outcomes(), [(b"/own", 200, 3), (b"/core", 200, 2)])

    def test_answer_to_a_bad_body(self) -> None:
        """A response that has begun is told with the status that it began with."""
        self.client.send(
            b"PUT /core HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self.taken[0].respond(CHUNKED)
        self.client.send(b"zz\r\n")
        self.assertEqual(self.outcomes(), [(b"/core", 200, 0)])

    def test_what_is_no_request(self) -> None:
        """A refusal has no method and no target, even behind a good request."""
        self.ask(b"/core")
        self.taken[0].respond(ResponseHead(204, b"No Content"))
        self.taken[0].finish()
        self.client.send(b"nonsense\r\n\r\n")
        self.assertEqual(self.outcomes()[1][:2], (b"-", 400))
        self.assertEqual(self.seen[1].method, b"-")

    def test_switch_to_another_protocol(self) -> None:
        """It is told when it happens: the end may be far."""
        self.ask(b"/own", HANDSHAKE)
        channel = self.slow.requests[0].channel
        channel._protocolUpgradeForWebsockets(Protocol())
        self.assertEqual(self.outcomes(), [(b"/own", 101, 0)])
        self.client.goes()
        self.assertEqual(len(self.seen), 1)

    def test_peer_without_a_host(self) -> None:
        """By itself a site knows its clients by their addresses."""
        site = ClusterSite(self.clock, self.slow)
        client_of = site.proxies.client_of
        self.assertEqual(client_of(IPv4Address("TCP", "192.0.2.1", 1), ()), "192.0.2.1")
        self.assertIsNone(client_of(UNIXAddress(None), ()))
