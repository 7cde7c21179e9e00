"""A request's side is the one that a single Klein with all routes would choose."""

from collections.abc import Iterable
from itertools import combinations
from typing import Any, NamedTuple

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from klein import Klein
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Site
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter, Rule

from clusterapp.http.klein import route_tree
from clusterapp.http.klein.klein_routes import RouteTable
from clusterapp.http.syntax.request_head import Head
from clusterapp.web.routing import Routes, Side, clash
from tests.unit.web.sides import side_of

#: The route of the rule that is added last.
ANSWERED: route_tree.Found = route_tree.Route("late", 2, streamed=False), {}


class Route(NamedTuple):
    """A rule, and the side that has it."""

    rule: str
    side: Side


def klein_of(routes: Iterable[Route]) -> Klein:
    """Make a Klein whose routes answer with their rule and what they matched."""
    app = Klein()
    for number, route in enumerate(routes):

        def answer(request: IRequest, rule: str = route.rule, **values: Any) -> str:
            return f"{rule} {values}"

        app.route(route.rule, endpoint=str(number))(answer)
    return app


def get(resource: IResource, target: bytes) -> bytes:
    """Answer a GET as a server on the wire would."""
    channel = Site(resource, reactor=Clock()).buildProtocol(None)
    assert channel is not None
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(
        b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target
    )
    head, _, body = transport.value().partition(b"\r\n\r\n")
    lines = [
        line
        for line in head.split(b"\r\n")
        if line.startswith((b"HTTP/", b"Location:"))
    ]
    return b"\n".join([*lines, body])


def with_rules(*rules: str, **options: Any) -> Klein:
    """Make a Klein with some rules."""
    app = Klein()
    for rule in rules:
        app.route(rule, endpoint=rule, **options)(lambda _: b"")
    return app


SEGMENTS = st.sampled_from(
    ["a", "b", "<x>", "<int:x>", "<int(max=3):x>", "<path:x>", "a<x>", "<any(a,c):x>"]
)
RULES = st.builds(
    lambda segments, slash: "/" + "/".join(segments) + slash,
    st.lists(SEGMENTS, min_size=1, max_size=3).filter(
        # A name may be used only once in a rule.
        lambda segments: sum("x>" in each for each in segments) <= 1
    ),
    st.sampled_from(["", "/"]),
)
ROUTES = st.lists(
    st.builds(Route, RULES, st.sampled_from(["app", "core"])), min_size=1, max_size=6
)
PATHS = st.lists(
    st.sampled_from(
        ["a", "b", "c", "ab", "1", "7", "", "a%2Fb", "%61", "%", ".", "%ff"]
    ),
    min_size=1,
    max_size=4,
).map(lambda segments: ("/" + "/".join(segments)).encode())


class AsOneKleinTests(SynchronousTestCase):
    """The property that the worker's choice stands on."""

    @settings(max_examples=400, deadline=None)
    @given(ROUTES, st.lists(PATHS, min_size=1, max_size=8))
    def test_the_side_alone_answers_as_both_together(
        self, given_routes: list[Route], paths: list[bytes]
    ) -> None:
        """
        Whatever the path, the chosen side answers as a Klein with all routes does.

        Matches, redirects, refused values and 404s are all the same.
        """
        routes = sorted(given_routes, key=lambda route: route.side)
        sides = {
            side: klein_of([route for route in routes if route.side == side])
            for side in ("app", "core")
        }
        app_rules = list(sides["app"].url_map.iter_rules())
        core_rules = list(sides["core"].url_map.iter_rules())
        assume(clash(app_rules, core_rules) is None)
        # Of two rules of one side that are equally specific, werkzeug takes the first
        # that it has found a place for, which rules of the other side can change.
        for rules in (app_rules, core_rules):
            for one, other in combinations(rules, 2):
                weights = [
                    [part.weight for part in rule._parts] for rule in (one, other)
                ]
                assume(one.rule == other.rule or weights[0] != weights[1])
        whole = klein_of(routes).resource()
        chooser = Routes(sides["app"], sides["core"], None)
        for path in paths:
            side = side_of(chooser, path)
            self.assertEqual(get(sides[side].resource(), path), get(whole, path), path)
        self.flushLoggedErrors(UnicodeDecodeError)


class SideTests(SynchronousTestCase):
    """Which requests are the core's."""

    def setUp(self) -> None:
        self.app = with_rules("/", "/<page>", "/shop/<path:rest>")
        self.core = with_rules("/counter", "/jobs/", "/shop/<int:number>/stock")
        self.routes = Routes(self.app, self.core, None)

    def assert_sides(self, side: Side, *paths: bytes) -> None:
        for path in paths:
            self.assertEqual(side_of(self.routes, path), side, path)

    def test_rules_decide(self) -> None:
        self.assert_sides("core", b"/counter", b"/jobs/", b"/shop/3/stock")
        self.assert_sides("app", b"/", b"/about", b"/shop/three/stock", b"/shop/3/x")

    def test_unknown_paths_are_the_applications(self) -> None:
        self.assert_sides("app", b"/no/such/thing", b"/counter/more")

    def test_no_path(self) -> None:
        """Nor is what asks about the server as a whole."""
        self.routes = Routes(None, with_rules("/"), None)
        self.assert_sides("core", b"/")
        self.assert_sides("app", b"*")

    def test_what_the_core_would_redirect_is_the_cores(self) -> None:
        """A missing slash, and slashes too many."""
        self.routes = Routes(None, self.core, None)
        self.assert_sides("core", b"/jobs", b"//jobs", b"/shop//3/stock", b"//counter")

    def test_a_wrong_method_is_for_the_core_to_refuse(self) -> None:
        core = with_rules("/counter", methods=["POST"])
        self.routes = Routes(with_rules("/<path:any>", methods=["GET"]), core, None)
        self.assert_sides("core", b"/counter")

    def test_a_value_that_the_core_refuses_is_the_cores(self) -> None:
        """One Klein answers 404 there, and does not try a less specific rule."""
        core = with_rules("/item/<int(max=9):number>")
        self.routes = Routes(with_rules("/item/<name>"), core, None)
        self.assert_sides("core", b"/item/5", b"/item/12")
        self.assert_sides("app", b"/item/five")

    def test_encoding_is_undone_as_twisted_and_klein_do(self) -> None:
        core = with_rules("/käse/<x>", "/a b", "/a/b")
        self.routes = Routes(None, core, None)
        self.assert_sides("core", b"/k%C3%A4se/1", b"/k\xc3\xa4se/1", b"/a%20b")
        self.assert_sides("core", b"/a%2Fb", b"/%61/b", b"/a/b")
        self.assert_sides("app", b"/a+b", b"/k%E4se/1", b"/a%zzb", b"/a;x/b")

    def test_a_query_is_not_looked_at(self) -> None:
        """It is not part of the path; an encoded question mark is."""
        self.assert_sides("app", b"/counter%3Fx")

    def test_long_paths_are_matched_as_well(self) -> None:
        self.routes = Routes(None, with_rules("/long/<path:rest>"), None)
        self.assert_sides("core", b"/long/" + b"x" * 5000)
        self.assert_sides("app", b"/short/" + b"x" * 5000)

    def test_the_same_answer_twice(self) -> None:
        self.assert_sides("core", b"/counter", b"/counter")
        self.assert_sides("app", b"/about", b"/about")

    def test_branches(self) -> None:
        """``branch=True`` owns everything below."""
        self.routes = Routes(None, with_rules("/tree", branch=True), None)
        self.assert_sides("core", b"/tree", b"/tree/a/b")
        self.assert_sides("app", b"/trees")

    def test_subroutes(self) -> None:
        core = Klein()
        with core.subroute("/api/<version>") as api:
            api.route("/jobs")(lambda _: b"")
        self.routes = Routes(with_rules("/api/<x>/<y>"), core, None)
        self.assert_sides("core", b"/api/v1/jobs")
        self.assert_sides("app", b"/api/v1/other")

    def test_converters_are_those_of_each_side(self) -> None:
        """Both may have one of the same name that matches other text."""

        class Digits(BaseConverter):
            regex = "[0-9]{2}"

        class Letters(BaseConverter):
            regex = "[a-z]{2}"

            def to_python(self, value: str) -> str:
                raise AssertionError(f"{value} was converted")

        app, core = Klein(), Klein()
        app.url_map.converters["code"] = Digits
        core.url_map.converters["code"] = Letters
        app.route("/<code:code>")(lambda _: b"")
        core.route("/<code:code>")(lambda _: b"")
        self.routes = Routes(app, core, None)
        self.assert_sides("app", b"/12", b"/a1")
        self.assert_sides("core", b"/ab")

    def test_lenient_slashes_of_one_side(self) -> None:
        core = with_rules("/soft/", "/bare", strict_slashes=False)
        self.routes = Routes(with_rules("/<x>"), core, None)
        self.assert_sides("core", b"/soft", b"/soft/", b"/bare", b"/bare/")

    def test_slashes_that_must_not_be_merged(self) -> None:
        core = with_rules("/a/b", merge_slashes=False)
        self.routes = Routes(None, core, None)
        self.assert_sides("core", b"/a/b")
        self.assert_sides("app", b"/a//b")

    def test_rules_that_klein_never_matches(self) -> None:
        core = with_rules("/built", build_only=True)
        core.route("/ws", websocket=True)(lambda _: b"")
        core.route("/sub", subdomain="api")(lambda _: b"")
        self.routes = Routes(None, core, None)
        self.assert_sides("app", b"/built", b"/ws", b"/sub")

    def test_hosts_are_not_looked_at(self) -> None:
        """With host matching, the path alone decides."""
        core = Klein()
        core.url_map.host_matching = True
        core.route("/hosted", host="core.example", subdomain="api")(lambda _: b"")
        self.routes = Routes(None, core, None)
        self.assert_sides("core", b"/hosted")

    def test_rules_that_are_added_later(self) -> None:
        """To either side; another user of the map may have noticed them before."""
        self.assert_sides("app", b"/late/1", b"/counter/1", b"/later")
        self.core.route("/late/<int:n>", endpoint="late")(lambda _: b"")
        self.assert_sides("core", b"/late/1")
        self.app.route("/late/1", endpoint="late")(lambda _: b"")
        self.assertEqual(RouteTable(self.app).find(b"GET", "/late/1"), ANSWERED)
        self.assert_sides("app", b"/late/1")
        self.assert_sides("core", b"/late/2")
        self.core.route("/later/", endpoint="later")(lambda _: b"")
        self.assert_sides("core", b"/later")
        self.core.route("/counter/<int:n>/", endpoint="count")(lambda _: b"")
        self.assert_sides("core", b"/counter/1")

    def test_route(self) -> None:
        """With the side comes the application's route, or the error."""
        routes = self.routes
        for path, expected in (
            (b"/late", "/<page>"),
            (b"/shop/a/b", "/shop/<path:rest>"),
        ):
            side, found = routes.find(Head(b"GET", path, b"HTTP/1.1", []))
            assert found is not None
            app, (route, values) = found
            self.assertEqual((side, app), ("app", self.app))
            self.assertEqual(route.endpoint, expected)
            self.assertEqual(len(values), 1)
        _, found = routes.find(Head(b"GET", b"/no/such/thing", b"HTTP/1.1", []))
        assert found is not None
        self.assertIsInstance(found[1], NotFound)
        for path in (b"/counter", b"/late//", b"*", b"/\xff"):
            self.assertIsNone(routes.find(Head(b"GET", path, b"HTTP/1.1", []))[1])

    def test_without_a_core_all_is_the_applications(self) -> None:
        self.routes = Routes(self.app, None, None)
        self.assert_sides("app", b"/counter", b"\xff")


class OwnsTests(SynchronousTestCase):
    """Whether there is a route at all."""

    def setUp(self) -> None:
        self.app = with_rules("/", "/shop/<int:n>", "/orders/")
        self.core = with_rules("/counter")

    def assert_owned(self, expected: bool, routes: Routes, *paths: bytes) -> None:
        for path in paths:
            self.assertIs(routes.owns(path), expected, path)

    def test_rules_of_either_side(self) -> None:
        """As they are, and where they would redirect."""
        routes = Routes(self.app, self.core, None)
        self.assert_owned(
            True, routes, b"/", b"/shop/3", b"/counter", b"//counter", b"/orders"
        )
        self.assert_owned(
            False, routes, b"/shop/x", b"/counter/", b"/x", b"/\xff", b"/static/a"
        )

    def test_application_without_a_core(self) -> None:
        self.assert_owned(True, Routes(self.app, None, None), b"/shop/3")
        self.assert_owned(False, Routes(self.app, None, None), b"/counter")

    def test_unknown_rules(self) -> None:
        self.assert_owned(True, Routes(None, self.core, None), b"/counter")
        self.assert_owned(False, Routes(None, None, None), b"/counter", b"/")

    def test_static_files(self) -> None:
        """They come before every rule, whether there is such a file or not."""
        routes = Routes(None, None, "/static/")
        self.assert_owned(True, routes, b"/static/health.txt")
        self.assert_owned(False, routes, b"/static")


class StaticTests(SynchronousTestCase):
    """Static files come before every rule."""

    def setUp(self) -> None:
        core = with_rules("/static/<path:x>", "/<x>", "/")
        self.with_core = Routes(None, core, "/static/")
        self.without = Routes(None, None, "/static/")

    def assert_static(self, expected: bool, *paths: bytes) -> None:
        for path in paths:
            for routes in (self.with_core, self.without):
                self.assertEqual(side_of(routes, path) == "static", expected, path)

    def test_everything_below(self) -> None:
        self.assert_static(
            True,
            b"/static/",
            b"/static/a.css",
            b"/st%61tic/a",
            b"/static//",
            b"/static/%",
        )

    def test_nothing_beside(self) -> None:
        self.assert_static(
            False,
            b"/static",
            b"/statics/a",
            b"//static/a",
            b"/static%2Fa",
            b"/x/static/",
        )

    def test_a_prefix_of_more_segments(self) -> None:
        routes = Routes(None, None, "/assets/v1/")
        self.assertEqual(side_of(routes, b"/assets/v1/x"), "static")
        self.assertEqual(side_of(routes, b"/assets/v2/x"), "app")
        self.assertEqual(side_of(routes, b"/assets/v1"), "app")


class ClashTests(SynchronousTestCase):
    """The same rule in both sides is found."""

    def clash(self, app: Klein, core: Klein) -> tuple[Rule, Rule] | None:
        return clash(app.url_map.iter_rules(), core.url_map.iter_rules())

    def test_different_rules_may_overlap(self) -> None:
        app = with_rules("/<x>", "/a/", "/n/<int:x>")
        core = with_rules("/counter", "/a", "/n/<x>", "/n/<int(max=3):x>")
        self.assertIsNone(self.clash(app, core))

    def test_the_same_rule(self) -> None:
        found = self.clash(with_rules("/a", "/b"), with_rules("/c", "/b"))
        assert found is not None
        self.assertEqual([rule.rule for rule in found], ["/b", "/b"])

    def test_methods_do_not_make_a_difference(self) -> None:
        app = with_rules("/a", methods=["GET"])
        self.assertIsNotNone(self.clash(app, with_rules("/a", methods=["POST"])))

    def test_names_of_variables_do_not_make_a_difference(self) -> None:
        for one, other in (
            ("/<a>/x", "/<b>/x"),
            ("/<a>", "/<string:b>"),
            ("/<int():a>", "/<int:b>"),
            ("/<any(x, y):a>", "/<any(x, y):b>"),
            ("/a//b", "/a/b"),
        ):
            self.assertIsNotNone(self.clash(with_rules(one), with_rules(other)), one)

    def test_subroutes_are_compared_whole(self) -> None:
        core = Klein()
        with core.subroute("/api") as api:
            api.route("/jobs")(lambda _: b"")
        self.assertIsNotNone(self.clash(with_rules("/api/jobs"), core))
        self.assertIsNone(self.clash(with_rules("/jobs"), core))

    def test_rules_that_never_match_do_not_count(self) -> None:
        self.assertIsNone(
            self.clash(with_rules("/a", build_only=True), with_rules("/a"))
        )
