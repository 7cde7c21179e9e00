"""
Responses that fail, or are not valid: none ends as if it were whole, none vanishes.

If nothing was sent, the client gets a 500. Otherwise the connection is broken off:
without the last chunk, and with nothing added. Either way the failure is logged once,
with the request; the request is over, and what the application still does is dropped.
"""

from collections.abc import Callable, Iterator
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.error import FlattenerError, UnsupportedMethod
from twisted.web.resource import EncodingResourceWrapper, IResource, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory
from twisted.web.template import Element, TagLoader, renderer, tags
from werkzeug.exceptions import NotFound

from clusterapp.http.access_log.access_record import AccessRecord
from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.response_framing import InvalidResponseError
from tests.unit.clients import Client
from tests.unit.side_by_side import Calling

GET = b"GET /x?secret HTTP/1.1\r\nHost: h\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
OLD = b"GET /x HTTP/1.0\r\n\r\n"


class BoomError(Exception):
    """What an application raises."""


class FailureCase(SynchronousTestCase):
    """A site, its client, its log and its access log."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.answered: list[AccessRecord] = []
        self.logged: list[str] = []
        observer: Any = self._observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event: Any) -> None:
        if "log_failure" in event and event["log_format"]:
            self.logged.append(event["log_format"].format(**event))

    def record(self, answered: AccessRecord) -> None:
        self.answered.append(answered)

    def serve(self, resource: IResource) -> Client:
        site = ClusterSite(self.clock, resource, recorder=self)
        client = Client(site, self.clock)
        self.addCleanup(client.goes)
        return client

    def klein(self, handler: Callable[..., Any], *errors: Any) -> Client:
        app = Klein()
        app.route("/x", endpoint="shop")(handler)
        for kind, error_handler in errors:
            app.handle_errors(kind)(error_handler)
        return self.serve(klein_resource(app))

    def called(self, handler: Callable[..., Any]) -> Client:
        return self.serve(Calling(lambda request, _: handler(request), []))

    def assert_broken(self, client: Client, body: bytes, *kinds: Any) -> None:
        """The client has the head, so much of a body, and no end."""
        self.assertEqual(client.transport.ended, "reset", client.received)
        head, _, sent = client.received.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 200"), head)
        self.assertEqual(sent, body)
        self.assert_over(client, *kinds, complete=False)

    def assert_refused(self, client: Client, *kinds: Any) -> None:
        """The client has a 500, whole, and nothing of what failed."""
        head, _, body = client.received.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 500 "), client.received)
        self.assertEqual(head.lower().count(b"content-length:"), 1)
        self.assertEqual(head.count(b"HTTP/1.1"), 1)
        self.assertIn(b"Content-Length: %d" % len(body), head)
        self.assert_over(client, *kinds, complete=True)

    def assert_over(self, client: Client, *kinds: Any, complete: bool) -> None:
        """The failure is logged once, and the access log tells of the request."""
        failures = self.flushLoggedErrors(*(kinds or (BoomError,)))
        self.assertEqual(len(failures), 1, failures)
        self.assertEqual(len(self.logged), 1, self.logged)
        self.assertRegex(self.logged[0], r" in (GET|HEAD) /x")
        self.assertNotIn("secret", self.logged[0])
        self.assertEqual([each.complete for each in self.answered], [complete])
        self.assertFalse(client.connection.active)
        self.clock.advance(1)
        self.assertEqual(self.flushLoggedErrors(), [])


class Page(Element):
    """An element whose second half fails, at once or after a while."""

    loader = TagLoader(tags.p("first", tags.i(render="rest")))

    def __init__(self, waited: Deferred[Any] | None = None) -> None:
        super().__init__()
        self._waited = waited

    @renderer
    def rest(self, request: Any, tag: Any) -> Any:
        if self._waited is None:
            raise BoomError
        return self._waited


class KleinTests(FailureCase):
    """Handlers of a Klein that fail after their first piece."""

    CHUNK = b"6\r\npiece;\r\n"

    def test_raised(self) -> None:
        """At once, by a coroutine, by a generator's exception, by a Deferred."""

        def raises(request: Any) -> None:
            request.write(b"piece;")
            raise BoomError

        async def coroutine(request: Any) -> None:
            raises(request)

        def by_generator(request: Any) -> str:
            def pieces() -> Iterator[bytes]:
                yield b"piece;"
                raise BoomError

            for piece in pieces():
                request.write(piece)
            return "never"

        def deferred(request: Any) -> Deferred[Any]:
            request.write(b"piece;")
            waited: Deferred[Any] = Deferred()
            self.clock.callLater(0.1, waited.errback, BoomError())
            return waited

        for handler in (raises, coroutine, by_generator, deferred):
            client = self.klein(handler)
            client.send(GET)
            self.clock.advance(0.2)
            self.assertIn("(route /", self.logged[0])
            self.assert_broken(client, self.CHUNK)
            self.logged.clear()
            self.answered.clear()

    def test_below_another_resource(self) -> None:
        """Where Klein's own means find the handler, it fails as anywhere else."""

        def handler(request: Any) -> None:
            request.write(b"piece;")
            raise BoomError

        app = Klein()
        app.route("/", endpoint="shop")(handler)
        root = Resource()
        root.putChild(b"x", klein_resource(app))
        client = self.serve(root)
        client.send(GET.replace(b"/x", b"/x/"))
        self.assert_broken(client, self.CHUNK)

    def test_http_exception(self) -> None:
        """It has a page, which is not for who has the beginning of another."""

        def handler(request: Any) -> None:
            request.write(b"piece;")
            raise NotFound

        client = self.klein(handler)
        client.send(GET)
        self.assert_broken(client, self.CHUNK, NotFound)

    def test_error_handler(self) -> None:
        """Its page would be a part of the body; it is not asked."""
        asked: list[Any] = []

        def handler(request: Any) -> None:
            request.write(b"piece;")
            raise BoomError

        def sorry(request: Any, failure: Failure) -> str:
            asked.append(failure)
            return "sorry"

        client = self.klein(handler, (BoomError, sorry))
        client.send(GET)
        self.assertEqual(asked, [])
        self.assert_broken(client, self.CHUNK)

    def test_error_handler_that_fails(self) -> None:
        """After its own first piece."""

        def sorry(request: Any, failure: Failure) -> None:
            request.write(b"piece;")
            raise BoomError("too")

        def handler(request: Any) -> None:
            raise LookupError

        client = self.klein(handler, (LookupError, sorry), (BoomError, lambda *_: "x"))
        client.send(GET)
        self.assert_broken(client, self.CHUNK)

    def test_body_that_cannot_be_encoded(self) -> None:
        def handler(request: Any) -> str:
            request.write(b"piece;")
            return "\ud800"

        client = self.klein(handler)
        client.send(GET)
        self.assert_broken(client, self.CHUNK, UnicodeEncodeError)

    def test_element(self) -> None:
        """One that fails at once is a 500, since nothing was sent."""
        client = self.klein(lambda _: Page())
        client.send(GET)
        self.assert_refused(client, FlattenerError)

    def test_element_that_fails_later(self) -> None:
        """Nothing is added to half a page, neither an apology nor an end."""
        waited: Deferred[Any] = Deferred()
        client = self.klein(lambda _: Page(waited))
        client.send(GET)
        self.assertIn(b"first", client.received)
        before = client.received
        waited.errback(BoomError())
        self.assertEqual(client.received, before)
        self.assert_broken(client, before.partition(b"\r\n\r\n")[2], FlattenerError)

    def test_element_whose_client_leaves(self) -> None:
        """It is cancelled, and that is no error."""
        cancelled: list[Any] = []
        waited: Deferred[Any] = Deferred(cancelled.append)
        client = self.klein(lambda _: Page(waited))
        client.send(GET)
        client.goes()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_what_it_still_does(self) -> None:
        """It is dropped, without a further error."""
        kept: list[Any] = []

        def handler(request: Any) -> None:
            kept.append(request)
            request.notifyFinish().addErrback(lambda why: kept.append(why.type))
            request.write(b"piece;")
            raise BoomError

        client = self.klein(handler)
        client.send(GET)
        request = kept[0]
        self.assertEqual(len(kept), 2)  # it has been told
        received = client.received
        request.write(b"more")
        request.setHeader(b"x", b"y")
        request.finish()
        request.finish()
        request.unregisterProducer()
        self.assertEqual(client.received, received)
        self.assertEqual(self.flushWarnings(), [])
        self.assert_broken(client, self.CHUNK)


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
        """The response is whole; who forgot to return NOT_DONE_YET hears of it."""

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
