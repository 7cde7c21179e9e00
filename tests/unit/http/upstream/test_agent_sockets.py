"""The agent on real sockets, where the kernel has a say."""

import shutil
import tempfile
from typing import Any

import trustme
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    SSL4ServerEndpoint,
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import (
    Certificate,
    KeyPair,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.internet.task import cooperate
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseDone

from clusterapp.errors import (
    CoreBrokenError,
    CoreUnreachableError,
    CoreUntrustedError,
)
from clusterapp.http.upstream.core_agent import CoreAgent
from clusterapp.web.cluster_membership import agent_beside
from tests.unit.http.upstream.core_wire import CHUNKED, GET, OK, POST, Body, Collector

reactor: Any = _reactor

MIB = 1024 * 1024


class Peer(Protocol):
    """The core's end of one connection, by hand."""

    transport: Any

    def __init__(self, test: "SocketTestCase") -> None:
        self.received = 0
        self.lost: Deferred[object] = Deferred()
        self._test = test

    def dataReceived(self, data: bytes) -> None:
        """Count the bytes, and notify the test."""
        self.received += len(data)
        self._test.script(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note."""
        self.lost.callback(reason.value)


class Ending(Collector):
    """Receives a body, and says when it has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Count."""
        self.size += len(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell."""
        super().connectionLost(reason)
        self.ended.callback(None)


class SocketTestCase(TestCase):
    """An agent, and a core that is scripted by the test."""

    async def listen(self, endpoint: IStreamServerEndpoint) -> Any:
        """Listen, and collect the connections in `peers`."""
        self.peers: list[Peer] = []
        self._asked: Deferred[Peer] | None = None
        self.script = self._tell
        factory = Factory.forProtocol(self._peer)
        factory.noisy = False
        port = await endpoint.listen(factory)
        self.addCleanup(port.stopListening)
        return port

    def _peer(self) -> Peer:
        peer = Peer(self)
        self.peers.append(peer)
        return peer

    def _tell(self, peer: Peer) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.callback(peer)

    def asked(self) -> Deferred[Peer]:
        """Wait for the next bytes on any connection."""
        self._asked = Deferred()
        return self._asked

    def make_agent(self, endpoint: Any) -> CoreAgent:
        """Make an agent that is closed at the end."""
        agent = CoreAgent(reactor, endpoint)
        self.addCleanup(self._end, agent)
        return agent

    async def _end(self, agent: CoreAgent) -> None:
        await agent.close()
        for peer in self.peers:
            await peer.lost


class UnixTests(SocketTestCase):
    """Over a Unix socket, as to the core in the master."""

    async def setUp(self) -> None:  # type: ignore[override]
        # A path of mktemp's may be longer than the 107 bytes of sockaddr_un.
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        path = f"{folder}/core"
        await self.listen(UNIXServerEndpoint(reactor, path, backlog=1024))
        self.agent = self.make_agent(UNIXClientEndpoint(reactor, path))

    async def test_not_there(self) -> None:
        """The error names the path that nobody listens at."""
        agent = agent_beside(reactor, "/not/there.sock")
        error = await self.assertFailure(agent.send(GET), CoreUnreachableError)
        self.assertIn("unix:/not/there.sock", str(error))

    async def one_idle(self) -> Peer:
        """Make a connection that is idle now."""
        asked, sent = self.asked(), self.agent.send(GET)
        peer = await asked
        peer.transport.write(OK)
        await sent
        return peer

    async def test_closed_but_not_yet_noticed(self) -> None:
        """The end that waits in the kernel is seen before the request is lost."""
        peer = await self.one_idle()
        peer.transport.socket.shutdown(2)
        asked, sent = self.asked(), self.agent.send(GET)
        second = await asked
        second.transport.write(OK)
        self.assertEqual((await sent).code, 200)
        self.assertIsNot(second, peer)

    async def test_a_byte_not_yet_noticed(self) -> None:
        """A byte that waits in the kernel would be taken for the answer."""
        peer = await self.one_idle()
        peer.transport.socket.send(b"H")
        asked, sent = self.asked(), self.agent.send(GET)
        second = await asked
        second.transport.write(OK)
        self.assertEqual((await sent).code, 200)
        await peer.lost

    async def test_kept(self) -> None:
        """A connection that is quiet is used again."""
        peer = await self.one_idle()
        asked, sent = self.asked(), self.agent.send(GET)
        (await asked).transport.write(OK)
        await sent
        self.assertEqual(peer, self.peers[-1])
        self.assertEqual(len(self.peers), 1)

    async def test_many_at_once(self) -> None:
        """Two hundred requests at once, twice: the second time on 64 kept ones."""
        self.script = lambda peer: peer.transport.write(OK)
        for _ in range(2):
            sent = [self.agent.send(GET) for _ in range(200)]
            for response in sent:
                self.assertEqual((await response).code, 200)
        self.assertEqual(len(self.peers), 200 + 200 - 64)

    async def test_cut_off(self) -> None:
        """A body that the core does not finish is broken, and says so."""
        for beginning in (OK[:-1], CHUNKED + b"1\r\na\r\n"):
            body = await self.received(beginning)
            self.assertTrue(body.reason and body.reason.check(CoreBrokenError))

    async def test_until_close(self) -> None:
        """Without a length, the core's close ends the body."""
        body = await self.received(b"HTTP/1.1 200 OK\r\n\r\nabc")
        self.assertTrue(body.reason and body.reason.check(ResponseDone))
        self.assertEqual(body.size, 3)

    async def received(self, answer: bytes) -> Ending:
        """Receive an answer after which the core closes."""
        asked, sent = self.asked(), self.agent.send(GET)
        peer = await asked
        peer.transport.write(answer)
        peer.transport.loseConnection()
        body = Ending()
        (await sent).deliverBody(body)
        await body.ended
        return body

    async def test_refused_before_the_end(self) -> None:
        """The answer of a core that closes in the middle of an upload is read."""
        body = Body()
        asked, sent = self.asked(), self.agent.send(POST, body)
        peer = await asked
        peer.transport.pauseProducing()
        while "pause" not in body.did:
            body.write(b"x" * 65536)
        peer.transport.write(OK)
        peer.transport.loseConnection()
        self.assertEqual((await sent).code, 200)
        self.assertEqual(body.did[-1], "stop")

    async def test_upload_waits_for_the_core(self) -> None:
        """A core that does not read pauses the producer before a MiB is buffered."""
        body = Body()
        asked, sent = self.asked(), self.agent.send(POST, body)
        peer = await asked
        peer.transport.pauseProducing()
        written = 0
        while "pause" not in body.did:
            body.write(b"x" * 65536)
            written += 65536
            await _turn()
        self.assertLess(written, MIB)
        self.assertNotIn("resume", body.did)
        whole: Deferred[None] = Deferred()
        self.script = lambda peer: (
            whole.callback(None)
            if peer.received > written and not whole.called
            else None
        )
        peer.transport.resumeProducing()
        await whole
        self.assertIn("resume", body.did)
        body.done.callback(None)
        peer.transport.write(OK)
        self.assertEqual((await sent).code, 200)

    async def test_download_waits_for_the_reader(self) -> None:
        """A reader that is paused pauses the core; nothing is lost."""
        asked, sent = self.asked(), self.agent.send(GET)
        peer = await asked
        source = Source(peer.transport, 4 * MIB)
        body = Ending()
        (await sent).deliverBody(body)
        body.transport.pauseProducing()  # type: ignore[union-attr]
        await source.settled()
        self.assertLess(source.written, MIB)
        self.assertLess(body.size, MIB)
        body.transport.resumeProducing()  # type: ignore[union-attr]
        await body.ended
        self.assertEqual(body.size, 4 * MIB)
        self.assertTrue(body.reason and body.reason.check(ResponseDone))

    async def test_download_waits_to_be_taken(self) -> None:
        """So does a response whose body nobody has asked for yet."""
        asked, sent = self.asked(), self.agent.send(GET)
        source = Source((await asked).transport, 4 * MIB)
        response = await sent
        await source.settled()
        self.assertLess(source.written, MIB)
        body = Ending()
        response.deliverBody(body)
        await body.ended
        self.assertEqual(body.size, 4 * MIB)


class Source:
    """Writes a body as fast as a transport takes it."""

    def __init__(self, transport: Any, size: int) -> None:
        self.written = 0
        self._size = size
        self._paused = False
        self._transport = transport
        transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        transport.registerProducer(self, True)
        self._task = cooperate(self._write())

    def _write(self) -> Any:
        while self.written < self._size:
            self._transport.write(b"x" * 32768)
            self.written += 32768
            yield None
        self._transport.unregisterProducer()

    async def settled(self) -> None:
        """Wait until it stays paused: both ends are on this one reactor."""
        turns = 0
        while turns < 20:
            await _turn()
            turns = turns + 1 if self._paused else 0

    def pauseProducing(self) -> None:
        """Wait."""
        self._paused = True
        self._task.pause()

    def resumeProducing(self) -> None:
        """Go on."""
        self._paused = False
        self._task.resume()

    def stopProducing(self) -> None:
        """Stop."""
        self._task.stop()


class TLSTests(SocketTestCase):
    """Over TLS, as to a core on another machine."""

    async def setUp(self) -> None:  # type: ignore[override]
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        certificate = PrivateCertificate.fromCertificateAndKeyPair(
            Certificate.loadPEM(issued.cert_chain_pems[0].bytes()),
            KeyPair.load(issued.private_key_pem.bytes(), 1),
        )
        self.root = trustRootFromCertificates(
            [Certificate.loadPEM(authority.cert_pem.bytes())]
        )
        port = await self.listen(
            SSL4ServerEndpoint(reactor, 0, certificate.options(), interface="127.0.0.1")
        )
        self.plain = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)

    def agent_for(self, name: str) -> CoreAgent:
        """Make an agent that expects the core to have this name."""
        return self.make_agent(
            wrapClientTLS(optionsForClientTLS(name, self.root), self.plain)
        )

    async def test_answer(self) -> None:
        """Requests go through, twice on one connection."""
        agent = self.agent_for("localhost")
        asked, sent = self.asked(), agent.send(GET)
        peer = await asked
        peer.transport.write(OK)
        await sent
        again, sent = self.asked(), agent.send(GET)
        (await again).transport.write(OK)
        self.assertEqual((await sent).code, 200)
        self.assertEqual(len(self.peers), 1)

    async def test_another_name(self) -> None:
        """A core that is somebody else receives nothing."""
        agent = self.agent_for("elsewhere")
        with self.assertRaises(CoreUntrustedError):
            await agent.send(GET)
        self.assertEqual([peer.received for peer in self.peers], [0])

    async def test_closed_without_a_farewell(self) -> None:
        """Only TLS's own close ends a body without a length."""
        agent = self.agent_for("localhost")
        for farewell in (True, False):
            asked, sent = self.asked(), agent.send(GET)
            peer = await asked
            peer.transport.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
            body = Ending()
            (await sent).deliverBody(body)
            transport = peer.transport
            (transport if farewell else transport.transport).loseConnection()
            await body.ended
            kind = ResponseDone if farewell else CoreBrokenError
            self.assertTrue(body.reason and body.reason.check(kind))


def _turn() -> Deferred[None]:
    """Wait for one turn of the reactor."""
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    return turned
