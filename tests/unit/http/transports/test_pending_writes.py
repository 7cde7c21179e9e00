"""What a core writes in one turn of its reactor is sent at the turn's end."""

import socket
from typing import Any, cast

from twisted.internet import unix
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from clusterapp.web.hosting import CoreSite

GET = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"
MIB = 1 << 20


class Sized(Resource):
    """As many bytes as the path says."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        return b"x" * int(request.path[1:])


class HeldWriteTests(SynchronousTestCase):
    """A connection of a worker, on a socket and a reactor that the test turns."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.site = CoreSite(self.reactor, Sized())
        near, self.far = socket.socketpair()
        self.addCleanup(self.far.close)
        self.addCleanup(near.close)
        for each in (near, self.far):
            each.setblocking(False)
        self.adapter = self.site.buildProtocol(None)
        self.transport: Any = unix.Server(
            near, self.adapter, cast("Any", ""), cast("Any", None), 0, self.reactor
        )
        self.adapter.makeConnection(self.transport)
        self.addCleanup(self.lose)

    def lose(self) -> None:
        """End the connection, and the site's timers with it."""
        if self.transport.connected:
            self.transport.abortConnection()
        self.reactor.advance(0)
        self.reactor.advance(5)

    def ask(self, size: int) -> None:
        """Deliver a request."""
        self.adapter.dataReceived(GET % size)

    def came(self) -> bytes:
        """Take what the worker has received."""
        data = b""
        while True:
            try:
                piece = self.far.recv(MIB)
            except BlockingIOError:
                return data
            if not piece:
                return data
            data += piece

    def test_at_the_end_of_the_turn(self) -> None:
        """It is sent at once then, without asking the kernel whether it may be."""
        self.ask(2)
        self.assertEqual(self.came(), b"")
        self.reactor.advance(0)
        self.assertTrue(self.came().endswith(b"\r\n\r\nxx"))
        self.assertEqual(self.reactor.getWriters(), [])

    def test_together(self) -> None:
        """What is written in one turn keeps its order."""
        self.adapter.connection.write(b"a")
        self.adapter.connection.write(b"b")
        self.assertEqual(self.adapter.unsent, 2)
        self.reactor.advance(0)
        self.assertEqual(self.came(), b"ab")
        self.assertEqual(self.adapter.unsent, 0)

    def test_more_than_the_kernel_takes(self) -> None:
        """The rest waits in the transport, and what follows behind it."""
        self.adapter.connection.write(b"a" * 60_000)
        self.reactor.advance(0)
        size = 60_000
        while not self.reactor.getWriters():
            self.adapter.connection.write(b"a" * 60_000)
            self.reactor.advance(0)
            size += 60_000
        self.adapter.connection.write(b"end")
        self.reactor.advance(0)
        data = self.came()
        while self.reactor.getWriters():
            self.assertIsNone(self.transport.doWrite())
            data += self.came()
        self.assertEqual(data, b"a" * size + b"end")

    def test_much(self) -> None:
        """Much is left to the transport in the same turn, which then pauses writers."""
        self.ask(MIB)
        self.assertGreater(self.adapter.unsent, MIB)
        self.assertTrue(self.transport.producerPaused)
        data = b""
        while self.reactor.getWriters():
            self.assertIsNone(self.transport.doWrite())
            data += self.came()
        self.assertTrue(data.endswith(b"\r\n\r\n" + b"x" * MIB))

    def test_closed_in_the_same_turn(self) -> None:
        """A response before a close arrives."""
        self.adapter.dataReceived(
            b"GET /2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        )
        while self.reactor.getWriters():
            self.transport.doWrite()
        self.assertTrue(self.came().endswith(b"xx"))
        self.reactor.advance(0)
        self.assertEqual(self.came(), b"")

    def test_aborted_in_the_same_turn(self) -> None:
        """Nothing is sent any more."""
        self.adapter.connection.write(b"a")
        self.adapter.abort()
        self.adapter.connection.write(b"b")
        self.reactor.advance(0)
        self.assertEqual(self.came(), b"")

    def test_worker_that_has_gone(self) -> None:
        """The transport hears of it as ever."""
        self.far.close()
        self.adapter.connection.write(b"a")
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getWriters(), [self.transport])
        self.assertIsNotNone(self.transport.doWrite())

    def test_raw_stream(self) -> None:
        """Pending bytes are sent before the first bytes of another protocol."""
        self.adapter.connection.write(b"head ")
        raw = self.adapter.raw_transport(self.adapter.connection)
        raw.write(b"frame")
        while self.reactor.getWriters():
            self.transport.doWrite()
        self.assertEqual(self.came(), b"head frame")
        self.reactor.advance(0)
        self.assertEqual(self.came(), b"")
