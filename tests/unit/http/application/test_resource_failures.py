"""Resources of twisted.web that fail: as of a Klein, none vanishes or ends as whole."""

from typing import Any

from twisted.python.failure import Failure
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import EncodingResourceWrapper
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory

from tests.unit.http.application.failing_responses import (
    GET,
    HEAD,
    OLD,
    BoomError,
    FailureCase,
)
from tests.unit.http.clients import Client
from tests.unit.http.side_by_side import Calling


class ResourceTests(FailureCase):
    """Resources that are not done yet, and fail then."""

    def later(self, raw: bytes, *pieces: bytes, length: int | None = None) -> Client:
        """Write pieces, fail, and finish as if nothing had happened."""

        def handler(request: Any) -> int:
            if length is not None:
                request.setHeader(b"content-length", b"%d" % length)

            def fail() -> None:
                request.processingFailed(Failure(BoomError()))
                request.write(b"more")
                request.finish()

            for piece in pieces:
                request.write(piece)
            self.clock.callLater(1, fail)
            return NOT_DONE_YET

        client = self.called(handler)
        client.send(raw)
        self.clock.advance(1)
        return client

    def test_before_the_first_byte(self) -> None:
        self.assert_refused(self.later(GET))

    def test_length_of_what_failed(self) -> None:
        """The error has a length of its own."""
        self.assert_refused(self.later(GET, length=4))

    def test_after_a_piece(self) -> None:
        self.assert_broken(self.later(GET, b"piece;"), b"6\r\npiece;\r\n")

    def test_with_a_length(self) -> None:
        """The body stays short of it."""
        self.assert_broken(self.later(GET, b"piece;", length=10), b"piece;")

    def test_old_client(self) -> None:
        """Nothing but the reset tells it."""
        self.assert_broken(self.later(OLD, b"piece;"), b"piece;")

    def test_event_stream(self) -> None:
        """One that has failed is not ended as one that is drained."""

        def handler(request: Any) -> int:
            request.setHeader(b"content-type", b"text/event-stream")
            request.write(b"data: 1\n\n")
            raise BoomError

        client = self.called(handler)
        client.send(GET)
        self.assert_broken(client, b"9\r\ndata: 1\n\n\r\n")

    def test_compressed(self) -> None:
        """The encoder's end is left out as well."""

        def handler(request: Any, _: Any) -> int:
            request.write(b"piece;" * 1000)
            raise BoomError

        resource = EncodingResourceWrapper(Calling(handler, []), [GzipEncoderFactory()])
        client = self.serve(resource)
        client.send(GET[:-2] + b"Accept-Encoding: gzip\r\n\r\n")
        self.assertEqual(client.transport.ended, "reset")
        self.assertFalse(client.received.endswith(b"0\r\n\r\n"))
        self.assert_over(client, complete=False)

    def test_fields_of_what_failed(self) -> None:
        """An error is neither kept by caches nor taken for a part, or a coding."""

        def handler(request: Any) -> int:
            for name, value in (
                ("cache-control", "max-age=3600"),
                ("content-encoding", "gzip"),
                ("content-range", "bytes 0-1/2"),
                ("expires", "Thu, 01 Jan 2099 00:00:00 GMT"),
                ("x-kept", "1"),
            ):
                request.setHeader(name, value)
            request.setETag(b'"x"')
            request.setLastModified(1)
            raise BoomError

        client = self.called(handler)
        client.send(GET)
        fields = client.received.partition(b"\r\n\r\n")[0].lower()
        for name in (b"cache", b"encoding", b"range", b"expires", b"etag", b"modified"):
            self.assertNotIn(name, fields)
        self.assertIn(b"x-kept: 1", fields)
        self.assert_refused(client)

    def test_head_made_of_a_get(self) -> None:
        """What fails as a GET is an error to a HEAD; it was no answer at all."""

        class GetOnly(Calling):
            def render(self, request: Any) -> Any:
                if request.method == b"HEAD":
                    raise UnsupportedMethod((b"GET",))
                raise BoomError

        client = self.serve(GetOnly(lambda *_: b"", []))
        client.send(HEAD)
        head, _, body = client.received.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 500 "), client.received)
        self.assertEqual(body, b"")
        self.assert_over(client, complete=True)

    def assert_not_bytes(self, client: Client, method: bytes) -> None:
        head, _, body = client.received.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 500 "), client.received)
        self.assertNotIn(b"secret", client.received)
        self.assertNotIn(b" at 0x", client.received)
        self.assertEqual(bool(body), method != b"HEAD")
        self.assert_over(client, TypeError, complete=True)

    def test_what_is_no_body(self) -> None:
        """What `render` returns and is not bytes is an error, and no client sees it."""
        for result in ("secret", None, 5, bytearray(b"secret"), [b"secret"]):
            for request in (GET, HEAD):
                self.logged, self.answered = [], []
                client = self.called(lambda _, result=result: result)
                client.send(request)
                self.assert_not_bytes(client, request[:4].strip())

    def test_what_is_no_body_by_klein(self) -> None:
        """So it is of a resource that a handler returns."""
        inner = Calling(lambda *_: "secret", [])
        client = self.klein(lambda _: inner)
        client.send(GET)
        self.assert_not_bytes(client, b"GET")

    def test_what_is_no_body_of_a_faked_head(self) -> None:
        """Twisted.web asks a resource without HEAD for a GET."""

        class GetOnly(Calling):
            def render(self, request: Any) -> Any:
                if request.method == b"HEAD":
                    raise UnsupportedMethod((b"GET",))
                return "secret"

        client = self.serve(GetOnly(lambda *_: b"", []))
        client.send(HEAD)
        self.assert_not_bytes(client, b"HEAD")

    def test_none_after_the_response(self) -> None:
        """The response is complete; a missing NOT_DONE_YET is logged."""

        def handler(request: Any) -> None:
            request.write(b"hello")
            request.finish()

        client = self.called(handler)
        client.send(GET.replace(b"Host", b"Connection: close\r\nHost"))
        self.assertTrue(client.received.startswith(b"HTTP/1.1 200 "))
        self.assertTrue(client.received.endswith(b"5\r\nhello\r\n0\r\n\r\n"))
        [failure] = self.flushLoggedErrors(TypeError)
        self.assertIn("returned None", failure.getErrorMessage())
        self.assertRegex(self.logged[0], "GET /x")

    def test_none_before_the_end(self) -> None:
        """A response that nobody will end is broken off."""
        client = self.called(lambda request: request.write(b"hello"))
        client.send(GET)
        self.assert_broken(client, b"5\r\nhello\r\n", TypeError)

    def test_error_that_cannot_be_sent(self) -> None:
        """Where even the error fails, the connection answers."""

        def handler(request: Any) -> int:
            class Broken:
                def __getattr__(self, name: str) -> Any:
                    raise BoomError

            request.responseHeaders = Broken()
            raise BoomError

        client = self.called(handler)
        client.send(GET)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 500 "), client.received)
        self.assertEqual(len(self.flushLoggedErrors(BoomError)), 2)
        self.assertFalse(client.connection.active)
