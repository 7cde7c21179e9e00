"""What Klein's dispatch in clusterapp does otherwise than Klein, and who gets it."""

import gc
import weakref
from typing import Any

from klein import Klein, Response
from klein.interfaces import IKleinRequest
from klein.resource import KleinResource
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.test.requesthelper import DummyChannel

from clusterapp.http.klein.klein_resource import KleinRoutes, klein_resource
from clusterapp.http.klein.klein_routes import STREAMED
from tests.unit.http.klein.klein_pairs import Conversation
from tests.unit.http.klein.routable_requests import Body, PlainRoutable


class _NoDeferred(PlainRoutable):
    """A request that nobody may wait for."""

    def notifyFinish(self) -> Deferred[None]:
        raise AssertionError("somebody waits for the end of this request")


class DispatchTests(SynchronousTestCase):
    """What only clusterapp's resource does, or must not do."""

    def setUp(self) -> None:
        self.app = Klein()
        self.called = 0

    def route(self, result: Any, rule: str = "/") -> None:
        @self.app.route(rule, endpoint=rule)
        def handler(_: Any, **_values: Any) -> Any:
            self.called += 1
            if isinstance(result, Exception):
                raise result
            return result() if callable(result) else result

    def converse(self, requests: type[Request] = PlainRoutable) -> Conversation:
        return Conversation(lambda *_: self.app, KleinRoutes, requests)

    def test_body_at_once_needs_no_deferred(self) -> None:
        """A body that is returned, or that a coroutine returns without waiting."""

        async def coroutine() -> str:
            return "here"

        for body in (b"here", "here", {"a": "here"}, ["here"], coroutine):
            self.app = Klein()
            self.route(body)
            conversation = self.converse(_NoDeferred)
            conversation.ask("GET", "/")
            self.assertIn(b"here", conversation.heard)

    def test_json(self) -> None:
        """A dict or a list is sent as JSON, whenever it comes."""
        value = {"name": "Grüße", "list": [1, None, True, 0.5]}
        body = '{"name":"Grüße","list":[1,null,true,0.5]}'.encode()
        later: Deferred[Any] = Deferred()

        async def coroutine() -> dict[str, Any]:
            return value

        async def waits() -> dict[str, Any]:
            found: dict[str, Any] = await later
            return found

        for result in (value, coroutine, waits, Response(200, {}, value)):
            self.app = Klein()
            self.route(result)
            conversation = self.converse()
            conversation.ask("GET", "/")
            if result is waits:
                later.callback(value)
            self.assertIn(b"Content-Type: application/json\r\n", conversation.heard)
            self.assertIn(body, conversation.heard)
        self.app = Klein()
        self.route([value, "x"])
        conversation = self.converse()
        conversation.ask("GET", "/")
        self.assertIn(b"[" + body + b',"x"]', conversation.heard)

    def test_json_of_a_type(self) -> None:
        """A Content-Type that the handler has set stays."""

        @self.app.route("/")
        def handler(request: Any) -> Any:
            request.setHeader("Content-Type", "application/problem+json")
            return {"status": 400}

        conversation = self.converse()
        conversation.ask("GET", "/")
        self.assertIn(b"Content-Type: application/problem+json\r", conversation.heard)
        self.assertNotIn(b"application/json", conversation.heard)

    def test_no_json(self) -> None:
        """A value that has no equivalent is an error of the handler."""
        endless: list[Any] = []
        endless.append(endless)
        errors = TypeError, ValueError, ValueError, UnicodeEncodeError
        values = {"a": object()}, [float("nan")], endless, ["\ud800"]
        for value, error in zip(values, errors, strict=True):
            self.app = Klein()
            self.route(value)
            conversation = self.converse()
            conversation.ask("GET", "/")
            self.assertIn(b" 500 ", conversation.heard)
            self.assertEqual(len(self.flushLoggedErrors(error)), 1, value)

    def test_handler_is_called_once(self) -> None:
        """Whatever it gives back."""
        for result in (b"", None, Exception("x"), KeyError("y"), Deferred, Klein):
            self.app, self.called = Klein(), 0
            self.route(result)
            self.converse().ask("GET", "/")
            self.assertEqual(self.called, 1)
            self.flushLoggedErrors()

    def test_other_requests_go_kleins_way(self) -> None:
        self.route("klein's")
        conversation = self.converse(Request)
        conversation.ask("GET", "/")
        self.assertIn(b"klein's", conversation.heard)

    def test_mapper_is_made_for_who_asks(self) -> None:
        """Before it is routed, a request has none."""
        seen: list[Any] = []

        class Asked(PlainRoutable):
            def consume(self, segments: int) -> None:
                with_none = IKleinRequest(self)
                seen.append(hasattr(with_none, "mapper"))
                super().consume(segments)

        @self.app.route("/a/<int:n>")
        def handler(request: Any, n: int) -> str:
            known = IKleinRequest(request)
            seen.extend(["mapper" in vars(known), known.mapper is known.mapper])
            return known.url_for("handler", {"n": n + 1})

        conversation = self.converse(PlainRoutable)
        conversation.ask("GET", "/a/1")
        self.assertIn(b"/a/2", conversation.heard)
        self.assertEqual(seen, [False, True])

    def test_mapper_leaves_no_cycle(self) -> None:
        """A request that was asked for it is gone without the garbage collector."""
        self.route("x", "/x")
        resource = KleinRoutes(self.app)
        request: Any = _NoDeferred(DummyChannel(), parsePOSTFormSubmission=False)
        request.method, request.clientproto = b"GET", b"HTTP/1.1"
        request.prepath, request.postpath = [], [b"x"]
        resource.render(request)
        self.assertEqual(IKleinRequest(request).mapper.path_info, "/x")
        gone = weakref.ref(request)
        gc.disable()
        self.addCleanup(gc.enable)
        del request
        self.assertIsNone(gone())

    def test_mapper_before_the_request_is_routed(self) -> None:
        """There is none, as in Klein; it is there once the request is routed."""
        early: list[Any] = []

        class Early(PlainRoutable):
            def path_text(self) -> str | None:
                early.append(IKleinRequest(self))
                early.append(hasattr(early[0], "mapper"))
                return super().path_text()

        self.route("x", "/x")
        self.converse(Early).ask("GET", "/x")
        self.assertIs(early[1], False)
        self.assertEqual(early[0].mapper.path_info, "/x")

    def test_equal_as_kleins_are(self) -> None:
        """Two resources of one application are, whatever they have compiled."""
        self.route("x", "/x")
        one, other = KleinRoutes(self.app), KleinRoutes(self.app)
        self.assertIs(one.wants_stream(Body(b"GET", "/x")), False)
        self.assertEqual(one, other)
        self.assertNotEqual(one, KleinRoutes(Klein()))

    def test_wants_stream(self) -> None:
        self.route("x", "/x")
        resource = KleinRoutes(self.app)
        self.assertIs(resource.wants_stream(Body(b"POST", "/y")), False)

        @self.app.route("/y", methods=["POST"])
        def upload(_: Any) -> None: ...

        setattr(upload, STREAMED, True)
        self.assertIs(resource.wants_stream(Body(b"POST", "/y")), True)
        self.assertIs(resource.wants_stream(Body(b"GET", "/y")), False)
        self.assertIs(resource.wants_stream(Body(b"POST", "/x")), False)


class KleinResourceTests(SynchronousTestCase):
    """The resource of an application, in place of its own."""

    def test_klein(self) -> None:
        app = Klein()
        self.assertEqual(klein_resource(app), KleinRoutes(app))

    def test_klein_in_a_class(self) -> None:
        """Its handlers are methods of the instance."""

        class Shop:
            app = Klein()

            @app.route("/")
            def root(self, request: Any) -> str:
                return f"from {type(self).__name__}"

        shop = Shop()
        conversation = Conversation(lambda *_: shop.app, klein_resource, PlainRoutable)
        conversation.ask("GET", "/")
        self.assertIn(b"from Shop", conversation.heard)

    def test_klein_with_a_resource_of_its_own(self) -> None:
        """It knows better."""

        class Own(KleinResource):
            def render(self, request: Any) -> Any:
                return NOT_DONE_YET

        class App(Klein):
            def resource(self) -> KleinResource:
                return Own(self)

        self.assertIs(type(klein_resource(App())), Own)
