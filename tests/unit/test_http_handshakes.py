"""Connections over TLS that have not asked for anything yet."""

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.limits import Limits
from clusterapp.http.server.site import ClusterSite
from clusterapp.http.tls.handshake_limits import BoundedTLSFactory
from tests.unit.clients import Greeting
from tests.unit.fakes import Log


class BoundedTLSTests(SynchronousTestCase):
    """Who may have how many connections under way, and for how long."""

    def setUp(self) -> None:
        self.log = Log(self)
        self.clock = Clock()
        limits = Limits(first_request_timeout=10.0)
        self.site = ClusterSite(self.clock, Greeting(), limits=limits)
        self.factory = BoundedTLSFactory(CertificateOptions(), self.site, self.clock)
        self.factory.most, self.factory.most_of_one = 4, 2
        self.transports: list[StringTransport] = []
        self.addCleanup(self.close)

    def close(self) -> None:
        for transport in self.transports:
            transport.protocol.connectionLost(None)  # type: ignore[attr-defined]
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def connect(self, host: str) -> Any:
        """Connect, and say nothing; return the connection, None if it is refused."""
        protocol = self.factory.buildProtocol(IPv4Address("TCP", host, 4711))
        if protocol is None:
            return None
        transport = StringTransport()
        transport.protocol = protocol  # type: ignore[attr-defined]
        self.transports.append(transport)
        protocol.makeConnection(transport)
        return protocol.wrappedProtocol

    def test_one_address(self) -> None:
        """It may have a part of them; another one has the rest."""
        mine = [self.connect("192.0.2.1") for _ in range(5)]
        self.assertEqual(
            [each is not None for each in mine], [True, True] + [False] * 3
        )
        others = [self.connect(f"192.0.2.{n}") for n in (2, 3, 4)]
        self.assertEqual([each is not None for each in others], [True, True, False])

    def test_log(self) -> None:
        """It tells of the first refusal at once, and counts those that follow."""
        for _ in range(5):
            self.connect("192.0.2.1")
        (line,) = self.log.lines()
        self.assertIn("refused a connection of 192.0.2.1 to the core: 2", line)
        self.clock.advance(61)
        self.assertEqual(len(self.log.lines()), 1)

    def test_requests(self) -> None:
        """A connection that has brought a request is no stranger's."""
        for _ in range(2):
            connection = self.connect("192.0.2.1")
            connection.dataReceived(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertIsNotNone(self.connect("192.0.2.1"))
        self.assertEqual(self.site.connections, 3)

    def test_time(self) -> None:
        """Who brings none in ten seconds is closed, and makes room."""
        for _ in range(2):
            self.connect("192.0.2.1")
        self.clock.pump([1.0] * 11)
        self.assertTrue(all(each.disconnecting for each in self.transports))
        self.assertIsNotNone(self.connect("192.0.2.1"))
