"""What an ordinary request does not make, and what is made only once."""

import gc
from typing import Any

from klein import Klein
from klein.interfaces import IKleinRequest
from twisted.python.components import Componentized
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource

from clusterapp.http.application.request import ClusterRequest
from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.lazy import Lazy
from clusterapp.http.site import ClusterSite
from tests.unit.http.side_by_side import Calling, Side, get, post

#: All that a request is to have in it when an ordinary one has been answered.
ORDINARY = {
    "_connection",
    "_head",
    "channel",
    "clientproto",
    "context",
    "finished",
    "method",
    "path",
    "sentLength",
    "site",
    "startedWriting",
    "uri",
    "_plain",
}


class LazyTests(SynchronousTestCase):
    """An attribute that is made when it is looked at."""

    def setUp(self) -> None:
        made: list[int] = []

        class Thing:
            @Lazy
            def number(self) -> int:
                """A number."""
                made.append(len(made))
                return made[-1]

        self.made, self.thing, self.kind = made, Thing(), Thing

    def test_is_made_once(self) -> None:
        self.assertEqual(self.made, [])
        self.assertEqual([self.thing.number, self.thing.number], [0, 0])
        self.assertEqual(self.thing.__dict__, {"number": 0})

    def test_each_object_has_its_own(self) -> None:
        self.assertEqual([self.thing.number, self.kind().number], [0, 1])

    def test_may_be_assigned(self) -> None:
        """Then it is never made."""
        self.thing.number = 5
        self.assertEqual(self.thing.number, 5)
        self.assertEqual(self.made, [])

    def test_is_made_anew_once_deleted(self) -> None:
        _ = self.thing.number
        del self.thing.number
        self.assertEqual(self.thing.number, 1)

    def test_is_not_there_if_it_cannot_be_made(self) -> None:
        """It is tried again each time."""

        class Broken:
            @Lazy
            def number(self) -> int:
                raise ValueError

        broken = Broken()
        for _ in range(2):
            with self.assertRaises(ValueError):
                _ = broken.number

    def test_class_shows_it(self) -> None:
        """With its docstring, as a property does."""
        self.assertIsInstance(self.kind.number, Lazy)
        self.assertEqual(self.kind.number.__doc__, "A number.")


class OrdinaryRequestTests(SynchronousTestCase):
    """A handler that sets one field and returns bytes."""

    def setUp(self) -> None:
        self.requests: list[Any] = []

    def handle(self, request: Any, *_: Any) -> bytes:
        request.setHeader(b"content-type", b"text/plain")
        self.requests.append(request)
        return b"hello"

    def ask(self, root: IResource, raw: bytes) -> ClusterRequest:
        side = Side(ClusterSite, lambda _: root)
        answer = side.http_client().ask(raw)
        assert answer is not None
        self.assertEqual(answer.body, b"hello")
        request = self.requests[-1]
        assert isinstance(request, ClusterRequest)
        return request

    def klein(self) -> IResource:
        app = Klein()
        app.route("/a/<name>", methods=["GET", "POST"])(
            lambda request, **_: self.handle(request)
        )
        return klein_resource(app)

    def test_resource(self) -> None:
        """Nothing is made for it: no fields, segments, arguments, files, addresses."""
        request = self.ask(Calling(self.handle, []), get("/a/b?c=d", "Cookie: a=b"))
        self.assertEqual(set(request.__dict__), ORDINARY)

    def test_klein(self) -> None:
        """But for the route, nor for a Klein's handler."""
        request = self.ask(self.klein(), get("/a/b?c=d", "Cookie: a=b"))
        self.assertEqual(set(request.__dict__), ORDINARY | {"_consumed", "routed"})
        self.assertNotIn("_adapterCache", request.__dict__)
        self.assertIsNotNone(IKleinRequest(request))
        self.assertIn("_adapterCache", request.__dict__)

    def test_body_that_nobody_reads(self) -> None:
        """It is gathered, and thrown away in the end; nothing is made of it."""
        kind = "Content-Type: application/x-www-form-urlencoded"
        request = self.ask(self.klein(), post(b"e=f", kind, target="/a/b"))
        long_way = {"_body", "_consumed", "_drops", "_owed", "routed"}
        self.assertEqual(set(request.__dict__), ORDINARY | long_way)

    def test_no_headers_are_made(self) -> None:
        """Neither are they by what is no attribute of the request."""
        root = self.klein()
        self.ask(root, get("/a/b"))
        gc.collect()
        before = _count(Headers)
        gc.disable()
        self.addCleanup(gc.enable)
        self.ask(root, get("/a/b"))
        self.assertEqual(_count(Headers), before)

    def test_nothing_is_made_by_asking_for_a_field(self) -> None:
        """As most handlers do."""

        def handler(request: Any, _: list[Any]) -> bytes:
            self.assertEqual(request.getHeader(b"HOST"), b"shop.example:12345")
            return self.handle(request)

        request = self.ask(Calling(handler, []), get())
        self.assertEqual(set(request.__dict__), ORDINARY)

    def test_all_that_is_lazy_is_tested(self) -> None:
        """What is made on demand is what the test above would find."""
        lazy = {
            name
            for kind in ClusterRequest.__mro__
            for name, value in vars(kind).items()
            if isinstance(value, Lazy)
        }
        self.assertEqual(lazy & ORDINARY, set())
        self.assertLessEqual(
            {"args", "client", "content", "host", "prepath", "postpath", "transport"},
            lazy,
        )
        self.assertTrue(issubclass(ClusterRequest, Componentized))


def _count(kind: type) -> int:
    return sum(isinstance(each, kind) for each in gc.get_objects())
