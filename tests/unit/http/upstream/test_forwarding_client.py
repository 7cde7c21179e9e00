"""Requests that are forwarded by way of treq: nothing of them is changed."""

import gzip
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.web.http_headers import Headers

from clusterapp.errors import CoreBrokenError, CoreUnreachableError
from clusterapp.http.syntax.message_head import RequestHead
from clusterapp.http.upstream.forwarded_headers import NO_HEADERS, ForwardedHeaders
from clusterapp.http.upstream.forwarding_client import ForwardingClient, received
from tests.unit.http.upstream.core_wire import (
    CHUNKED,
    GET,
    OK,
    POST,
    AgentTestCase,
    Body,
    Collector,
)

#: Fields out of order, repeated, in odd case, and such that treq would add or merge.
FIELDS = (
    (b"x-B", b"1"),
    (b"Host", b"shop:80"),
    (b"X-a", b"  spaced\tout  "),
    (b"X-B", b"\xe9\xff"),
    (b"accept-encoding", b"br"),
    (b"x-b", b"1"),
    (b"Empty", b""),
)


class ForwardingTests(AgentTestCase):
    """What goes to the core, and what comes back."""

    def setUp(self) -> None:
        super().setUp()
        self.client = ForwardingClient(self.agent, self.clock)

    def forward(self, head: RequestHead = GET, body: Body | None = None) -> Any:
        """Forward a request."""
        return self.client.send(head, body, self.interims.append)

    def received(self, sent: Deferred[Any]) -> Any:
        """Return the response as the agent has received it."""
        return received(self.successResultOf(sent))

    def test_byte_for_byte(self) -> None:
        """Target and fields are those that the agent sends when it is asked itself."""
        for target in (
            b"/",
            b"*",
            b"/a%2Fb%2fb?",
            b"//x/../y/./",
            b"/?a=1&a=1&&=#",
            b"/\xc3\xa9\xff?\xff",
            b"http://other:81/x",
            b"/%zz[]{}|\\^",
        ):
            for method in (b"GET", b"DELETE", b"M-SEARCH"):
                head = RequestHead(method, target, FIELDS)
                self.send(head)
                sent = self.wire.sent()
                self.forward(head).addErrback(lambda _: None)
                self.assertEqual(self.wire.sent(), sent)
                self.assertTrue(sent.startswith(method + b" " + target + b" HTTP/1.1"))
                self.assertEqual(sent.count(b"\r\n"), len(FIELDS) + 2)

    def test_cookies(self) -> None:
        """None is kept for another client's request, none is added."""
        for _ in range(2):
            sent = self.forward()
            self.assertNotIn(b"ookie", self.wire.sent())
            self.wire.answer(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\n")
            self.wire.answer(b"Content-Length: 0\r\n\r\n")
            response = self.successResultOf(sent)
            self.assertEqual(list(response.cookies()), [])
            fields = received(response).head.fields
            self.assertIn((b"Set-Cookie", b"a=b"), list(fields))

    def test_redirect(self) -> None:
        """It is the client that is sent elsewhere."""
        sent = self.forward()
        self.wire.sent()
        self.wire.answer(
            b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n"
        )
        self.assertEqual(self.received(sent).code, 302)
        self.assertEqual(self.wire.sent(), b"")

    def test_coding(self) -> None:
        """A coded body stays so, and its fields as they are."""
        packed = gzip.compress(b"hello" * 100)
        sent = self.forward()
        self.wire.answer(
            b"HTTP/1.1 200 OK\r\ncontent-Encoding: gzip\r\nx: 1\r\nX: 2\r\n"
        )
        self.wire.answer(b"Content-Length: %d\r\n\r\n%b" % (len(packed), packed))
        response = self.received(sent)
        self.assertEqual(
            list(response.head.fields)[:3],
            [(b"content-Encoding", b"gzip"), (b"x", b"1"), (b"X", b"2")],
        )
        self.assertTrue(response.whole)
        self.assertEqual(response.take_body(), packed)

    def test_not_kept(self) -> None:
        """A body is delivered piece by piece, with backpressure, and its trailers."""
        sent = self.forward()
        self.wire.answer(CHUNKED)
        self.assertTrue(self.wire.paused)
        response, body = self.received(sent), Collector()
        response.deliverBody(body)
        self.assertFalse(self.wire.paused)
        self.wire.answer(b"1\r\na\r\n")
        self.assertEqual(body.body, b"a")
        self.wire.answer(b"0\r\nT: 1\r\n\r\n")
        self.assertEqual(list(response.trailers), [(b"T", b"1")])

    def test_both_directions(self) -> None:
        """The response comes while the body still goes."""
        upload = Body()
        sent = self.forward(POST, upload)
        self.wire.sent()
        upload.write(b"a")
        self.wire.answer(CHUNKED + b"1\r\nx\r\n")
        response, body = self.received(sent), Collector()
        response.deliverBody(body)
        upload.write(b"b")
        self.assertEqual(self.wire.sent(), b"1\r\na\r\n1\r\nb\r\n")
        self.wire.answer(b"0\r\n\r\n")
        self.assertEqual(body.body, b"x")

    def test_interim(self) -> None:
        """1xx responses come before the response."""
        sent = self.forward()
        self.wire.answer(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n")
        self.assertEqual([head.status for head in self.interims], [103])
        self.assertNoResult(sent)
        self.wire.answer(OK)
        self.assertEqual(self.received(sent).code, 200)

    def test_cancelled(self) -> None:
        """Cancelling closes the connection."""
        sent = self.forward()
        sent.cancel()
        self.failureResultOf(sent, CancelledError)
        self.assertTrue(self.wire.aborted)

    def test_failures(self) -> None:
        """Failures are the agent's own."""
        sent = self.forward()
        self.wire.break_off()
        self.failureResultOf(sent, CoreBrokenError)
        self.core.refuse = True
        self.failureResultOf(self.forward(), CoreUnreachableError)
        self.failureResultOf(self.forward(RequestHead(b"GET", b"/ /")), ValueError)


class HeadersTests(AgentTestCase):
    """The fields of forwarded messages, for ordinary clients."""

    def test_request(self) -> None:
        """They can be read, by any agent, and not changed."""
        headers = ForwardedHeaders(RequestHead(b"GET", b"/", FIELDS))
        headers.addRawHeader(b"X", b"1")
        headers.setRawHeaders(b"Host", [b"1"])
        headers.removeHeader(b"Host")
        copied = headers.copy()
        copied.addRawHeader(b"X", b"1")
        self.assertIsInstance(copied, Headers)
        lines = [
            (name, value)
            for name, values in copied.getAllRawHeaders()
            for value in values
        ]
        self.assertEqual(lines, list(FIELDS))
        self.assertEqual(copied.getRawHeaders(b"X-b"), [b"1", b"\xe9\xff", b"1"])
        self.assertEqual(copied.getRawHeaders("host"), ["shop:80"])
        self.assertIsNone(copied.getRawHeaders(b"no"))
        self.assertTrue(copied.hasHeader(b"Cookie"))
        self.assertIn("'/'", repr(copied))

    def test_response(self) -> None:
        """They stay empty, for all responses."""
        NO_HEADERS.addRawHeader(b"X", b"1")
        NO_HEADERS.setRawHeaders(b"Content-Encoding", [b"1"])
        self.assertEqual(list(NO_HEADERS.getAllRawHeaders()), [])
