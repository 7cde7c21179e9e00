"""
Responses that fail, or are not valid: none ends as if it were whole, none vanishes.

If nothing was sent, the client gets a 500. Otherwise the connection is broken off:
without the last chunk, and with nothing added. Either way the failure is logged once,
with the request; the request is over, and what the application still does is dropped.
"""

from collections.abc import Iterator
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.error import FlattenerError
from twisted.web.resource import Resource
from twisted.web.template import Element, TagLoader, renderer, tags
from werkzeug.exceptions import NotFound

from clusterapp.http.klein.klein_resource import klein_resource
from tests.unit.http.application.failing_responses import GET, BoomError, FailureCase


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
        """Its error page is not sent after the beginning of a response."""

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
