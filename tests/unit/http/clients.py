"""Clients of a site, in memory and on a clock that only the test moves."""

from collections.abc import Callable

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from clusterapp.http.connection.connection import Connection
from clusterapp.http.connection_limits import Limits
from clusterapp.http.exchange.exchange import Exchange
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.message_head import ResponseHead
from clusterapp.http.syntax.request_head import Head
from clusterapp.http.transports.twisted_adapter import TwistedAdapter

OK = ResponseHead(200, b"OK", [(b"Content-Length", b"2")])
CHUNKED = ResponseHead(200, b"OK", [])


class ClientTransport(StringTransport):
    """The server's end of a client's connection."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.protocol: TwistedAdapter | None = None
        #: How it was closed: not, "half" (for writing), "closed" or "reset".
        self.ended = ""

    def unregisterProducer(self) -> None:
        # A socket's transport allows it at any time.
        self.producer = None

    def loseWriteConnection(self) -> None:
        self.ended = "half"

    def loseConnection(self) -> None:
        super().loseConnection()
        self._end("closed")

    def abortConnection(self) -> None:
        super().abortConnection()
        self.ended = "reset"

    def _end(self, how: str) -> None:
        self.ended = how
        self._clock.callLater(0, self.lose)

    def lose(self) -> None:
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(ConnectionDone()))


class Client:
    """One client."""

    def __init__(self, site: ClusterSite, clock: Clock) -> None:
        self.site = site
        self.transport = ClientTransport(clock)
        channel = site.buildProtocol(None)
        assert isinstance(channel, TwistedAdapter)
        self.channel = self.transport.protocol = channel
        channel.makeConnection(self.transport)

    @property
    def connection(self) -> Connection:
        """The site's connection."""
        return self.channel.connection

    def send(self, *pieces: bytes) -> None:
        """Deliver these pieces to the site one by one; fail if it is paused."""
        for piece in pieces:
            assert self.reading, "the site does not read"
            self.channel.dataReceived(piece)

    def goes(self) -> None:
        """Close the connection from the client's side."""
        self.transport.lose()

    @property
    def reading(self) -> bool:
        """Whether the site reads from the client."""
        return bool(self.transport.producerState == "producing")

    @property
    def received(self) -> bytes:
        """What the site has sent."""
        return bytes(self.transport.value())


@implementer(IConsumer)
class Sink:
    """Takes a body."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        raise NotImplementedError

    def unregisterProducer(self) -> None:
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        self.pieces.append(data)


class Greeting(Resource):
    """The site's own resource."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        assert request.content is not None
        return b"hello" + bytes(request.content.read())


class Slow(Resource):
    """A resource that answers when the test says so."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []

    def render(self, request: Request) -> int:
        self.requests.append(request)
        return NOT_DONE_YET


class SiteTestCase(SynchronousTestCase):
    """A site that streams what is below ``/core``, to the test itself."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.taken: list[Exchange] = []
        self.site = ClusterSite(
            self.clock, Greeting(), self.take, limits=Limits(keepalive_timeout=60.0)
        )
        self.addCleanup(self.assert_nothing_is_left)

    def take(self, head: Head) -> Callable[[Exchange], None] | None:
        return self.taken.append if head.target.startswith(b"/core") else None

    def client(self) -> Client:
        client = Client(self.site, self.clock)
        self.addCleanup(client.goes)
        return client

    def ask(self, request: bytes) -> tuple[Client, Exchange]:
        """Send a streamed request; return the client and the exchange."""
        client = self.client()
        client.send(request)
        return client, self.taken[-1]

    def assert_nothing_is_left(self) -> None:
        self.clock.advance(1)  # when the site finds that it has no connections
        self.assertEqual(self.clock.getDelayedCalls(), [])
