"""
Answers that resources leave to twisted.web, or take their time for.

They are the same from the engine, but for these, on purpose:

- HEAD of a resource that only knows GET, and finishes that by itself, is answered.
- An empty body that an encoder makes something of has a Content-Type.
- Nothing that an encoder gives at the end is sent after a HEAD, a 204 or a 304.
"""

import zlib
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import EncodingResourceWrapper, IResource, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory
from twisted.web.template import Element, TagLoader, renderElement, renderer, tags
from zope.interface import implementer

from tests.unit.http.side_by_side import (
    Answer,
    Calling,
    Handler,
    Side,
    SideBySideTestCase,
    get,
)


class Two(Resource):
    """Renders two methods."""

    def render_GET(self, request: Any) -> bytes:
        request.setHeader("x-method", request.method)
        return b"got"

    def render_POST(self, request: Any) -> bytes:
        return b"posted"

    def getChild(self, path: bytes, request: Any) -> Resource:
        return self


@implementer(IResource)
class Only:
    """A resource that is no `Resource`, and knows one method."""

    isLeaf = True

    def __init__(self, method: bytes, handler: Handler, seen: list[Any]) -> None:
        self._method = method
        self._handler = handler
        self._seen = seen

    def render(self, request: Any) -> Any:
        if request.method != self._method:
            raise UnsupportedMethod([self._method])
        return self._handler(request, self._seen)

    def getChildWithDefault(self, name: bytes, request: Any) -> IResource:
        raise NotImplementedError

    def putChild(self, path: bytes, child: IResource) -> None:
        raise NotImplementedError


class EmptyGet(Resource):
    """Has nothing to say."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b""


class MethodTests(SideBySideTestCase):
    """Methods that a resource does not know."""

    METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND")
    HEAD = get(method="HEAD")

    def only(self, method: bytes, handler: Handler, *raws: bytes) -> list[Answer]:
        return self.answers(lambda seen: Only(method, handler, seen), *raws)

    def test_answers(self) -> None:
        """405 with what is allowed, or 501; HEAD is a GET without its body."""
        every = [get("/<x>", method=method) for method in self.METHODS]
        self.answers(lambda _: Two(), *every)
        self.answers(lambda _: EmptyGet(), *every)
        for method in (b"GET", b"POST", b"PUT"):
            self.only(method, lambda *_: b"body", *every)
            self.only(method, lambda *_: b"", *every)

    def test_allow(self) -> None:
        (answer,) = self.only(b"POST", lambda *_: b"", get())
        self.assertEqual(answer.status, b"405 Method Not Allowed")
        self.assertEqual(answer.field(b"allow"), [b"POST"])

    def test_head_has_the_length(self) -> None:
        (answer,) = self.only(b"GET", lambda *_: b"got", self.HEAD)
        self.assertEqual((answer.length, answer.body), (b"3", b""))

    def test_head_that_is_still_being_answered(self) -> None:
        """Its head goes at once, and what is written later is for nobody."""
        requests = []

        def later(request: Any, seen: list[Any]) -> int:
            request.write(b"some")
            requests.append(request)
            return NOT_DONE_YET

        self.only(b"GET", later, self.HEAD)
        for request in requests:
            request.write(b"more")
            request.finish()
        self.assertEqual(
            [warning["message"] for warning in self.flushWarnings()],
            ["Warning! request.finish called twice."] * 2,
        )

    def test_head_that_finishes_by_itself(self) -> None:
        """It is answered once, where twisted.web answers nothing."""

        def finishing(request: Any, seen: list[Any]) -> int:
            request.setHeader("x", "y")
            request.notifyFinish().addCallback(seen.append)
            request.write(b"some")
            request.finish()
            return NOT_DONE_YET

        _, ours = self.sides(lambda seen: Only(b"GET", finishing, seen))
        http_client = ours.http_client()
        answer = http_client.ask(self.HEAD)
        assert answer is not None
        self.assertEqual((answer.status, answer.body), (b"200 OK", b""))
        self.assertEqual(answer.field(b"x"), [b"y"])
        self.assertEqual(ours.seen, [None])


class EncodingTests(SideBySideTestCase):
    """`EncodingResourceWrapper`."""

    RAWS = tuple(
        get("/", *lines, method=method)
        for lines in ((), ("Accept-Encoding: gzip",), ("Accept-Encoding: br, gzip",))
        for method in ("GET", "POST")
    )

    def encoded(self, handler: Handler) -> list[Answer]:
        return self.answers(
            lambda seen: EncodingResourceWrapper(
                Calling(handler, seen), [GzipEncoderFactory()]
            ),
            *self.RAWS,
        )

    def test_at_once(self) -> None:
        answers = self.encoded(lambda *_: b"hello" * 1000)
        self.assertEqual(answers[3].field(b"content-encoding"), [b"gzip"])
        self.assertEqual(zlib.decompress(answers[3].body or b"", 47), b"hello" * 1000)

    def test_in_pieces(self) -> None:
        def handler(request: Any, seen: list[Any]) -> int:
            request.setHeader("content-length", "10")
            request.setHeader("content-encoding", "own")
            request.write(b"hello")
            request.write(b"hello")
            request.finish()
            return NOT_DONE_YET

        self.encoded(handler)

    def test_length_of_nothing(self) -> None:
        """One that was set before the encoder has spoken is not kept."""

        def handler(request: Any, seen: list[Any]) -> int:
            request.setHeader("content-length", "0")
            request.finish()
            return NOT_DONE_YET

        _, ours = self.sides(
            lambda seen: EncodingResourceWrapper(
                Calling(handler, seen), [GzipEncoderFactory()]
            )
        )
        answer = ours.http_client().ask(self.RAWS[2])
        assert answer is not None
        self.assertEqual(zlib.decompress(answer.body or b"", 47), b"")
        self.assertEqual(answer.field(b"content-type"), [b"text/html"])

    def test_without_a_body(self) -> None:
        """Nothing of the encoder's follows what has no body."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            request.setResponseCode(int(request.path[1:]))
            return b"hello"

        _, ours = self.sides(
            lambda seen: EncodingResourceWrapper(
                Calling(handler, seen), [GzipEncoderFactory()]
            )
        )
        gzip = "Accept-Encoding: gzip"
        for raw in (
            get("/304", gzip),
            get("/204", gzip),
            get("/200", gzip, method="HEAD"),
        ):
            http_client = ours.http_client()
            http_client.ask(raw)
            self.assertTrue(http_client.transport.value().endswith(b"\r\n\r\n"))


class Page(Element):
    """A template with a part that takes its time."""

    loader = TagLoader(tags.html(tags.p(render="late"), tags.b("<&>")))

    def __init__(self, waiting: Deferred[str]) -> None:
        super().__init__()
        self._waiting = waiting

    @renderer
    def late(self, _: Any, tag: Any) -> Any:
        return self._waiting.addCallback(tag)


class LateTests(SideBySideTestCase):
    """What is answered later."""

    def test_template(self) -> None:
        """A page goes out as far as it is known, and then the rest."""

        def scenario(side: Side) -> Any:
            http_client = side.http_client()
            first = http_client.ask(get())
            side.seen.pop().callback("now")
            return first and first._replace(body=None), http_client.answer()

        def handler(request: Any, seen: list[Any]) -> Any:
            seen.append(Deferred())
            return renderElement(request, Page(seen[-1]))

        _, answer = self.alike(lambda seen: Calling(handler, seen), scenario)
        self.assertIn(b"<p>now</p><b>&lt;&amp;&gt;</b>", answer.body)

    def test_in_their_order(self) -> None:
        """Requests that come together are answered one after the other."""

        def scenario(side: Side) -> Any:
            http_client = side.http_client()
            http_client.ask(get("/1") + get("/2"))
            paths = []
            for _ in range(2):
                request = side.seen.pop()
                paths.append(request.path)
                request.write(request.path)
                request.finish()
            return paths, len(side.seen)

        def handler(request: Any, seen: list[Any]) -> int:
            seen.append(request)
            return NOT_DONE_YET

        self.assertEqual(
            self.alike(lambda seen: Calling(handler, seen), scenario),
            ([b"/1", b"/2"], 0),
        )
