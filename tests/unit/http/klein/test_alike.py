"""Klein's dispatch in clusterapp answers as Klein's own, but for what it mends."""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from klein import Klein
from klein.interfaces import IKleinRequest
from klein.resource import KleinResource
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.error import FlattenerError
from twisted.web.server import Request
from twisted.web.template import Element, TagLoader, tags
from werkzeug.exceptions import HTTPException, NotFound

from clusterapp.http.klein.klein_resource import KleinRoutes
from tests.unit.http.klein.klein_everything import PATHS, everything
from tests.unit.http.klein.klein_pairs import Conversation, Pending, pair
from tests.unit.http.klein.routable_requests import PlainRoutable

_TWICE = "Warning! request.finish called twice."
_METHODS = ("GET", "POST", "HEAD", "PUT")
_SEGMENTS = (
    *("", "item", "12", "files", "sub", "inner", "mounted", "deep", "tree", "left"),
    *("text", "both", "x", "1.5", "%2F", "%C3%B6", "..", "-1"),
)
_paths = st.lists(st.sampled_from(_SEGMENTS), max_size=5).map(
    lambda segments: "/" + "/".join(segments)
)

#: Klein's own resource finishes a request for the second time when a converter fails.
_TWICE = "Warning! request.finish called twice."


def asking(method: str, path: str) -> Callable[[Conversation], None]:
    """Send a request: a step of a conversation."""
    return lambda conversation: conversation.ask(method, path)


class SideBySideTests(SynchronousTestCase):
    """Both resources give the same answers, byte for byte."""

    def setUp(self) -> None:
        self.kleins, self.ours = pair(everything)

    def alike(self, *steps: Callable[[Conversation], object]) -> bytes:
        """Take the same steps with both, compare, and return what was heard."""
        kleins, ours = self.kleins, self.ours
        logged = []
        for conversation in (kleins, ours):
            conversation.connect()
            for step in steps:
                step(conversation)
            logged.append(
                (
                    [failure.type for failure in self.flushLoggedErrors()],
                    [
                        warning["message"]
                        for warning in self.flushWarnings()
                        if warning["message"] != _TWICE
                    ],
                )
            )
        self.assertEqual(ours.heard, kleins.heard)
        self.assertEqual(ours.pending.cancelled, kleins.pending.cancelled)
        (kleins_failures, kleins_warnings), (failures, warnings) = logged
        self.assertEqual(failures, kleins_failures)
        # Klein ends a request twice whose path a converter has failed to read.
        self.assertEqual(warnings, [w for w in kleins_warnings if w != _TWICE])
        return ours.heard

    def test_everything_that_klein_can_do(self) -> None:
        """With every method, and twice, since then the route is remembered."""
        for path in PATHS:
            for method in _METHODS:
                with self.subTest(path=path, method=method):
                    heard = self.alike(
                        asking(method, path),
                        lambda c: c.pending.fire("at last"),
                        asking(method, path),
                        lambda c: c.pending.fire("once more"),
                    )
                    self.assertEqual(heard.count(b"HTTP/1.1 "), 2)

    @settings(deadline=None, max_examples=150)
    @given(st.lists(st.tuples(st.sampled_from(_METHODS), _paths), max_size=4))
    def test_any_requests(self, requests: list[tuple[str, str]]) -> None:
        """Whatever was remembered before."""
        self.alike(*(asking(*request) for request in requests))

    def test_plain_routes_are_dispatched_here(self) -> None:
        """And not by Klein's own resource, which would be alike as well."""
        before = PlainRoutable.dispatched
        self.alike(asking("GET", "/item/3"))
        self.assertEqual(PlainRoutable.dispatched, before + 1)
        self.alike(asking("GET", "/nowhere"))
        self.assertEqual(PlainRoutable.dispatched, before + 1)

    def test_client_leaves(self) -> None:
        """What the handler waits for is cancelled, and nothing is written."""
        self.alike(asking("GET", "/later"), Conversation.leave)

    def test_client_leaves_before_an_error(self) -> None:
        """Cancelled, a handler may still raise what it likes; that is logged."""
        self.alike(asking("GET", "/later-error"), Conversation.leave)

    def test_deferred_fails(self) -> None:
        heard = self.alike(
            asking("GET", "/later-error"), lambda c: c.pending.fire(None)
        )
        self.assertIn(b"handled later", heard)

    def test_handler_cancels(self) -> None:
        """A cancelled Deferred of a client that is still there is an error 500."""
        heard = self.alike(
            asking("GET", "/later"), lambda c: c.pending.all[-1].cancel()
        )
        self.assertIn(b"500", heard)

    def alike_in(self, handler: Callable[[Any, Pending], Any], *steps: Any) -> bytes:
        """Compare one handler's answers, as `alike`."""
        heard = []
        for resource_of, requests in (
            (KleinResource, Request),
            (KleinRoutes, PlainRoutable),
        ):

            def make(pending: Pending, _: object) -> Klein:
                app = Klein()
                app.route("/", endpoint="x")(lambda request: handler(request, pending))
                return app

            conversation = Conversation(make, resource_of, requests)
            conversation.ask("GET", "/")
            for step in steps:
                step(conversation)
            failures = [failure.type for failure in self.flushLoggedErrors()]
            heard.append((conversation.heard, failures))
        self.assertEqual(*heard)
        return heard[0][0]

    def test_finished_and_then_a_body(self) -> None:
        """It comes too late, and that is logged."""

        def handler(request: Any, _: Pending) -> bytes:
            request.finish()
            return b"too late"

        self.assertNotIn(b"too late", self.alike_in(handler))

    def test_finished_and_then_an_error(self) -> None:
        def handler(request: Any, _: Pending) -> bytes:
            request.finish()
            raise RuntimeError("too late")

        self.assertNotIn(b"500", self.alike_in(handler))

    def test_finished_while_it_waits(self) -> None:
        """Whatever fires then is too late as well."""

        def handler(request: Any, pending: Pending) -> Deferred[Any]:
            request.write(b"all")
            request.finish()
            return pending.new()

        for result in (None, b"late"):
            self.alike_in(handler, lambda c, r=result: c.pending.fire(r))

    def test_body_that_cannot_be_encoded_and_nobody_wants(self) -> None:
        def handler(request: Any, _: Pending) -> Deferred[Any]:
            return Deferred(lambda waited: waited.callback("\ud800"))

        self.alike_in(handler, Conversation.leave)

    def test_mapper(self) -> None:
        """It is bound to the same facts: scheme, host, path and method."""
        bound: list[Any] = []

        class Secure(Request):
            def isSecure(self) -> bool:
                return True

        class SecureRoutable(PlainRoutable, Secure): ...

        def make(_pending: Pending, _: object) -> Klein:
            app = Klein()

            @app.route("/<path:rest>")
            def handler(request: Any, rest: str) -> None:
                mapper: Any = IKleinRequest(request).mapper
                bound.append(vars(mapper) | {"map": type(mapper.map)})

            return app

        for resource_of, requests in (
            (KleinResource, Secure),
            (KleinRoutes, SecureRoutable),
        ):
            Conversation(make, resource_of, requests).ask("POST", "/a/b")
        self.assertEqual(bound[0], bound[1])
        self.assertEqual(bound[0]["url_scheme"], "https")
        self.assertEqual(bound[0]["default_method"], "POST")

    def test_gone_within_the_handler(self) -> None:
        """A client may be cut off by the very handler that answers it."""

        def handler(request: Any, _: Pending) -> bytes:
            request.channel.connectionLost(Failure(ConnectionDone()))
            return b"nobody hears it"

        self.assertEqual(self.alike_in(handler), b"")

    def test_handler_hears_first_that_the_client_left(self) -> None:
        """It may answer at that moment, in vain."""

        def handler(request: Any, pending: Pending) -> Deferred[Any]:
            waited = pending.new()
            request.notifyFinish().addBoth(lambda _: waited.callback(b"foo"))
            return waited

        self.alike_in(handler, Conversation.leave)


class DifferenceTests(SynchronousTestCase):
    """What is different from Klein, on purpose."""

    def ask(self, app: Klein, host: str, resource_of: Any, requests: Any) -> bytes:
        conversation = Conversation(lambda *_: app, resource_of, requests)
        conversation.channel.dataReceived(
            f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        )
        return conversation.heard

    def test_body_that_cannot_be_encoded(self) -> None:
        """It is an error 500; with Klein the client waits for ever."""
        app = Klein()
        app.route("/", endpoint="x")(lambda _: "\ud800")
        self.assertEqual(self.ask(app, "a", KleinResource, Request), b"")
        self.assertIn(b" 500 ", self.ask(app, "a", KleinRoutes, PlainRoutable))
        self.assertEqual(len(self.flushLoggedErrors(UnicodeEncodeError)), 2)

    def test_exception_without_an_answer(self) -> None:
        """One that fails to tell what to answer is an error 500, in time as well."""

        class Mute(HTTPException):
            def get_response(self, *_: Any) -> Any:
                raise LookupError("no words")

        def mute(_: Any) -> None:
            raise Mute

        app = Klein()
        app.route("/", endpoint="x")(mute)
        self.assertEqual(self.ask(app, "a", KleinResource, Request), b"")
        self.assertIn(b" 500 ", self.ask(app, "a", KleinRoutes, PlainRoutable))
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 2)

    def test_host_that_is_no_name(self) -> None:
        """Only a handler that uses the mapper gets the error, which is a client's."""
        app = Klein()
        mapper: list[Any] = []

        @app.route("/")
        def handler(request: Any) -> str:
            mapper.append(lambda: IKleinRequest(request).mapper)
            return "served"

        self.assertIn(b" 500 ", self.ask(app, "a..b", KleinResource, Request))
        self.flushLoggedErrors()
        self.assertIn(b"served", self.ask(app, "a..b", KleinRoutes, PlainRoutable))
        self.assertEqual(self.assertRaises(HTTPException, mapper[0]).code, 400)

    def test_path_that_is_not_utf8(self) -> None:
        """It is a 404, and nothing is logged, as any client may cause it."""
        app = Klein()
        app.route("/<path:rest>", endpoint="x")(lambda _, rest: rest)

        @app.handle_errors(NotFound)
        def lost(request: Any, failure: Failure) -> str:
            request.setResponseCode(404)
            return "lost"

        for path in ("/%c0", "/a/%FF/b", "/%ed%a0%80"):
            heard = []
            for resource_of, requests in (
                (KleinResource, Request),
                (KleinRoutes, PlainRoutable),
            ):
                conversation = Conversation(lambda *_: app, resource_of, requests)
                conversation.ask("GET", path)
                heard.append(conversation.heard)
                logged = self.flushLoggedErrors()
                self.assertEqual(bool(logged), resource_of is KleinResource)
            self.assertIn(b" 400 ", heard[0])
            self.assertIn(b" 404 ", heard[1])
            self.assertIn(b"lost", heard[1])

    def test_element_that_fails(self) -> None:
        """It goes to the error handlers; with Klein, half a page is a 200."""

        class Failing(Element):
            loader = TagLoader(tags.p(render="nothing"))

        app = Klein()
        app.route("/", endpoint="x")(lambda _: Failing())
        app.handle_errors(FlattenerError)(lambda *_: "handled")
        self.assertIn(b" 200 ", self.ask(app, "a", KleinResource, Request))
        self.assertEqual(len(self.flushLoggedErrors(FlattenerError)), 1)
        heard = self.ask(app, "a", KleinRoutes, PlainRoutable)
        self.assertIn(b"handled", heard)
        self.assertNotIn(b"DOCTYPE", heard)

    def test_variable_that_maybe_deferred_has_too(self) -> None:
        """A rule may have a variable ``f``."""
        app = Klein()
        app.route("/", defaults={"f": "served"}, endpoint="x")(lambda _, f: f)
        self.assertIn(b" 500 ", self.ask(app, "a", KleinResource, Request))
        self.flushLoggedErrors(TypeError)
        self.assertIn(b"served", self.ask(app, "a", KleinRoutes, PlainRoutable))
