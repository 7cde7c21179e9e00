"""WSGI applications that break PEP 3333, or fail: the client always hears of it."""

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.site import ClusterSite
from clusterapp.web.wsgi.wsgi_resource import WSGIRoot
from tests.unit.http.clients import Client

_OK = [("Content-Type", "text/plain")]


class Threads:
    """Runs what is for a thread, or for the reactor, at once."""

    def getThreadPool(self) -> "Threads":
        return self

    def callInThread(self, call: Callable[..., Any], *args: Any) -> None:
        call(*args)

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:
        call(*args)


class Body:
    """An iterable that may fail, and knows whether it was closed."""

    def __init__(self, *pieces: Any, close: Exception | None = None) -> None:
        self._pieces = pieces
        self._error = close
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def close(self) -> None:
        self.closed += 1
        if self._error is not None:
            raise self._error


class WsgiTests(SynchronousTestCase):
    """What becomes of a request."""

    def ask(self, application: Callable[..., Any]) -> Client:
        clock = Clock()
        threads: Any = Threads()
        resource: Any = WSGIRoot(threads, application)
        client = Client(ClusterSite(clock, resource), clock)
        self.addCleanup(client.goes)
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertFalse(client.connection.active)
        return client

    def serve(
        self, body: Any, status: Any = "200 OK", headers: Any = _OK, **more: Any
    ) -> Client:
        def application(_: Any, start: Any) -> Any:
            start(status, headers, **more)
            return body

        return self.ask(application)

    def assert_refused(self, client: Client) -> None:
        self.assertTrue(client.received.startswith(b"HTTP/1.1 500 "), client.received)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_whole(self) -> None:
        """The iterable is closed once."""
        body = Body(b"a", b"", b"b")
        client = self.serve(body)
        self.assertTrue(client.received.endswith(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"))
        self.assertEqual(body.closed, 1)

    def test_fails_after_a_piece(self) -> None:
        """The response is broken off, and the iterable closed."""
        body = Body(b"a", ValueError("gone"))
        client = self.serve(body)
        self.assertEqual(client.transport.ended, "reset")
        self.assertTrue(client.received.endswith(b"\r\n\r\n1\r\na\r\n"))
        self.assertEqual(body.closed, 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_fails_before_a_piece(self) -> None:
        body = Body(ValueError("gone"))
        self.assert_refused(self.serve(body))
        self.assertEqual(body.closed, 1)

    def test_piece_that_is_no_bytes(self) -> None:
        for piece in ("text", "", None, 3):
            body = Body(piece)
            self.assert_refused(self.serve(body))
            self.assertEqual(body.closed, 1)

    def test_no_iterable(self) -> None:
        self.assert_refused(self.serve(None))

    def test_heads_that_are_not_valid(self) -> None:
        """Whatever is wrong with status and fields, nothing of it is sent."""
        for status, headers in (
            ("OK", _OK),
            ("20 OK", _OK),
            ("2000 OK", _OK),
            ("99 Low", _OK),
            ("100 Continue", _OK),
            ("\u0662\u0660\u0660 OK", _OK),
            ("200 O\r\nK: x", _OK),
            ("200 \u2192", _OK),
            (200, _OK),
            ("200 OK", [("X-Name", "\u2192")]),
            ("200 OK", [("X-\u2192", "x")]),
            ("200 OK", [("X Name", "x")]),
            ("200 OK", [("X", "a\r\nInjected: 1")]),
            ("200 OK", [("X", "a\0")]),
            ("200 OK", [("Content-Length", "many")]),
            ("200 OK", [(b"X", b"x")]),
            ("200 OK", None),
        ):
            body = Body(b"body")
            client = self.serve(body, status, headers)
            self.assertNotIn(b"njected", client.received)
            self.assert_refused(client)

    def test_status_without_a_reason(self) -> None:
        for status in ("200", "200 "):
            client = self.serve([b"x"], status)
            self.assertTrue(client.received.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertIn(b"799 Unknown Status\r\n", self.serve([b"x"], "799").received)

    def test_start_response_not_called(self) -> None:
        for body in ([], [b"x"]):
            self.assert_refused(self.ask(lambda *_, body=body: body))

    def test_raised(self) -> None:
        def application(*_: Any) -> Any:
            raise SystemExit(3)

        client = self.ask(application)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 500 "), client.received)
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)

    def test_wrong_lengths(self) -> None:
        """Longer at first is a 500; shorter, and longer later, are broken off."""
        for length, pieces, refused in (
            ("1", [b"ab"], True),
            ("3", [b"ab"], False),
            ("3", [b"ab", b"cd"], False),
            ("3", [], True),
        ):
            client = self.serve(pieces, headers=[("Content-Length", length)])
            begins = b"HTTP/1.1 500 " if refused else b"HTTP/1.1 200 "
            self.assertTrue(client.received.startswith(begins), (length, pieces))
            self.assertEqual(client.transport.ended, "" if refused else "reset")
            self.assertNotIn(b"cd", client.received)
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_close_fails(self) -> None:
        """It is logged, and the answer does not look like a whole one."""
        client = self.serve(Body(b"a", close=ValueError("gone")))
        self.assertEqual(client.transport.ended, "reset")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
