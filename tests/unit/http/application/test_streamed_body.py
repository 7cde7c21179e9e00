"""Handlers that read their request's body while it comes."""

from typing import Any

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp import streamed
from clusterapp.http.connection_limits import Limits
from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.site import ClusterSite
from tests.unit.http.clients import Client

UPLOAD = b"PUT /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n"
CHUNKED = b"PUT /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


class StreamedTests(SynchronousTestCase):
    """A handler that takes its time with each piece."""

    def setUp(self) -> None:
        self.pieces: list[bytes] = []
        self.wait: Deferred[None] | None = None
        self.failure: BaseException | None = None
        app = Klein()

        @app.route("/upload", methods=["PUT"])
        @streamed
        async def upload(request: Any) -> bytes:
            try:
                async for piece in request.body:
                    self.pieces.append(piece)
                    if self.wait is not None:
                        await self.wait
            except CancelledError as error:
                self.failure = error
                raise
            return b"%d" % sum(map(len, self.pieces))

        @app.route("/refuse", methods=["PUT"])
        @streamed
        def refuse(request: Any) -> bytes:
            return b"no"

        @app.route("/whole", methods=["PUT"])
        def whole(request: Any) -> bytes:
            return bytes(request.content.read()) + str(type(request.body)).encode()

        self.clock = Clock()
        self.site = ClusterSite(
            self.clock, klein_resource(app), limits=Limits(body=100_000_000)
        )
        self.client = Client(self.site, self.clock)
        self.addCleanup(self.client.goes)

    def test_pieces_come_as_they_are_sent(self) -> None:
        """The handler runs before the body is there, and answers after its end."""
        self.client.send(UPLOAD, b"abc")
        self.assertEqual(self.pieces, [b"abc"])
        self.assertEqual(self.client.received, b"")
        self.client.send(b"def")
        self.assertEqual(self.pieces, [b"abc", b"def"])
        self.assertTrue(self.client.received.endswith(b"\r\n\r\n6"))

    def test_chunks(self) -> None:
        """A body of unknown length is read to its end; the next request follows."""
        self.client.send(
            CHUNKED + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n" + UPLOAD + b"defghi"
        )
        self.assertEqual(b"".join(self.pieces), b"abcdefghi")
        self.assertEqual(self.client.received.count(b"HTTP/1.1 200"), 2)

    def test_slow_handler_holds_the_client_back(self) -> None:
        """Nothing is read while the handler is busy with a piece."""
        self.wait = Deferred()
        self.client.send(UPLOAD, b"abc")
        self.assertFalse(self.client.reading)
        wait, self.wait = self.wait, None
        wait.callback(None)
        self.client.send(b"def")
        self.assertTrue(self.client.received.endswith(b"6"))

    def test_no_body(self) -> None:
        """A request without a body has no pieces."""
        self.client.send(b"PUT /upload HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertTrue(self.client.received.endswith(b"\r\n\r\n0"))

    def test_answer_without_reading(self) -> None:
        """What the handler did not read is read away, and the connection is kept."""
        self.client.send(
            b"PUT /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n"
        )
        self.assertTrue(self.client.received.endswith(b"no"))
        self.client.send(b"abcdef", UPLOAD + b"abcdef")
        self.assertTrue(self.client.received.endswith(b"6"))

    def test_client_leaves(self) -> None:
        """The handler is cancelled, and nothing is logged."""
        self.client.send(UPLOAD, b"abc")
        self.client.goes()
        self.assertIsInstance(self.failure, CancelledError)

    def test_continue_is_sent_at_once(self) -> None:
        """A client that waits to be asked for its body is asked."""
        self.client.send(UPLOAD[:-2] + b"Expect: 100-continue\r\n\r\n")
        self.assertEqual(self.client.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        self.client.send(b"abcdef")

    def test_unmarked_handler(self) -> None:
        """Asking for a stream that is none is an error that says what to do."""
        self.client.send(
            b"PUT /whole HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"
        )
        self.assertTrue(self.client.received.startswith(b"HTTP/1.1 500"))
        [failure] = self.flushLoggedErrors(RuntimeError)
        self.assertIn("clusterapp.streamed", str(failure.value))
