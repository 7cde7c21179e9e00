"""Upgraded connections: their pace, and how what their clients do wrong ends."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.logger import LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from clusterapp.http.connection_limits import LINGER_SECONDS, Limits
from clusterapp.http.site import ClusterSite
from clusterapp.http.websocket.frame_boundaries import SERVICE_RESTART
from clusterapp.http.websocket.frames import close_frame
from tests.unit.fakes import Log
from tests.unit.http.clients import Client
from tests.unit.http.connection.upgrades import (
    FACTS,
    RAW,
    WEBSOCKET,
    Failing,
    Hearing,
    Upgrading,
)
from tests.unit.http.websockets import FIRST, PING, TEXT, frame, header


class HostedTests(SynchronousTestCase):
    """Connections on Twisted's transports, as in a core."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.addCleanup(self.check_that_nothing_is_left)

    def check_that_nothing_is_left(self) -> None:
        """A site that has no connections has no timers, either."""
        self.clock.pump([1.0] * 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def upgraded(
        self,
        request: bytes = WEBSOCKET,
        make: Callable[[], Hearing] = Hearing,
        *,
        takes: bool = False,
        early: bytes = b"",
    ) -> tuple[Client, Any]:
        """Ask; give the client and the protocol."""
        resource = Upgrading(make, takes=takes)
        self.own = ClusterSite(self.clock, resource, limits=Limits(message=1000))
        client = Client(self.own, self.clock)
        self.addCleanup(client.goes)
        client.send(request + early)
        self.clock.advance(0)
        return client, resource.made[0]

    def each(self) -> list[dict[str, Any]]:
        """Return the ways in which connections are upgraded."""
        return [
            {"request": request, "takes": takes}
            for request in (WEBSOCKET, RAW)
            for takes in (False, True)
        ]

    def test_reading_stops_while_writing_is_paused(self) -> None:
        """Received bytes wait while output is paused, by each way to upgrade."""
        ping = frame(b"ping", PING)
        for how in self.each():
            client, protocol = self.upgraded(**how)
            self.assertTrue(client.reading)
            client.channel.pauseProducing()
            self.assertFalse(client.reading, how)
            client.channel.dataReceived(ping)  # it was on its way
            self.clock.advance(1)
            self.assertEqual(protocol.heard, [])
            client.channel.resumeProducing()
            self.clock.advance(0)
            self.assertEqual(protocol.heard, [ping])
            self.assertTrue(client.reading, how)
            client.goes()

    def test_both_must_be_ready(self) -> None:
        """A protocol that has paused its transport gets nothing, either."""
        client, protocol = self.upgraded()
        protocol.transport.pauseProducing()
        client.channel.pauseProducing()
        client.channel.dataReceived(frame(b"a"))
        for ready in (client.channel, protocol.transport):
            self.clock.advance(0)
            self.assertEqual((client.reading, protocol.heard), (False, []))
            ready.resumeProducing()
        self.clock.advance(0)
        self.assertEqual((client.reading, protocol.heard), (True, [frame(b"a")]))

    def test_producer(self) -> None:
        """A protocol may follow the client's pace as well."""
        for how in self.each():
            client, protocol = self.upgraded(**how)
            paced = Paced()
            protocol.transport.registerProducer(paced, True)
            client.channel.pauseProducing()
            self.assertEqual((paced.heard, client.reading), (["pause"], False))
            client.channel.resumeProducing()
            self.assertEqual((paced.heard, client.reading), (["pause", "resume"], True))
            protocol.transport.unregisterProducer()
            client.channel.pauseProducing()
            self.assertEqual(len(paced.heard), 2)
            client.goes()

    def test_client_that_takes_nothing(self) -> None:
        """A client that reads nothing is aborted in time, by each way to upgrade."""
        for how in self.each():
            client, protocol = self.upgraded(**how)
            client.channel.pauseProducing()
            self.clock.pump([1.0] * 205)
            self.assertEqual(client.transport.ended, "reset", how)
            client.transport.lose()
            self.assertEqual((protocol.heard, self.own.connections), (["lost"], 0))

    def test_turns(self) -> None:
        """What comes at once in small frames is passed on in many turns."""
        client, protocol = self.upgraded()
        client.send(frame(b"", PING) * 1000)
        self.assertEqual(len(protocol.heard), 1)
        self.assertFalse(client.reading)
        while not client.reading:
            self.clock.advance(0)
        self.assertEqual(b"".join(protocol.heard), frame(b"", PING) * 1000)
        self.assertGreaterEqual(len(protocol.heard), 10)

    def test_early_bytes(self) -> None:
        """They come behind the answer to the handshake."""
        for takes in (False, True):
            client, protocol = self.upgraded(takes=takes, early=frame(b"early"))
            self.assertEqual(protocol.heard, [frame(b"early")])
            self.assertEqual(client.received, b"101")

    def test_broken_rules(self) -> None:
        """A close frame, the end of our side, and nothing more of the client's."""
        for bad, code in (
            (header(FIRST, 2**40), 1009),
            (header(0x82, 1001), 1009),
            (b"\x82\x01x", 1002),
            (b"\xff\xff", 1002),
        ):
            for takes in (False, True):
                client, protocol = self.upgraded(takes=takes)
                client.send(frame(b"good") + bad + b"more")
                self.clock.advance(0)
                self.assertEqual(protocol.heard, [frame(b"good"), "lost"])
                self.assertEqual(client.received, b"101" + close_frame(code))
                self.assertEqual(client.transport.ended, "half")
                client.send(frame(b"never"))
                protocol.transport.write(b"never")
                protocol.transport.loseConnection()
                self.assertEqual(client.received, b"101" + close_frame(code))
                self.assertEqual(
                    (client.transport.ended, self.own.connections), ("half", 1)
                )
                client.goes()
                self.assertEqual(protocol.heard, [frame(b"good"), "lost"])
                self.assertEqual(self.own.connections, 0)

    def test_client_that_stays(self) -> None:
        """One that does not go when it is told to is cut off."""
        client, _ = self.upgraded()
        client.send(b"\xff\xff")
        self.clock.pump([1.0] * (int(LINGER_SECONDS) + 2))
        self.assertEqual(client.transport.ended, "closed")

    def test_drain_while_writing_is_paused(self) -> None:
        """The close frame waits behind the rest; time is bounded; it is sent once."""
        for takes in (False, True):
            client, protocol = self.upgraded(takes=takes)
            client.channel.pauseProducing()
            drained = self.own.drain()
            self.assertEqual(client.received, b"101" + SERVICE_RESTART)
            protocol.transport.write(b"never")
            client.channel.dataReceived(b"\xff\xff")
            client.channel.resumeProducing()
            self.clock.advance(0)
            self.assertEqual(client.received, b"101" + SERVICE_RESTART)
            client.goes()
            self.successResultOf(drained)

    def test_failures(self) -> None:
        """Each ends its connection alone, is logged once, and is given back."""
        for takes in (False, True):
            for where, answer in (
                ("dataReceived", b"101" + close_frame(1011)),
                ("connectionLost", b"101"),
                ("pauseProducing", b"101" + close_frame(1011)),
                ("resumeProducing", b"101" + close_frame(1011)),
            ):
                log = Log(self)
                client, protocol = self.upgraded(
                    make=partial(Failing, where), takes=takes
                )
                protocol.transport.registerProducer(protocol, True)
                if where == "dataReceived":
                    client.send(frame(b"x", TEXT))
                elif where == "connectionLost":
                    client.goes()
                else:
                    client.channel.pauseProducing()
                    client.channel.resumeProducing()
                self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1, where)
                [event] = [each for each in log.events if "log_failure" in each]
                self.assertEqual(event["log_level"], LogLevel.error)
                self.assertEqual(str(event["request"]), FACTS)
                self.assertRegex(formatEvent(event), f"^cannot .*: {re.escape(FACTS)}$")
                self.assertEqual(client.received, answer)
                self.assertEqual(protocol.heard, ["lost"])
                client.goes()
                self.assertEqual(self.own.connections, 0)

    def test_failure_of_its_end(self) -> None:
        """What fails at the end of a connection that has failed is an error, too."""
        log = Log(self)
        client, protocol = self.upgraded(make=lambda: Failing("dataReceived"))
        protocol.where = "dataReceived connectionLost"
        client.send(frame(b"x", TEXT))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        events = [each for each in log.events if "log_failure" in each]
        self.assertEqual(
            [(each["log_level"], str(each["request"])) for each in events],
            [(LogLevel.error, FACTS)] * 2,
        )

    def test_failure_of_another_protocol(self) -> None:
        """A stream of which nothing is known is broken off."""
        client, protocol = self.upgraded(RAW, lambda: Failing("dataReceived"))
        client.send(b"x")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual((client.received, client.transport.ended), (b"101", "reset"))
        client.transport.lose()
        self.assertEqual((protocol.heard, self.own.connections), (["lost"], 0))

    def test_failure_at_the_start(self) -> None:
        """A protocol that fails when it is connected is a 500, before any 101."""
        client, _ = self.upgraded(make=lambda: Failing("makeConnection"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 500 "), client.received)
        client.goes()
        self.assertEqual(self.own.connections, 0)

    def test_inflation(self) -> None:
        """What autobahn inflates is bounded where its own option does not."""
        client, protocol = self.upgraded()
        protocol.maxMessagePayloadSize = 0
        client.send(frame(b"plain"))
        self.assertEqual(protocol.maxMessagePayloadSize, 0)
        client.send(frame(b"deflated", 0xC2))
        self.assertEqual(protocol.maxMessagePayloadSize, 1000)
        protocol.maxMessagePayloadSize = 50
        client.send(frame(b"deflated", 0xC2))
        self.assertEqual(protocol.maxMessagePayloadSize, 50)


@implementer(IPushProducer)
class Paced:
    """Writes down what a producer is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def pauseProducing(self) -> None:
        self.heard.append("pause")

    def resumeProducing(self) -> None:
        self.heard.append("resume")

    def stopProducing(self) -> None: ...
