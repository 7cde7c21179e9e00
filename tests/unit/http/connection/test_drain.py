"""The server side: how its connections end, and how they become streams."""

from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from clusterapp.http.connection_limits import MAX_PENDING_INPUT
from clusterapp.http.exchange.exchange import Exchange
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.message_head import ResponseHead
from clusterapp.http.upstream.tunnel import bridge
from clusterapp.http.websocket.frame_boundaries import SERVICE_RESTART
from tests.unit.http.clients import CHUNKED, OK, Client, SiteTestCase, Slow
from tests.unit.http.websockets import HANDSHAKE, frame

SWITCH = ResponseHead(
    101,
    b"Switching Protocols",
    [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")],
)
WEBSOCKET = b"GET /core HTTP/1.1\r\nHost: h\r\n" + HANDSHAKE + b"\r\n"
EARLY, LATE = frame(b"early"), frame(b"late")


class DrainTests(SiteTestCase):
    """A site that drains ends every connection, and breaks no request off."""

    def test_nothing_to_drain(self) -> None:
        """Without connections it is done at once, as often as it is asked."""
        self.successResultOf(self.site.drain())
        self.successResultOf(self.site.drain())

    def test_idle_connections_are_closed(self) -> None:
        """A kept-alive connection without a request is closed."""
        client = self.client()
        client.send(b"GET /own HTTP/1.1\r\nHost: h\r\n\r\n")
        drained = self.site.drain()
        self.assertEqual(client.transport.ended, "closed")
        self.assertNoResult(drained)
        self.clock.advance(0)
        self.successResultOf(drained)

    def test_new_connections_get_a_moment(self) -> None:
        """The first request of a connection may be on its way."""
        silent, quick = self.client(), self.client()
        drained = self.site.drain()
        self.clock.advance(0.9)
        quick.send(b"GET /own HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertIn(b"\r\nConnection: close\r\n", quick.received)
        self.assertTrue(quick.received.endswith(b"hello"))
        self.clock.advance(0.2)
        self.assertEqual(silent.transport.ended, "closed")
        self.clock.advance(0)
        self.successResultOf(drained)

    def test_half_a_head_is_waited_for(self) -> None:
        """A request whose head is arriving is answered."""
        client = self.client()
        client.send(b"GET /own HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /o")
        drained = self.site.drain()
        client.send(b"wn HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertIn(b"\r\nConnection: close\r\n", client.received)
        self.clock.advance(0)
        self.successResultOf(drained)

    def test_slow_upload_gets_its_usual_time(self) -> None:
        """The short wait is for the first bytes only."""
        client = self.client()
        self.site.drain()
        client.send(b"PUT /own HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n")
        self.clock.advance(29)
        client.send(b"ab")
        self.assertTrue(client.received.endswith(b"helloab"))

    def test_responses_that_have_not_begun_announce_it(self) -> None:
        """A streamed request under way is answered, with `Connection: close`."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        drained = self.site.drain()
        self.clock.advance(1000)
        exchange.respond(OK)
        exchange.write(b"hi")
        exchange.finish()
        self.assertIn(b"\r\nConnection: close\r\n", client.received)
        self.clock.advance(0)
        self.successResultOf(drained)

    def test_responses_that_have_begun_are_finished(self) -> None:
        """A response that promised to keep the connection is whole before it ends."""
        client, exchange = self.ask(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        exchange.respond(CHUNKED)
        drained = self.site.drain()
        exchange.write(b"abc")
        self.assertEqual(client.transport.ended, "")
        exchange.finish()
        self.assertEqual(client.transport.ended, "closed")
        self.clock.advance(0)
        self.successResultOf(drained)

    def test_resources_answer_in_the_same_way(self) -> None:
        """The site's own responses announce it, or are finished and closed."""
        slow = Slow()
        site = ClusterSite(self.clock, slow)
        begun, waiting = Client(site, self.clock), Client(site, self.clock)
        for client in (begun, waiting):
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        slow.requests[0].write(b"a")
        drained = site.drain()
        for request in slow.requests:
            request.write(b"b")
            request.finish()
        self.assertNotIn(b"Connection: close", begun.received)
        self.assertIn(b"\r\nConnection: close\r\n", waiting.received)
        self.clock.advance(0)
        self.successResultOf(drained)

    def test_what_is_left_can_be_broken_off(self) -> None:
        """A drain that takes too long ends with connections that are cut."""
        client = self.client()
        client.send(b"GET /core HTTP/1.1\r\nHost: h\r\n\r\n")
        drained = self.site.drain()
        self.assertNoResult(drained)
        self.site.abort()
        self.assertEqual(client.transport.ended, "reset")

    def test_upgraded_connections_are_closed(self) -> None:
        """A WebSocket does not hold a drain up, the site's own neither."""
        client, exchange = self.ask(WEBSOCKET)
        exchange.respond(SWITCH)
        exchange.upgrade(Listener())
        slow = Slow()
        site = ClusterSite(self.clock, slow)
        own = Client(site, self.clock)
        own.send(WEBSOCKET)
        heard = Listener()
        own.connection._protocolUpgradeForWebsockets(heard)
        own.send(EARLY)
        drained = [self.site.drain(), site.drain()]
        for each_client in (client, own):
            self.assertTrue(each_client.received.endswith(SERVICE_RESTART))
            self.assertEqual(each_client.transport.ended, "")
        self.clock.pump([1.0] * 3)  # neither client answers
        self.assertEqual(client.transport.ended, "closed")
        self.assertEqual(heard.heard, [EARLY, "lost"])
        for each in drained:
            self.successResultOf(each)

    def test_upgrade_of_a_site_that_drains(self) -> None:
        """The core may switch when the drain has begun: that ends at once."""
        client, exchange = self.ask(WEBSOCKET)
        drained = self.site.drain()
        exchange.respond(SWITCH)
        exchange.upgrade(Listener())
        self.assertNotIn(b"close", client.received)
        self.assertTrue(client.received.endswith(SERVICE_RESTART))
        self.clock.pump([1.0] * 3)
        self.successResultOf(drained)

    def take_away(self, request: bytes) -> tuple[ClusterSite, Client, "Listener"]:
        """Take the transport over from a request, as autobahn's resource does."""
        site = ClusterSite(self.clock, Slow())
        client = Client(site, self.clock)
        client.send(request)
        transport, client.connection.transport = client.connection.transport, None
        self.assertIsNone(client.connection.transport)
        transport.protocol = listener = Listener()
        listener.makeConnection(transport)
        self.assertIs(transport.protocol, listener)
        return site, client, listener

    def test_connection_that_was_taken_away(self) -> None:
        """A WebSocket is told all the same, and once."""
        site, client, listener = self.take_away(WEBSOCKET)
        drained = site.drain()
        site.drain()
        self.assertEqual(client.received, SERVICE_RESTART)
        self.clock.pump([1.0] * 3)
        self.assertEqual(client.transport.ended, "closed")
        self.assertEqual(listener.heard, ["lost"])
        self.successResultOf(drained)

    def test_stream_that_was_taken_away(self) -> None:
        """One of another kind is closed, and so is one that nobody has connected."""
        site, client, listener = self.take_away(b"GET /own HTTP/1.1\r\nHost: h\r\n\r\n")
        idle = Client(site, self.clock)
        idle.send(WEBSOCKET)
        idle.connection.transport = None
        drained = site.drain()
        self.clock.advance(0)
        for each in (client, idle):
            self.assertEqual((each.received, each.transport.ended), (b"", "closed"))
        self.assertEqual(listener.heard, ["lost"])
        self.successResultOf(drained)

    def test_end_of_one_that_was_taken_away(self) -> None:
        """It may be quiet for long; its protocol and the site hear of the end."""
        site, client, listener = self.take_away(WEBSOCKET)
        self.clock.pump([1.0] * 300)
        self.assertEqual((site.connections, listener.heard), (1, []))
        client.goes()
        self.assertEqual((site.connections, listener.heard), (0, ["lost"]))
        self.assertEqual((client.received, client.transport.ended), (b"", ""))
        self.clock.pump([1.0] * 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Listener(Protocol):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[bytes | str] = []

    def dataReceived(self, data: bytes) -> None:
        self.heard.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.heard.append("lost")


class UpgradeTests(SiteTestCase):
    """A connection that leaves HTTP."""

    def test_stream_is_handed_over(self) -> None:
        """Early bytes, later ones and the end reach the protocol."""
        client, exchange = self.ask(WEBSOCKET + EARLY)
        exchange.respond(SWITCH)
        self.assertEqual(
            client.received,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\n\r\n",
        )
        listener = Listener()
        exchange.upgrade(listener)
        client.send(LATE)
        self.assertEqual(self.site.waiting, 0)  # or turns would be shared wrongly
        self.clock.advance(1000)
        client.goes()
        self.assertEqual(listener.heard, [EARLY, LATE, "lost"])
        self.assertNoResult(exchange.gone)

    def test_many_early_bytes(self) -> None:
        """A stream is read on though its client has sent more than was wanted."""
        client, exchange = self.ask(WEBSOCKET)
        client.send(frame(b"x" * MAX_PENDING_INPUT))
        self.assertFalse(client.reading)
        exchange.respond(SWITCH)
        exchange.upgrade(Listener())
        self.assertTrue(client.reading)

    def test_upgrade_within_the_offer(self) -> None:
        """A forwarder may switch at once."""
        listener = Listener()

        def switch(exchange: Exchange) -> None:
            exchange.respond(SWITCH)
            exchange.upgrade(listener)

        self.site._forward = lambda _target: switch
        client = self.client()
        client.send(WEBSOCKET + EARLY)
        self.clock.advance(1000)
        client.send(LATE)
        self.assertEqual(listener.heard, [EARLY, LATE])


class BridgeTests(SiteTestCase):
    """Two streams, joined."""

    def setUp(self) -> None:
        super().setUp()
        self.near, self.far = StringTransport(), StringTransport()
        self.ends: list[Protocol] = []

        def connect(end: object, transport: StringTransport) -> None:
            assert isinstance(end, Protocol)
            self.ends.append(end)
            end.makeConnection(transport)
            end.dataReceived(b"early")

        bridge(lambda end: connect(end, self.near), lambda end: connect(end, self.far))

    def test_both_directions(self) -> None:
        """What one end receives the other sends, early bytes first."""
        self.ends[0].dataReceived(b"-there")
        self.ends[1].dataReceived(b"-back")
        self.assertEqual(self.far.value(), b"early-there")
        self.assertEqual(self.near.value(), b"early-back")

    def test_slow_end_holds_the_other_back(self) -> None:
        """Each transport is the producer of the other."""
        self.assertIs(self.near.producer, self.far)
        self.assertIs(self.far.producer, self.near)

    def test_end_of_one_is_the_end_of_both(self) -> None:
        """When one end is lost the other is closed, after what it still sends."""
        self.ends[0].connectionLost(connectionDone)
        self.assertTrue(self.far.disconnecting)
        self.assertIsNone(self.far.producer)
