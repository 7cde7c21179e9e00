"""The core's connections from workers, in memory."""

from typing import Any

import trustme
from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import crypto
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import ISSLTransport, ITransport
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from clusterapp.http.syntax.client_origin import Origin
from clusterapp.web.hosting import CoreSite
from tests.unit.http.clients import Client, Slow

PEER, HOST = IPv4Address("TCP", "192.0.2.1", 99), IPv4Address("TCP", "192.0.2.2", 81)
HERE = IPv4Address("TCP", "127.0.0.1", 0)


def asking(origin: Origin | None) -> bytes:
    """Write a request with the field that names its client."""
    line = b"" if origin is None else b"%b: %b\r\n" % origin.field
    return b"GET /a/b HTTP/1.1\r\n%bHost: h\r\n\r\n" % line


class ForwardedTests(SynchronousTestCase):
    """What an application in the core sees."""

    def setUp(self) -> None:
        self.clock, self.resource = Clock(), Slow()
        self.site = CoreSite(self.clock, self.resource)

    def client(self) -> Client:
        client = Client(self.site, self.clock)
        self.addCleanup(client.goes)
        # As of the core's own socket.
        client.transport.peerAddr = client.transport.hostAddr = UNIXAddress(None)
        return client

    def ask(self, client: Client, origin: Origin | None) -> Any:
        client.send(asking(origin))
        return self.resource.requests.pop()

    def test_client(self) -> None:
        """Addresses are the client's, each request's its own, for ever."""
        client = self.client()
        first = self.ask(client, Origin(PEER, HOST, secure=True))
        transport = first.transport
        first.finish()
        other = Origin(IPv4Address("TCP", "192.0.2.9", 9), HOST, secure=False)
        second = self.ask(client, other)
        self.assertEqual((first.client, first.host), (PEER, HOST))
        self.assertEqual((transport.getPeer(), transport.getHost()), (PEER, HOST))
        self.assertEqual(second.getClientAddress().host, "192.0.2.9")
        self.assertEqual(second.transport.getPeer().port, 9)
        self.assertTrue(ISSLTransport.providedBy(transport))
        self.assertFalse(ISSLTransport.providedBy(second.transport))
        self.assertTrue(ITransport.providedBy(second.transport))
        self.assertFalse(second.isSecure())
        self.assertEqual(second.prePathURL(), b"http://h/")

    def test_workers_own(self) -> None:
        """A request from `app.cluster.core` has stand-ins of IP."""
        request = self.ask(self.client(), None)
        self.assertEqual(request.getClientAddress(), HERE)
        self.assertEqual(request.getHost(), IPv4Address("TCP", "127.0.0.1", 80))
        self.assertEqual(request.transport.getPeer(), HERE)
        self.assertEqual(request.prePathURL(), b"http://h/")
        self.assertFalse(request.isSecure())

    def test_unreadable(self) -> None:
        """What cannot be read is refused, and nobody's address is guessed."""
        client = self.client()
        client.send(b"GET / HTTP/1.1\r\nClusterapp-From: 0 a\r\nHost: h\r\n\r\n")
        self.assertTrue(client.received.startswith(b"HTTP/1.1 400 "), client.received)
        self.assertEqual(self.resource.requests, [])

    def test_certificate(self) -> None:
        """It is the client's, and never that which the worker has shown."""
        leaf = trustme.CA().issue_cert("alice").cert_chain_pems[0].bytes()
        der = x509.load_pem_x509_certificate(leaf).public_bytes(Encoding.DER)
        client = self.client()
        worker: Any = client.transport
        alsoProvides(worker, ISSLTransport)
        worker.getPeerCertificate = lambda: "the worker's"
        request = self.ask(client, Origin(PEER, HOST, True, certificate=der))
        shown = request.transport.getPeerCertificate()
        self.assertIsInstance(shown, crypto.X509)
        self.assertEqual(crypto.dump_certificate(crypto.FILETYPE_ASN1, shown), der)
        request.finish()
        request = self.ask(client, Origin(PEER, HOST, secure=False))
        self.assertIsNone(request.transport.getPeerCertificate())
        self.assertFalse(ISSLTransport.providedBy(request.transport))
        self.assertFalse(request.isSecure())

    def test_autobahn(self) -> None:
        """Its protocol sees the client, with and without TLS."""
        for secure in (False, True):
            peers: list[str] = []

            class Noting(WebSocketServerProtocol):
                def onConnect(self, request: Any) -> None:
                    peers.append(request.peer)  # noqa: B023 - called at once

            factory = WebSocketServerFactory(reactor=self.clock)
            factory.protocol = Noting
            self.site.resource = WebSocketResource(factory)
            client = self.client()
            client.send(
                asking(Origin(PEER, HOST, secure)).replace(
                    b"Host:",
                    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "
                    b"dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nHost:",
                )
            )
            self.assertEqual(peers, ["tcp4:192.0.2.1:99"])
            self.assertIn(b" 101 ", client.received)
            self.assertTrue(client.connection.switched)
