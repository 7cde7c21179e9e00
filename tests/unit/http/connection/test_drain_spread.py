"""Connections that end over some time, and WebSockets that are the core's."""

from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.site import ClusterSite
from clusterapp.http.upstream.tunnel import bridge
from clusterapp.http.websocket.frame_boundaries import SERVICE_RESTART
from clusterapp.http.websocket.frames import close_frame
from tests.unit.http.clients import Client, Greeting, SiteTestCase
from tests.unit.http.connection.test_drain import SWITCH, WEBSOCKET

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

        def hand_over(_: object, _listener: str) -> Deferred[bool]:
            raise AssertionError("it was lent")

        drained = self.site.drain(spread=1.0, hand_over=hand_over)
        self.assertEqual(client.transport.ended, "")
        self.clock.pump([1.0] * 3)
        self.successResultOf(drained)


class TunnelTests(SiteTestCase):
    """WebSockets that are the core's."""

    def tunnel(self) -> tuple[Client, Any]:
        """Return the client, and what stands for the core's end."""
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
        """It is told as soon as the frame is whole, though pieces end anywhere."""
        client, core = self.tunnel()
        core.dataReceived(b"\x82\x04ab")
        drained = self.site.drain()
        self.assertTrue(client.received.endswith(b"\x82\x04ab"))
        core.dataReceived(b"c")
        core.dataReceived(b"d\x82\x04ab")
        core.dataReceived(b"cd\x82\x01")
        self.assertTrue(client.received.endswith(b"\x82\x04abcd" + SERVICE_RESTART))
        self.clock.pump([1.0] * 4)
        self.assertEqual(client.transport.ended, "closed")
        self.successResultOf(drained)

    def test_within_a_frame_twice(self) -> None:
        """It is told once, however often the site is asked to drain."""
        client, core = self.tunnel()
        core.dataReceived(b"\x82\x04ab")
        drained = [self.site.drain(), self.site.drain()]
        core.dataReceived(b"cd")
        self.site.drain()
        self.assertEqual(client.received.count(SERVICE_RESTART), 1)
        self.clock.pump([1.0] * 4)
        for each in drained:
            self.successResultOf(each)

    def test_client_answers(self) -> None:
        """The core hears it, and ends the stream; nobody waits longer for that."""
        client, core = self.tunnel()
        drained = self.site.drain()
        client.send(b"\x88\x82\0\0\0\0\x03\xf4")
        self.assertEqual(core.transport.value(), b"\x88\x82\0\0\0\0\x03\xf4")
        core.dataReceived(b"\x88\x02\x03\xf4")
        core.connectionLost(connectionDone)
        self.assertEqual(client.received.count(SERVICE_RESTART), 1)
        self.assertEqual(client.transport.ended, "closed")
        self.clock.advance(0)
        self.successResultOf(drained)

    def test_spread(self) -> None:
        """Frames go both ways until its moment comes."""
        client, core = self.tunnel()
        drained = self.site.drain(spread=5.0)
        core.dataReceived(b"\x82\x02ab")
        self.assertTrue(client.received.endswith(b"\x82\x02ab"))
        self.clock.pump([1.0] * 6)
        self.assertTrue(client.received.endswith(SERVICE_RESTART))
        client.goes()
        self.successResultOf(drained)

    def test_client_that_takes_nothing(self) -> None:
        """The close frame waits behind the frames before it; time is bounded."""
        client, core = self.tunnel()
        client.channel.pauseProducing()
        self.assertEqual(core.transport.producerState, "paused")
        core.dataReceived(b"\x82\x02ab")
        drained = self.site.drain()
        core.dataReceived(b"\x82\x02cd")
        self.assertTrue(client.received.endswith(b"\x82\x02ab" + SERVICE_RESTART))
        self.assertFalse(client.reading)
        self.clock.pump([1.0] * 4)
        self.assertEqual(client.transport.ended, "closed")
        self.successResultOf(drained)

    def test_client_that_breaks_the_rules(self) -> None:
        """It gets a close frame between two frames or none, and the core's end ends."""
        for before, closed in (
            (b"\x82\x02ab", close_frame(1002)),
            (b"\x82\x04ab", b""),
        ):
            client, core = self.tunnel()
            core.dataReceived(before)
            client.send(b"\xff\xff")
            self.assertTrue(client.received.endswith(before + closed))
            self.assertEqual(client.transport.ended, "half")
            self.assertTrue(core.transport.disconnecting)
            core.dataReceived(b"cd")
            core.connectionLost(connectionDone)
            self.assertTrue(client.received.endswith(before + closed))
            self.assertEqual(client.transport.ended, "half")
            client.goes()


class UnsentTests(SynchronousTestCase):
    """What was written for a client that has left."""

    def test_it_is_freed(self) -> None:
        """At once, though an application may refer to the transport for long."""
        reactor = MemoryReactorClock()
        site = ClusterSite(reactor, Greeting())
        adapter = site.buildProtocol(None)
        native: Any = FileDescriptor(reactor)
        native.connected = 1
        adapter.makeConnection(native)
        adapter.connection.write(b"x" * 1_000_000)
        adapter.connection.write(b"y")
        adapter.connectionLost()
        self.assertEqual((native.dataBuffer, native.offset), (b"", 0))
        self.assertEqual((native._tempDataBuffer, native._tempDataLen), ([], 0))
        reactor.advance(1)
