"""Connections over TLS that have not asked for anything yet."""

from typing import Any

import trustme
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.test.iosim import FakeTransport, connect
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.connection_limits import Limits
from clusterapp.http.site import ClusterSite
from clusterapp.http.tls.handshake_limits import BoundedTLSFactory
from tests.unit.fakes import Log
from tests.unit.http.clients import Greeting


def _server_options() -> CertificateOptions:
    leaf = trustme.CA().issue_cert("core.example.org")
    pem = leaf.private_key_and_cert_chain_pem.bytes()
    options: CertificateOptions = PrivateCertificate.loadPEM(pem).options()
    return options


class End(Protocol):
    """A client's end of a connection."""

    def __init__(self, says: bytes) -> None:
        self.received = b""
        self._says = says

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._says)

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class Transport(StringTransport):
    """A transport that notes how it was closed."""

    aborted = False

    def __init__(self, protocol: Any, peer: IPv4Address | IPv6Address) -> None:
        super().__init__(peerAddress=peer)
        self.protocol = protocol

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class BoundedTLSTests(SynchronousTestCase):
    """The limits of pending handshakes, in number and time."""

    def setUp(self) -> None:
        self.log = Log(self)
        self.clock = Clock()
        limits = Limits(first_request_timeout=10.0)
        self.site = ClusterSite(self.clock, Greeting(), limits=limits)
        self.factory = BoundedTLSFactory(_server_options(), self.site, self.clock)
        self.factory.pending.most = 4
        self.transports: list[Transport] = []
        self.addCleanup(self.close)

    def close(self) -> None:
        for transport in self.transports:
            transport.protocol.connectionLost(None)
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def connect(self, host: str) -> Any:
        """Connect, and send nothing; return the connection."""
        kind = IPv6Address if ":" in host else IPv4Address
        address = kind("TCP", host, 4711)
        protocol: Any = self.factory.buildProtocol(address)
        transport = Transport(protocol, address)
        self.transports.append(transport)
        protocol.makeConnection(transport)
        return protocol.wrappedProtocol

    def request(self, host: str) -> End:
        """Connect, and ask for something over TLS; return the client's protocol."""
        end = End(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        options = CertificateOptions(verify=False)
        tls = TLSMemoryBIOFactory(
            options, True, Factory.forProtocol(lambda: end), self.clock
        )
        near: Any = tls.buildProtocol(IPv4Address("TCP", host, 4711))
        far: Any = self.factory.buildProtocol(IPv4Address("TCP", host, 4711))
        pump = connect(far, FakeTransport(far, True), near, FakeTransport(near, False))
        self.addCleanup(far.connectionLost, None)
        for _ in range(3):  # what is written is gathered for one turn of the reactor
            self.clock.advance(0)
            pump.flush()
        return end

    def aborted(self) -> list[bool]:
        """Return which of the connections were closed to make room."""
        return [each.aborted for each in self.transports]

    def test_room(self) -> None:
        """The oldest connection of the address that holds most makes room."""
        for n in (2, 1, 1, 1, 3):
            self.assertIsNotNone(self.connect(f"192.0.2.{n}"))
        self.assertEqual(self.aborted(), [False, True, False, False, False])
        self.connect("192.0.2.1")
        self.assertEqual(self.aborted(), [False, True, True, False, False, False])

    def test_room_in_a_network(self) -> None:
        """A /64 of IPv6 counts as one address."""
        for host in ("192.0.2.2", "2001:db8::1", "2001:db8::2", "192.0.2.3"):
            self.connect(host)
        self.connect("192.0.2.4")
        self.assertEqual(self.aborted(), [False, True, False, False, False])

    def test_log(self) -> None:
        """The first eviction is logged at once; those that follow are counted."""
        for _ in range(9):
            self.connect("192.0.2.1")
        (line,) = self.log.lines()
        self.assertIn("closed a connection of 192.0.2.1 to the core", line)
        self.clock.pump([1.0] * 61)
        for _ in range(5):
            self.connect("192.0.2.1")
        self.assertIn("(5 closed since", self.log.lines()[-1])

    def test_requests(self) -> None:
        """A connection that has brought a request holds no place."""
        clients = [self.request("192.0.2.1") for _ in range(5)]
        self.assertEqual(len(self.factory.pending), 0)
        for _ in range(5):
            self.connect("192.0.2.2")
        self.assertEqual(self.aborted(), [True] + [False] * 4)
        self.assertEqual(self.site.connections, 10)
        for client in clients:
            self.assertIn(b"200 OK", client.received)

    def test_end(self) -> None:
        """A connection that is closed holds no place."""
        self.connect("192.0.2.1")
        self.transports.pop().protocol.connectionLost(None)
        self.assertEqual(len(self.factory.pending), 0)

    def test_time(self) -> None:
        """What brings no request in ten seconds is closed."""
        for _ in range(2):
            self.connect("192.0.2.1")
        self.clock.pump([1.0] * 11)
        self.assertTrue(all(each.disconnecting for each in self.transports))

    def test_any_exception(self) -> None:
        """It closes the connection that it is about."""
        self.connect("192.0.2.1")

        def fail(_self: object, _data: bytes) -> None:
            raise ZeroDivisionError

        self.patch(TLSMemoryBIOProtocol, "dataReceived", fail)
        self.transports[0].protocol.dataReceived(b"x")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.aborted(), [True])
