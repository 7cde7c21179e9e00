"""A worker's proxy between raw clients and a scripted core, on real sockets."""

import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
)
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource

from clusterapp.http.connection_limits import Limits
from clusterapp.http.site import ClusterSite
from clusterapp.http.upstream.core_agent import CoreAgent
from clusterapp.web.clients.trusted_proxies import TrustedProxies
from clusterapp.worker.proxy.reverse_proxy import CoreProxy

reactor: Any = _reactor

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
GET = b"GET /counter HTTP/1.1\r\nHost: shop\r\n\r\n"


def without_origin(head: bytes) -> bytes:
    """Take the line out of a head by which a worker says whose a request is."""
    first, _, rest = head.partition(b"\r\n")
    origin, _, rest = rest.partition(b"\r\n")
    assert origin.startswith(b"Clusterapp-From: "), head
    return first + b"\r\n" + rest


class Line(Protocol):
    """One end of a connection, read and written by hand."""

    transport: Any

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.ended: Failure | None = None
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def send(self, *pieces: bytes) -> None:
        """Write to the other end."""
        self.transport.writeSequence(pieces)

    async def until(self, end: bytes) -> bytes:
        """Wait for these bytes; take what came up to them, and them."""
        await self.when(lambda: end in self.buffer)
        return self._take(self.buffer.index(end) + len(end))

    async def exactly(self, size: int) -> bytes:
        """Wait for so many bytes, and take them."""
        await self.when(lambda: len(self.buffer) >= size)
        return self._take(size)

    async def rest(self) -> bytes:
        """Wait for the end of the connection; take what came before."""
        await self.when(lambda: self.ended is not None)
        return self._take(len(self.buffer))

    def when(self, so: Callable[[], bool]) -> Deferred[None]:
        """Wait until something is so; fails if the connection ends first."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append((so, waiting))
        self._look()
        return waiting

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = reason
        self._look()

    def _take(self, size: int) -> bytes:
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def _look(self) -> None:
        waiting, self._waiting = self._waiting, []
        for so, done in waiting:
            if so():
                done.callback(None)
            elif self.ended is not None:
                done.errback(AssertionError(f"it ended; there is {self.buffer!r}"))
            else:
                self._waiting.append((so, done))


class Flood:
    """
    Sends mebibytes for as long as they are taken.

    :param line: where to send.
    :param number: how many.
    """

    def __init__(self, line: Line, number: int) -> None:
        self.sent = 0
        self._line = line
        self._left = number
        line.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self._line.send(bytes(1 << 20))
        self.sent += 1
        self._left -= 1
        if not self._left:
            self._line.transport.unregisterProducer()

    def stopProducing(self) -> None: ...

    async def stuck(self) -> None:
        """Wait until nothing more is taken."""
        before = -1
        while before != self.sent:
            before = self.sent
            for _ in range(200):
                await deferLater(reactor, 0)


class ScriptedCore(Factory):
    """The core's listening side: each connection is a line for the test."""

    noisy = False

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._fresh: DeferredQueue[Line] = DeferredQueue()

    def buildProtocol(self, addr: object) -> Line:
        line = Line()
        self.lines.append(line)
        self._fresh.put(line)
        return line

    def line(self) -> Deferred[Line]:
        """Wait for the next connection."""
        return self._fresh.get()


class ProxyTestCase(TestCase):
    """
    Clients on loopback TCP, the core on a Unix socket.

    The proxy's own clock stands still until a test moves it.
    """

    timeout = 20
    core_timeout = 60.0
    #: Whether the core is there from the start.
    core_is_open = True

    def setUp(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        self.path = f"{folder}/core.sock"
        self.clock = Clock()
        self.core = ScriptedCore()
        self.agent = CoreAgent(reactor, UNIXClientEndpoint(reactor, self.path))
        self.proxy = CoreProxy(
            self.clock,
            self.agent,
            trusted=TrustedProxies([]),
            timeout=self.core_timeout,
        )
        self.site = ClusterSite(
            reactor,
            Resource(),
            lambda _: self.proxy.forward,
            limits=Limits(body=None),
        )
        self.port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.clients: list[Line] = []
        self.addCleanup(self.close)
        if self.core_is_open:
            self.open_core()

    def open_core(self) -> None:
        """Listen as the core, and notify the worker's proxy that it is ready."""
        self.listening = reactor.listenUNIX(self.path, self.core)
        self.addCleanup(self.listening.stopListening)
        self.proxy.core_ready(True)

    async def close(self) -> None:
        """Close every connection, and wait for it."""
        await self.port.stopListening()
        self.proxy.close()
        lines = self.clients + self.core.lines
        for line in lines:
            line.transport.abortConnection()
        for line in lines:
            await line.rest()
        await self.agent.close()
        await self.site.drain()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        # Nothing is kept of requests that have ended, however they did.
        self.assertEqual(self.proxy._under_way, set())
        self.assertEqual(self.proxy._upstream.timeout._since, {})

    async def client(self) -> Line:
        """Connect a client to the worker."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        line: Line = await connectProtocol(endpoint, Line())
        self.clients.append(line)
        return line

    async def ask(self, request: bytes) -> tuple[Line, Line, bytes]:
        """Send a request; return the client, the core's line and what it got."""
        client = await self.client()
        client.send(request)
        core = await self.core.line()
        return client, core, await core.until(b"\r\n\r\n")

    async def eventually(self, so: Callable[[], object]) -> None:
        """Run the reactor until a condition holds."""
        while not so():
            await deferLater(reactor, 0)

    def assert_broken(self, line: Line) -> None:
        """The connection ended with a reset."""
        assert line.ended is not None
        self.assertTrue(line.ended.check(ConnectionLost), line.ended)

    def assert_closed(self, line: Line) -> None:
        """The connection ended in the ordinary way."""
        assert line.ended is not None
        self.assertTrue(line.ended.check(ConnectionDone), line.ended)
