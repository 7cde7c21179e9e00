"""What a TLS transport is given at a time."""

import asyncio

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from clusterapp.http.transports.tls_writer import TlsWriter
from tests.unit.http.native_sites import NativeCase, Tls, on_each_loop

PIECE = 64 * 1024


class FullTransport(asyncio.Transport):
    """A transport that is full after so many writes."""

    def __init__(self, takes: int) -> None:
        super().__init__()
        self.takes = takes
        self.writer = TlsWriter(self)
        self.written: list[bytes] = []

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        """Take the limit: tests decide themselves when it is full."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Note the piece, and pause the writer when it is the last one."""
        self.written.append(bytes(data))
        self.takes -= 1
        if not self.takes:
            self.writer.paused = True


class WriterTests(SynchronousTestCase):
    """Pieces, until the transport is full."""

    def test_pieces(self) -> None:
        """Each is small, and all together are what was written, in its order."""
        transport = FullTransport(takes=100)
        pieces = [b"head", b"x" * (3 * PIECE + 5), b"", b"tail"]
        for piece in pieces:
            transport.writer.write(piece)
        self.assertEqual(b"".join(transport.written), b"".join(pieces))
        self.assertLessEqual(max(map(len, transport.written)), PIECE)
        self.assertEqual(transport.writer.size, 0)

    def test_full(self) -> None:
        """The rest is held, and what is written later stays behind it."""
        transport = FullTransport(takes=2)
        transport.writer.write(b"x" * (5 * PIECE))
        transport.writer.write(b"tail")
        self.assertEqual(len(transport.written), 2)
        self.assertEqual(transport.writer.size, 3 * PIECE + 4)
        transport.takes = 1
        self.assertFalse(transport.writer.resume())
        self.assertEqual(len(transport.written), 3)
        transport.takes = 10
        self.assertTrue(transport.writer.resume())
        self.assertEqual(b"".join(transport.written), b"x" * (5 * PIECE) + b"tail")
        self.assertEqual(transport.writer.size, 0)

    def test_drop(self) -> None:
        """Of a connection that is aborted, nothing is written any more."""
        transport = FullTransport(takes=1)
        transport.writer.write(b"x" * (5 * PIECE))
        transport.writer.drop()
        self.assertTrue(transport.writer.resume())
        self.assertEqual(len(transport.written), 1)
        self.assertEqual(transport.writer.size, 0)


class Large(Resource):
    """A large body."""

    isLeaf = True
    body = bytes(range(256)) * (4 << 12)

    def render(self, request: Request) -> bytes:
        """Return the body."""
        if request.path == b"/last":
            request.setHeader("Connection", "close")
        return self.body


class ResponseTests(NativeCase):
    """Large responses over TLS, on each event loop's own transports."""

    @on_each_loop
    async def test_slow_client(self) -> None:
        """The transport has little of it, and the client gets all."""
        self.site.resource = Large()
        writer = await Tls().connect(self)
        for target in (b"first", b"last"):
            writer.write(b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % target)
            head = await self.reader.readuntil(b"\r\n\r\n")
            self.assertIn(b"Content-Length: %d\r\n" % len(Large.body), head)
            adapter = self.connection().adapter
            self.assertLess(adapter.native.get_write_buffer_size(), 1 << 18)
            body = await self.reader.readexactly(len(Large.body))
            self.assertEqual(body, Large.body)
        self.assertEqual(await self.reader.read(), b"")
        writer.close()
