"""What code that asks a worker's request for its transport gets."""

import socket
from typing import Any

from cryptography import x509
from OpenSSL import crypto
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IConsumer,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from clusterapp.http.connection_limits import CLOSE_FRAME_SECONDS
from clusterapp.http.transports.asyncio_server import AsyncioServer
from tests.unit.http.native_sites import Client, NativeCase, Tls, on_each_loop, pair


class Recording(Protocol):
    """Notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[bytes | str] = []

    def dataReceived(self, data: bytes) -> None:
        """Note."""
        self.heard.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note."""
        self.heard.append("lost")


class TransportTests(NativeCase):
    """`AsyncioTransport`, as an application has it."""

    @on_each_loop
    async def test_interfaces(self) -> None:
        """It is what it says, and there is one of it."""
        _, request = await self.asked()
        transport = request.transport
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            verifyObject(interface, transport)
        self.assertFalse(ISSLTransport.providedBy(transport))
        self.assertFalse(request.isSecure())
        self.assertIs(transport, request.channel.transport)
        self.assertIs(transport.protocol, request.channel.adapter)

    @on_each_loop
    async def test_addresses(self) -> None:
        """Both ends have addresses of Twisted's."""
        for family, kind in (
            (socket.AF_INET, IPv4Address),
            (socket.AF_INET6, IPv6Address),
        ):
            client, transport = await self.transport(family)
            peer, host = transport.getPeer(), transport.getHost()
            self.assertIsInstance(peer, kind)
            self.assertEqual((peer.host, peer.port), client.socket.getsockname()[:2])
            self.assertEqual((host.host, host.port), client.socket.getpeername()[:2])
        _, transport = await self.transport(socket.AF_UNIX)
        # Applications expect a host and a port.
        self.assertEqual(transport.getPeer(), IPv4Address("TCP", "127.0.0.1", 0))
        self.assertEqual(transport.getHost(), IPv4Address("TCP", "127.0.0.1", 0))

    @on_each_loop
    async def test_address_of_a_client_that_has_left(self) -> None:
        """It is known as long as somebody may ask."""
        client = await self.client()
        there = client.socket.getsockname()
        await client.get("/hi")
        await client.until(b"\r\n\r\nhi")
        await client.get("/slow")
        client.resets()
        connection = self.connection()
        await self.so(lambda: not self.site._connections)
        self.assertEqual(connection.getPeer(), IPv4Address("TCP", *there))

    @on_each_loop
    async def test_options(self) -> None:
        """The socket's options can be seen and set."""
        _, transport = await self.transport()
        for option in ("TcpNoDelay", "TcpKeepAlive"):
            for value in (True, False):
                getattr(transport, f"set{option}")(value)
                self.assertIs(getattr(transport, f"get{option}")(), value)
        self.assertNotEqual(transport.getHandle().fileno(), -1)

    @on_each_loop
    async def test_writing_and_closing(self) -> None:
        """What is written before the end arrives; what is written later does not."""
        client, transport = await self.transport()
        transport.write(b"a")
        transport.writeSequence([b"b", b"c"])
        self.assertTrue(transport.connected)
        transport.loseConnection()
        self.assertTrue(transport.disconnecting)
        self.assertFalse(transport.connected)
        transport.write(b"d")
        self.assertEqual(await client.rest(), b"abc")

    @on_each_loop
    async def test_stop_producing(self) -> None:
        """As a producer it is stopped by closing."""
        client, transport = await self.transport()
        transport.stopProducing()
        self.assertEqual(await client.rest(), b"")

    @on_each_loop
    async def test_abort(self) -> None:
        """The client sees a broken connection."""
        client, transport = await self.transport()
        transport.abortConnection()
        with self.assertRaises(ConnectionResetError):
            await client.rest()

    @on_each_loop
    async def test_half_close(self) -> None:
        """The client may go on after the end of what we send."""
        client, transport = await self.transport()
        heard = self.attach(transport)
        transport.write(b"end")
        transport.loseWriteConnection()
        transport.write(b"ignored")
        while await client.some():
            pass
        self.assertEqual(client.received, b"end")
        await client.send(b"still here")
        await self.so(lambda: heard.heard)
        self.assertEqual(heard.heard, [b"still here"])

    @on_each_loop
    async def test_pausing(self) -> None:
        """As a producer it reads nothing while it is paused."""
        client, transport = await self.transport()
        heard = self.attach(transport)
        await self.turns()  # the loop reads once from what has just been accepted
        transport.pauseProducing()
        await client.send(b"wait")
        await self.turns()
        self.assertEqual(heard.heard, [])
        transport.resumeProducing()
        await self.so(lambda: heard.heard)

    @on_each_loop
    async def test_producer(self) -> None:
        """As a consumer it has one producer at a time."""
        _, transport = await self.transport()
        producer = Paused()
        transport.registerProducer(producer, True)
        self.assertRaises(RuntimeError, transport.registerProducer, producer, True)
        transport.write(b"x" * 20_000_000)
        await self.so(lambda: producer.paused)
        transport.unregisterProducer()
        transport.abortConnection()

    async def transport(self, family: int = socket.AF_INET) -> tuple[Client, Any]:
        """Connect and ask; return the client, and the transport of its request."""
        client = await self.client(family=family)
        count = len(self.resource.requests) + 1
        await client.get("/slow")
        request = await self.request(count=count)
        return client, request.transport

    def attach(self, transport: Any) -> Recording:
        """Return a transport to a protocol, as autobahn does."""
        protocol = Recording()
        transport.protocol.connection.upgrade.detached = True
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return protocol


@implementer(IPushProducer)
class Paused:
    """A producer that knows whether it is to wait."""

    paused = False

    def pauseProducing(self) -> None:
        """Wait."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Go on."""

    def stopProducing(self) -> None:
        """Stop."""


class UpgradeTests(NativeCase):
    """Connections that become something else."""

    def hand_over(self, request: Any) -> Recording:
        """Switch as twisted.web.websocket does."""
        protocol = Recording()
        request.channel._protocolUpgradeForWebsockets(protocol)
        return protocol

    def take(self, request: Any) -> Recording:
        """Switch as autobahn does."""
        protocol = Recording()
        transport, request.channel.transport = request.channel.transport, None
        transport.protocol = protocol
        protocol.makeConnection(transport)
        transport.resumeProducing()
        self.assertIs(transport.protocol, protocol)
        return protocol

    async def heard(self, protocol: Recording, count: int) -> None:
        """Wait until a protocol has heard so much."""
        await self.so(lambda: len(protocol.heard) >= count)

    @on_each_loop
    async def test_both_ways(self) -> None:
        """Bytes go both ways, the early ones first, and none is taken for HTTP."""
        for switch in (self.hand_over, self.take):
            client = await self.client()
            await client.send(b"GET /ws HTTP/1.1\r\nHost: h\r\n\r\nGET early\r\n\r\n")
            protocol = switch(await self.request())
            await self.heard(protocol, 1)
            await client.send(b"late")
            await self.heard(protocol, 2)
            protocol.transport.write(b"answer")  # type: ignore[union-attr]
            await client.until(b"answer")
            client.goes()
            await self.so(lambda: not self.site._connections)
            self.assertEqual(protocol.heard, [b"GET early\r\n\r\n", b"late", "lost"])
            self.resource.requests.clear()

    @on_each_loop
    async def test_ends(self) -> None:
        """Both hear how it ends: by a reset, by us, or by the end of the site."""
        for switch in (self.hand_over, self.take):
            for end in ("reset", "close", "abort", "drain"):
                client, request = await self.asked()
                protocol = switch(request)
                if end == "reset":
                    client.resets()
                elif end == "close":
                    protocol.transport.loseConnection()  # type: ignore[union-attr]
                elif end == "abort":
                    self.site.abort()
                else:
                    self.site.drain()
                    self.clock.advance(CLOSE_FRAME_SECONDS + 1)
                await self.so(lambda: not self.site._connections)
                self.assertEqual(protocol.heard, ["lost"])
                self.resource.requests.clear()
                self.site.draining = False

    @on_each_loop
    async def test_protocol_that_fails(self) -> None:
        """A protocol that fails when it hears of the end does not hold up a drain."""
        client, request = await self.asked()
        self.hand_over(request).connectionLost = failing  # type: ignore[assignment,method-assign]
        drained = self.site.drain()
        await self.so(lambda: drained.called)
        (failure,) = self.flushLoggedErrors(RuntimeError)
        self.assertIn("not my day", failure.getErrorMessage())
        client.goes()

    @on_each_loop
    async def test_no_time_limit(self) -> None:
        """A connection that is something else may be quiet for long."""
        for switch in (self.hand_over, self.take):
            client, request = await self.asked()
            protocol = switch(request)
            await self.later(1000)
            await client.send(b"back")
            await self.heard(protocol, 1)
            client.goes()
            await self.so(lambda: not self.site._connections)
            self.resource.requests.clear()


def failing(reason: Failure) -> None:
    """Fail."""
    raise RuntimeError("not my day")


class TlsTests(NativeCase):
    """Over TLS."""

    @on_each_loop
    async def test_round_trip(self) -> None:
        """Requests are answered, and know that they were encrypted."""
        writer = await Tls().connect(self)
        for _ in range(2):
            writer.write(b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n")
            await self.reader.readuntil(b"\r\n\r\nhi")
        writer.write(b"GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        request = await self.request()
        transport = request.transport
        self.assertTrue(request.isSecure())
        verifyObject(ISSLTransport, transport)
        self.assertEqual(transport.negotiatedProtocol, b"http/1.1")
        self.assertIsInstance(transport.getPeerCertificate(), crypto.X509)
        shown = transport.getPeerCertificate().to_cryptography()
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        self.assertEqual(names.value.get_values_for_type(x509.DNSName), ["client"])
        request.channel.transport = None
        self.assertFalse(ISSLTransport.providedBy(transport))
        request.finish()
        self.assertIn(b"\r\nConnection: close\r\n", await self.reader.read())
        writer.close()
        await writer.wait_closed()

    @on_each_loop
    async def test_last_answer_is_whole(self) -> None:
        """An answer that closes arrives, although the client still sends."""
        writer = await Tls().connect(self)
        writer.write(
            b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n"
        )
        writer.write(b"x" * 500_000)
        received = await self.reader.readuntil(b"\r\n\r\n")
        self.assertTrue(received.startswith(b"HTTP/1.1 413 "))
        writer.write(b"x" * 500_000)
        self.assertIn(b"413", await self.reader.read())
        writer.transport.abort()

    @on_each_loop
    async def test_client_leaves(self) -> None:
        """The request's notifyFinish fails when the client closes the connection."""
        writer = await Tls().connect(self)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        await self.request()
        writer.close()
        await self.so(lambda: self.resource.ends)
        await writer.wait_closed()

    @on_each_loop
    async def test_drain_in_the_handshake(self) -> None:
        """A client that takes too long over it does not hold up a drain."""
        near, far = pair()
        server = AsyncioServer(self.loop, self.site, lambda: Tls().server)
        server.serve(far, near.getsockname())
        drained = self.site.drain()
        await self.turns()
        self.assertNoResult(drained)
        await self.later(3)
        await self.so(lambda: drained.called)
        near.close()
