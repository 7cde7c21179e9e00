"""The agent's ordinary face: what treq and other users of IAgent see."""

import gzip
from io import BytesIO
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.task import Cooperator
from twisted.web.client import FileBodyProducer
from twisted.web.http_headers import Headers

from clusterapp.errors import CoreBrokenError
from tests.unit.http.upstream.core_wire import CHUNKED, OK, AgentTestCase

JSON = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b'Content-Length: 7\r\n\r\n{"a":1}'
)


class RequestTests(AgentTestCase):
    """What `request` makes of a URI and Headers."""

    def asked(
        self,
        method: bytes = b"GET",
        uri: bytes = b"http://core/",
        headers: Headers | None = None,
    ) -> bytes:
        """Ask, and see what was written."""
        answer = self.agent.request(method, uri, headers)
        wire = self.wire.sent()
        self.wire.answer(OK)
        self.response = self.successResultOf(answer)
        return wire

    def test_target_is_what_follows_the_authority(self) -> None:
        """Path and query byte for byte, no fragment, a slash where there is none."""
        for uri, target, host in (
            (b"http://core", b"/", b"core"),
            (b"http://core?a=1", b"/?a=1", b"core"),
            (b"HTTP://core:8/a%2Fb//c;d?x=%zz&?", b"/a%2Fb//c;d?x=%zz&?", b"core:8"),
            (b"https://user:secret@[::1]:8/a@b#part", b"/a@b", b"[::1]:8"),
        ):
            self.assertEqual(
                self.asked(uri=uri),
                b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n",
            )
            self.assertEqual(self.response.request.absoluteURI, uri)
            self.assertEqual(self.response.request.method, b"GET")

    def test_headers(self) -> None:
        """All values go out; a Host that is there stays."""
        headers = Headers({b"Host": [b"shop"], b"X": [b"1", b"2"]})
        self.assertEqual(
            self.asked(headers=headers),
            b"GET / HTTP/1.1\r\nHost: shop\r\nX: 1\r\nX: 2\r\n\r\n",
        )
        request = self.response.request
        self.assertEqual(request.headers, headers)

    def test_no_content(self) -> None:
        """Where a body is usual, its absence is said."""
        for method in (b"POST", b"PUT", b"PATCH"):
            self.assertIn(b"\r\nContent-Length: 0\r\n", self.asked(method))
        for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS"):
            self.assertNotIn(b"Length", self.asked(method))

    def test_not_absolute(self) -> None:
        """A path alone is refused, as a failure."""
        for uri in (b"/path", b"core/path", b""):
            self.failureResultOf(self.agent.request(b"GET", uri), ValueError)

    def test_previous_response(self) -> None:
        """A redirection can be noted."""
        self.asked()
        first = self.response
        self.asked()
        self.response.setPreviousResponse(first)
        self.assertIs(self.response.previousResponse, first)


class TreqTests(AgentTestCase):
    """The agent under treq."""

    def setUp(self) -> None:
        super().setUp()
        cooperator = Cooperator(scheduler=lambda step: self.clock.callLater(0, step))
        self.client = HTTPClient(
            self.agent,
            data_to_body_producer=lambda data: FileBodyProducer(
                BytesIO(data), cooperator
            ),
        )

    def asked(self, method: str, **options: Any) -> Deferred[Any]:
        """Ask through treq, on the test's clock."""
        options["reactor"] = self.clock
        asked: Deferred[Any] = self.client.request(method, "http://core/x", **options)
        return asked

    def test_json(self) -> None:
        """A JSON answer is read."""
        asked = self.asked("GET")
        self.wire.answer(JSON)
        response = self.successResultOf(asked)
        self.assertEqual(self.successResultOf(response.json()), {"a": 1})
        self.assertEqual(response.request.absoluteURI, b"http://core/x")

    def test_content_in_pieces(self) -> None:
        """Content is gathered, buffered or not."""
        for unbuffered in (False, True):
            asked = self.asked("GET", unbuffered=unbuffered)
            self.wire.answer(CHUNKED)
            content = self.successResultOf(asked).content()
            self.wire.answer(b"2\r\nab\r\n")
            self.wire.answer(b"1\r\nc\r\n0\r\n\r\n")
            self.assertEqual(self.successResultOf(content), b"abc")

    def test_cut_off(self) -> None:
        """Content that stops short is an error."""
        asked = self.asked("GET")
        self.wire.answer(OK[:-1])
        content = self.successResultOf(asked).content()
        self.wire.finish()
        self.failureResultOf(content, CoreBrokenError)

    def test_gzip(self) -> None:
        """A user of treq may unpack what the core packed."""
        packed = gzip.compress(b"hello" * 100)
        asked = self.asked("GET")
        self.assertIn(b"ccept-Encoding: gzip\r\n", self.wire.sent())
        self.wire.answer(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(packed), packed)
        )
        content = self.successResultOf(asked).content()
        self.assertEqual(self.successResultOf(content), b"hello" * 100)

    def test_post(self) -> None:
        """Data goes out with its length."""
        asked = self.asked("POST", json={"a": 1})
        self.clock.pump([0, 0, 0])
        head, _, body = self.wire.sent().partition(b"\r\n\r\n")
        self.assertIn(b"\r\nContent-Length: 7", head)
        self.assertEqual(body, b'{"a":1}')
        self.wire.answer(OK)
        self.assertEqual(self.successResultOf(asked).code, 200)
        self.assertFalse(self.wire.aborted)

    def test_head(self) -> None:
        """HEAD has the fields and no content."""
        asked = self.asked("HEAD")
        self.wire.answer(OK[:-2])
        response = self.successResultOf(asked)
        self.assertEqual(response.headers.getRawHeaders(b"content-length"), [b"2"])
        self.assertEqual(self.successResultOf(response.content()), b"")

    def test_redirect(self) -> None:
        """A redirection is followed, on the same connection."""
        asked = self.asked("GET")
        self.wire.answer(
            b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n"
        )
        _, _, second = self.wire.sent().partition(b"\r\n\r\n")
        self.assertTrue(second.startswith(b"GET /y "))
        self.wire.answer(OK)
        response = self.successResultOf(asked)
        self.assertEqual([past.code for past in response.history()], [302])
        self.assertEqual(len(self.core.wires), 1)

    def test_timeout(self) -> None:
        """The timeout of treq timeout cancels the request."""
        asked = self.asked("GET", timeout=5)
        self.clock.advance(5)
        self.failureResultOf(asked)
        self.assertTrue(self.wire.aborted)
