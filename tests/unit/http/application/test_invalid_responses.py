"""Responses that are not valid: of another length than announced, or malformed."""

from typing import Any

from twisted.web.server import NOT_DONE_YET

from clusterapp.http.syntax.response_framing import InvalidResponseError
from tests.unit.http.application.failing_responses import GET, FailureCase
from tests.unit.http.clients import Client


class LengthTests(FailureCase):
    """Bodies that are not as long as their Content-Length (RFC 9112, section 6.3)."""

    def sized(self, length: int, *pieces: bytes) -> Client:
        """Write a body in pieces."""

        def handler(request: Any) -> int:
            request.setHeader(b"content-length", b"%d" % length)
            for piece in pieces:
                request.write(piece)
            request.finish()
            return NOT_DONE_YET

        client = self.called(handler)
        client.send(GET)
        return client

    def test_returned_at_once(self) -> None:
        """By a Klein's handler, longer or shorter: nothing was sent, so it is a 500."""
        for length in (4, 40):

            def handler(request: Any, length: int = length) -> bytes:
                request.setHeader(b"content-length", b"%d" % length)
                return b"four and more"

            client = self.klein(handler)
            client.send(GET)
            self.assert_refused(client, InvalidResponseError)
            self.logged.clear()
            self.answered.clear()

    def test_handler_is_named(self) -> None:
        """It has returned, so the traceback does not show it."""

        def handler(request: Any) -> bytes:
            request.setHeader(b"content-length", b"4")
            return b"four and more"

        client = self.klein(handler)
        client.send(GET)
        [failure] = self.flushLoggedErrors(InvalidResponseError)
        self.assertRegex(
            failure.value.__notes__[0],
            rf"^The handler is .*\.handler in {__file__}, line \d+\.$",
        )

    def test_nothing_at_all(self) -> None:
        self.assert_refused(self.sized(4), InvalidResponseError)

    def test_longer_at_first(self) -> None:
        self.assert_refused(self.sized(4, b"four and more"), InvalidResponseError)

    def test_longer_in_the_end(self) -> None:
        """What is too much is never sent."""
        client = self.sized(6, b"four", b" and more", b"!")
        self.assert_broken(client, b"four", InvalidResponseError)

    def test_shorter(self) -> None:
        self.assert_broken(self.sized(6, b"four"), b"four", InvalidResponseError)

    def test_rendered(self) -> None:
        """A resource's body that is returned has its own length, as in twisted.web."""

        def handler(request: Any) -> bytes:
            request.setHeader(b"content-length", b"4")
            return b"four and more"

        client = self.called(handler)
        client.send(GET)
        self.assertIn(b"Content-Length: 13\r\n", client.received)
        self.assertTrue(client.received.endswith(b"\r\n\r\nfour and more"))

    def test_stop_does_not_wait(self) -> None:
        """Neither for one that is too long nor for one that is too short."""
        for pieces in ((b"four and more",), (b"fo",), (b"fo", b"ur and more")):
            client = self.sized(4, *pieces)
            drained = client.site.drain()
            self.clock.advance(10)
            client.goes()
            self.successResultOf(drained)
            self.flushLoggedErrors(InvalidResponseError)


class ValidityTests(FailureCase):
    """What must not be sent as an application has made it."""

    def status(self, code: Any, raw: bytes = GET) -> bytes:
        def handler(request: Any) -> bytes:
            request.code = code
            return b"body"

        client = self.called(handler)
        client.send(raw)
        return client.received

    def test_statuses(self) -> None:
        """Three digits, and no interim one, however they were set."""
        for code in (0, 1, 99, 100, 101, 103, 199, 1000, -1, "200", None, 200.5):
            self.assertTrue(
                self.status(code).startswith(b"HTTP/1.1 500 "), self.status(code)
            )
            for failure in self.flushLoggedErrors(InvalidResponseError):
                self.assertIn(repr(code), str(failure.value))
            self.assertIn("GET /x", self.logged[0])

        for code in (200, 299, 451, 600, 799, 999):
            self.assertIn(b"HTTP/1.1 %d " % code, self.status(code))

    def test_set_by_its_method(self) -> None:
        """The handler that sets it has the error, with the line where it did."""
        for code in (0, 99, 1000, "200", None):

            def handler(request: Any, code: Any = code) -> bytes:
                request.setResponseCode(code)
                return b"body"

            client = self.klein(handler)
            client.send(GET)
            self.assert_refused(client, InvalidResponseError, TypeError)
            self.assertIn("(route /", self.logged[0])
            self.logged.clear()
            self.answered.clear()

    def test_without_content(self) -> None:
        """A 204, 205 or 304 has none (RFC 9110, 6.4.1), and a 205 says so (15.3.6)."""

        def at_once(request: Any) -> bytes:
            request.setResponseCode(int(request.args[b"code"][0]))
            return b"content"

        def in_pieces(request: Any) -> int:
            request.setResponseCode(int(request.args[b"code"][0]))
            request.write(b"con")
            request.write(b"tent")
            request.finish()
            return NOT_DONE_YET

        def measured(request: Any) -> int:
            request.setHeader(b"content-length", b"7")
            return in_pieces(request)

        for handler in (at_once, in_pieces, measured):
            for method in (b"GET", b"HEAD"):
                for code in (204, 205, 304):
                    client = self.called(handler)
                    client.send(
                        b"%b /x?code=%d HTTP/1.1\r\nHost: h\r\n\r\n" % (method, code)
                    )
                    head, _, body = client.received.partition(b"\r\n\r\n")
                    self.assertEqual(body, b"")
                    self.assertNotIn(b"chunked", head)
                    lengths = head.count(b"Content-Length: 0")
                    self.assertEqual(lengths, code == 205, head)
                    self.assertEqual(client.transport.ended, "")

    def test_reason_phrases(self) -> None:
        """A line of its own is no reason, nor is what is no bytes."""
        for reason in (b"O\r\nX: y", b"O\nK", b"O\0K", "OK", "\u2192"):

            def handler(request: Any, reason: Any = reason) -> bytes:
                request.setResponseCode(200, reason)
                return b"body"

            client = self.klein(handler)
            client.send(GET)
            self.assert_refused(client, ValueError, TypeError)
            self.logged.clear()
            self.answered.clear()

    def test_later(self) -> None:
        """A timer that writes gets no exception: the client gets its error."""

        def handler(request: Any) -> int:
            def write() -> None:
                request.code = 99
                request.write(b"body")
                request.finish()

            self.clock.callLater(1, write)
            return NOT_DONE_YET

        client = self.called(handler)
        client.send(GET)
        self.clock.advance(1)
        self.assert_refused(client, InvalidResponseError)

    def test_date_that_is_none(self) -> None:
        """What cannot be written as a date is forgotten for the error."""

        def handler(request: Any) -> bytes:
            request.lastModified = 1e30
            request.write(b"body")
            return b""

        client = self.called(handler)
        client.send(GET)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 500 "), client.received)
        self.assertNotEqual(self.flushLoggedErrors(), [])
