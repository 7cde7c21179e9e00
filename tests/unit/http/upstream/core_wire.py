"""The core's end of an agent's connections, in memory, for the agent's tests."""

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
)
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    ISSLTransport,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import directlyProvides, implementer

from clusterapp.errors import CoreBrokenError
from clusterapp.http.syntax.message_head import RequestHead, ResponseHead
from clusterapp.http.upstream.core_agent import CoreAgent
from clusterapp.http.upstream.upstream_connection import CoreConnection
from clusterapp.http.upstream.upstream_response import WireResponse
from clusterapp.interfaces import Fields

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

GET = RequestHead(b"GET", b"/", ((b"Host", b"core"),))
HEAD = RequestHead(b"HEAD", b"/", ((b"Host", b"core"),))
POST = RequestHead(b"POST", b"/", ((b"Host", b"core"),))


class Wire(StringTransport):
    """One connection, as the agent's side sees it; the test is the other side."""

    aborted = False
    gone = False

    def __init__(self, clock: Clock, protocol: CoreConnection) -> None:
        super().__init__()
        self._clock = clock
        self._protocol = protocol

    @property
    def paused(self) -> bool:
        """Whether the agent does not read."""
        return bool(self.producerState == "paused")

    def sent(self) -> bytes:
        """Take what the agent has written."""
        data: bytes = self.value()
        self.clear()
        return data

    def answer(self, data: bytes) -> None:
        """Deliver bytes of the core to the agent's protocol."""
        self._protocol.dataReceived(data)

    def finish(self) -> None:
        """Close the connection in order, from the core's side."""
        self._lose(ConnectionDone())

    def break_off(self) -> None:
        """Break the connection, as a reset does."""
        self._lose(ConnectionLost())

    def abortConnection(self) -> None:
        """Close the connection from the agent's side; it learns so a turn later."""
        assert not self.aborted, "aborted twice"
        self.aborted = True
        self._clock.callLater(0, self._lose, ConnectionAborted())

    def _lose(self, error: Exception) -> None:
        if self.gone:
            return
        self.gone = True
        # As Twisted's own transports do, before they tell the protocol.
        if self.producer is not None:
            self.producer.stopProducing()
        self._protocol.connectionLost(Failure(error))


@implementer(IStreamClientEndpoint)
class Core:
    """An endpoint whose connections are `wires`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: Whether to fail; to keep the agent waiting; to look like TLS.
        self.wires: list[Wire] = []
        self.refuse = False
        self.hold = False
        self.secure = False
        self.cancelled = 0

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect at once; or never, or not at all, as the test wishes."""
        if self.refuse:
            return fail(ConnectError("refused"))
        if self.hold:
            return Deferred(self._cancel)
        protocol = protocolFactory.buildProtocol(UNIXAddress("core"))
        assert isinstance(protocol, CoreConnection)
        wire = Wire(self._clock, protocol)
        if self.secure:
            directlyProvides(wire, ISSLTransport)
        self.wires.append(wire)
        protocol.makeConnection(wire)
        return succeed(protocol)

    def _cancel(self, connecting: Deferred[IProtocol]) -> None:
        self.cancelled += 1
        connecting.errback(ConnectingCancelledError("core"))


class Collector(Protocol):
    """Receives a body, or a raw stream."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.reason: Failure | None = None

    @property
    def body(self) -> bytes:
        """What has come."""
        return b"".join(self.pieces)

    def dataReceived(self, data: bytes) -> None:
        """Collect."""
        assert self.reason is None, "data after the end"
        self.pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note the end; there is one only."""
        assert self.reason is None, "a second end"
        self.reason = reason


@implementer(IBodyProducer)
class Body:
    """A body that the test produces by hand."""

    def __init__(
        self, length: int | str = UNKNOWN_LENGTH, trailers: Fields | None = None
    ) -> None:
        self.length = length
        self.did: list[str] = []
        self.done: Deferred[None] = Deferred()
        if trailers is not None:
            self.trailers = trailers

    def startProducing(self, consumer: object) -> Deferred[None]:
        """Begin."""
        self.did.append("start")
        self.consumer = consumer
        return self.done

    def write(self, data: bytes) -> None:
        """Produce a piece."""
        self.consumer.write(data)  # type: ignore[attr-defined]

    def pauseProducing(self) -> None:
        """Note."""
        self.did.append("pause")

    def resumeProducing(self) -> None:
        """Note."""
        self.did.append("resume")

    def stopProducing(self) -> None:
        """Note."""
        self.did.append("stop")


class AgentTestCase(SynchronousTestCase):
    """An agent, its clock, and the core's end of the wires."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.core = Core(self.clock)
        self.agent = CoreAgent(self.clock, self.core, idle_timeout=30.0, max_idle=64)
        self.interims: list[ResponseHead] = []
        self._sent: list[Deferred[WireResponse]] = []
        self.addCleanup(self.close)

    def close(self) -> None:
        """Close the agent; nothing of it may outlive that."""
        for sent in self._sent:
            if not sent.called:
                sent.addErrback(lambda failure: failure.trap(CoreBrokenError))
        closed = self.agent.close()
        self.clock.advance(0)
        self.successResultOf(closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @property
    def wire(self) -> Wire:
        """The newest connection."""
        return self.core.wires[-1]

    def send(
        self, head: RequestHead = GET, body: Body | None = None
    ) -> Deferred[WireResponse]:
        """Send a request."""
        sent = self.agent.send(head, body, self.interims.append)
        self._sent.append(sent)
        return sent

    def answered(self, answer: bytes, head: RequestHead = GET) -> WireResponse:
        """Send a request and give this answer to it."""
        sent = self.send(head)
        self.wire.answer(answer)
        return self.successResultOf(sent)

    def collected(self, response: WireResponse) -> Collector:
        """Take the body."""
        collector = Collector()
        response.deliverBody(collector)
        return collector
