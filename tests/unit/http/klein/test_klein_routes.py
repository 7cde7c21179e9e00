"""The routes of a Klein are found as Klein finds them, whenever they are added."""

import gc
from typing import Any

from klein import Klein, Requirer
from twisted.trial.unittest import SynchronousTestCase
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter, Map, Rule

from clusterapp.http.klein.klein_resource import KleinRoutes
from clusterapp.http.klein.klein_routes import STREAMED, RouteTable
from clusterapp.http.klein.route_tree import Route
from tests.unit.http.klein.routable_requests import Body


def plain_map(app: Klein) -> Any:
    """Return the map of an application without its type."""
    return app.url_map


class RouteTableTests(SynchronousTestCase):
    """Routes of an application to which some are added on the way."""

    def setUp(self) -> None:
        self.app = Klein()
        self.table = RouteTable(self.app)
        self.asked: list[str] = []

    def route(self, rule: str, endpoint: str = "x", **kwargs: Any) -> None:
        self.app.route(rule, endpoint=endpoint, **kwargs)(lambda _, **_values: b"")

    def endpoint(self, path: str, method: bytes = b"GET") -> str | None:
        found = self.table.find(method, path)
        if isinstance(found, HTTPException):
            return type(found).__name__
        return None if found is None else found[0].endpoint

    def matches(self) -> None:
        """Count from now on what werkzeug is asked."""
        matcher = plain_map(self.app)._matcher
        original = matcher.match

        def match(domain: str, path: str, *args: Any) -> Any:
            self.asked.append(path)
            return original(domain, path, *args)

        self.patch(matcher, "match", match)

    def test_route(self) -> None:
        self.route("/a/<int:n>/<name>/", "here", branch=True)
        self.assertEqual(
            self.table.find(b"GET", "/a/12/b/"),
            (Route("here", 3, streamed=False), {"n": 12, "name": "b"}),
        )
        self.assertEqual(
            self.table.find(b"POST", "/a/1/b/c/d"),
            (
                Route("here_branch", 3, streamed=False),
                {"n": 1, "name": "b", "__rest__": "c/d"},
            ),
        )

    def test_without_werkzeug(self) -> None:
        """Its matcher is asked only for what is no plain match."""
        self.route("/a/<n>", methods=["GET"])
        self.route("/b/")
        self.matches()
        for _ in range(2):
            self.assertEqual(self.endpoint("/a/1"), "x")
            self.assertEqual(self.endpoint("/b/"), "x")
            self.assertEqual(self.endpoint("/c"), "NotFound")
        self.assertEqual(self.asked, [])
        self.assertEqual(self.endpoint("/a/1", b"POST"), "MethodNotAllowed")
        self.assertIsNone(self.endpoint("/b"))
        self.assertEqual(self.asked, ["/a/1", "/b"])

    def test_methods(self) -> None:
        self.route("/", "read", methods=["GET"])
        self.route("/", "write", methods=["POST"])
        for _ in range(2):
            self.assertEqual(self.endpoint("/"), "read")
            self.assertEqual(self.endpoint("/", b"POST"), "write")
            self.assertEqual(self.endpoint("/", b"PUT"), "MethodNotAllowed")
            self.assertIsNone(self.endpoint("/", b"\xff"))
        self.route("/any", "any")
        self.assertEqual(self.endpoint("/any", b"ANY"), "any")
        self.assertIsNone(self.endpoint("/any", b"\xff"))

    def test_what_is_klein_s_own(self) -> None:
        """What redirects is not to be had here; what is nowhere is told."""
        self.route("/slash/")
        self.route("/moved", redirect_to="/slash/", endpoint="moved")
        self.route("/alias", alias=True)
        for path in ("/slash", "//slash//", "/moved", "/alias"):
            self.assertIsNone(self.endpoint(path), path)
        self.assertEqual(self.endpoint("/none"), "NotFound")

    def test_route_that_is_added_later(self) -> None:
        """It is found, and it may come before the one that was found before."""
        self.route("/<path:any>", "any")
        self.assertEqual(self.endpoint("/a"), "any")
        self.route("/a", "a")
        self.assertEqual(self.endpoint("/a"), "a")

    def test_route_that_others_have_noticed(self) -> None:
        """
        Nor does it matter who used the map first after that.

        Werkzeug then takes back the sign that there was something new.
        """
        other = RouteTable(self.app)
        self.route("/<path:any>", "any")
        self.route("/b", "a")
        self.assertEqual(self.endpoint("/a"), "any")
        for noticed in (plain_map(self.app).update, lambda: other.find(b"GET", "/b")):
            self.route("/a", "a")
            noticed()
            self.assertEqual(self.endpoint("/a"), "a")
            self.assertIs(bool(plain_map(self.app)._remap), False)

    def test_two_tables_do_not_disturb_each_other(self) -> None:
        """Both keep what they have compiled, whichever found the rules to be new."""
        other = RouteTable(self.app)
        self.route("/a")
        self.assertIsNotNone(other.find(b"GET", "/a"))
        self.assertIsNotNone(self.table.find(b"GET", "/a"))
        trees = self.table._tree, other._tree
        self.assertIsNotNone(other.find(b"GET", "/a"))
        self.assertIsNotNone(self.table.find(b"GET", "/a"))
        self.assertEqual((self.table._tree, other._tree), trees)

    def test_handler_that_is_replaced(self) -> None:
        """With another route of the same name come other segments."""
        self.route("/a", "x")
        self.assertEqual(self.table.find(b"GET", "/a"), (Route("x", 1, False), {}))
        self.route("/a/b", "x")
        self.assertEqual(self.table.find(b"GET", "/a"), (Route("x", 2, False), {}))

    def test_converter_of_the_application(self) -> None:
        """It is asked each time, since it may decide otherwise each time."""
        answers = iter("abc")

        class Changing(BaseConverter):
            def to_python(self, value: str) -> str:
                return value + next(answers)

        plain_map(self.app).converters["changing"] = Changing
        self.route("/<changing:v>")
        seen = [self.table.find(b"GET", "/v") for _ in range(3)]
        self.assertEqual(
            [isinstance(each, tuple) and each[1] for each in seen],
            [{"v": "va"}, {"v": "vb"}, {"v": "vc"}],
        )

    def test_converter_that_raises(self) -> None:
        class Raising(BaseConverter):
            def to_python(self, value: str) -> str:
                raise RuntimeError(value)

        plain_map(self.app).converters["raising"] = Raising
        self.route("/<raising:v>")
        self.assertIsNone(self.endpoint("/v"))

    def test_rule_without_a_handler(self) -> None:
        """Added to the map alone, it is an error that Klein tells of."""
        self.route("/a")
        del self.app.endpoints["x"]
        self.assertIsNone(self.endpoint("/a"))

    def test_rule_of_the_applications_own(self) -> None:
        """What another class of rules does is not known."""

        class Own(Rule):
            """Nothing special, in fact."""

        self.route("/a")
        plain_map(self.app).add(Own("/own", endpoint="x"))
        self.matches()
        self.assertEqual([self.endpoint("/a"), self.endpoint("/own")], ["x", "x"])
        self.assertEqual(self.asked, ["/own"])

    def test_host_matching(self) -> None:
        """A path alone does not tell."""
        self.app._url_map = Map(host_matching=True)
        self.route("/a", host="<name>")
        self.assertIsNone(self.endpoint("/a"))

    def test_map_of_the_applications_own(self) -> None:
        """Nor may it, in a map that does who knows what."""

        class Own(Map):
            """Nothing special, in fact."""

        self.app._url_map = Own()
        self.route("/a")
        self.assertIsNone(self.endpoint("/a"))

    def test_value_that_is_refused(self) -> None:
        """It is a 404; of a rule for another method, a 405."""
        self.route("/a/<int(max=9):n>", methods=["GET"])
        self.route("/b/<int(max=9):n>", "post", methods=["POST"])
        self.route("/b/<int(max=9):n>", methods=["GET"])
        self.assertEqual(self.endpoint("/a/9"), "x")
        self.assertEqual(self.endpoint("/a/10"), "NotFound")
        self.assertEqual(self.endpoint("/b/10"), "MethodNotAllowed")

    def test_nothing_is_kept_of_paths(self) -> None:
        """Whatever clients ask for, found or not."""
        self.route("/<int:n>")
        self.endpoint("/1")
        gc.collect()
        before = len(gc.get_objects())
        for n in range(300):
            self.table.find(b"GET", f"/{n}")
            self.table.find(b"GET", f"/none/{n}")
        gc.collect()
        self.assertLess(len(gc.get_objects()) - before, 100)


class StreamTests(SynchronousTestCase):
    """Handlers that take their request's body as a stream."""

    def wants(self, app: Klein, method: bytes = b"POST", path: str = "/up") -> bool:
        return KleinRoutes(app).wants_stream(Body(method, path))

    def test_handler(self) -> None:
        """It may be marked before Klein gets it or after."""

        def upload(_: Any) -> None: ...

        early, late = Klein(), Klein()
        late.route("/up")(upload)
        self.assertIs(self.wants(late), False)
        setattr(upload, STREAMED, True)
        early.route("/up", methods=["POST"])(upload)
        self.assertIs(self.wants(early), True)
        self.assertIs(self.wants(early, b"GET"), False)
        self.assertIs(self.wants(late), True)
        self.assertIs(self.wants(early, path="/other"), False)

    def test_branch(self) -> None:
        app = Klein()

        def upload(_: Any) -> None: ...

        setattr(upload, STREAMED, True)
        app.route("/", branch=True)(upload)
        self.assertIs(self.wants(app), True)

    def test_handler_within_other_decorators(self) -> None:
        """Klein's own tell what they wrap."""
        app = Klein()

        def upload(_: Any) -> None: ...

        setattr(upload, STREAMED, True)
        Requirer().require(app.route("/up"))(upload)
        self.assertIs(self.wants(app), True)

    def test_false_is_false(self) -> None:
        app = Klein()

        def upload(_: Any) -> None: ...

        setattr(upload, STREAMED, False)
        app.route("/up")(upload)
        self.assertIs(self.wants(app), False)

    def test_route_that_is_added_later(self) -> None:
        app = Klein()
        app.route("/up", methods=["GET"], endpoint="page")(lambda _: b"")
        resource = KleinRoutes(app)
        self.assertIs(resource.wants_stream(Body(b"POST", "/up")), False)

        def upload(_: Any) -> None: ...

        setattr(upload, STREAMED, True)
        app.route("/up", methods=["POST"])(upload)
        self.assertIs(resource.wants_stream(Body(b"POST", "/up")), True)

    def test_costs_nothing_where_no_handler_does(self) -> None:
        """No route is looked up."""
        app = Klein()
        app.route("/up", endpoint="page")(lambda _: b"")
        resource = KleinRoutes(app)
        self.patch(RouteTable, "find", None)
        self.assertIs(resource.wants_stream(Body(b"POST", "/up")), False)
