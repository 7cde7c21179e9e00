"""The compiled routes: whatever werkzeug finds, they find, and nothing else."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import given
from klein import Klein
from twisted.trial.unittest import SynchronousTestCase
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter, Map

from clusterapp.http.klein.klein_routes import (
    RouteTable,
    compile_routes,
    rules_in_order,
)
from clusterapp.http.klein.route_tree import Found
from clusterapp.web.routing import Routes
from tests.unit.http.klein.route_maps import (
    ASKED,
    GIVEN,
    ID,
    MAPS,
    Asked,
    TextHead,
    built,
    klein_of,
)
from tests.unit.http.streams import bounded


def werkzeugs(app: Klein, method: str, path: str) -> Any:
    """Give what werkzeug finds, in a form that can be compared."""
    try:
        rule, values = app.url_map.bind("localhost").match(
            path, method, return_rule=True
        )
    except HTTPException as error:
        return of_error(error)
    except Exception as error:  # noqa: BLE001 - an alias of other values, or the like
        return type(error), []
    return rule.endpoint, sorted(values.items())


def of_error(error: HTTPException) -> Any:
    """Give all that a client sees of an error."""
    methods = error.valid_methods if isinstance(error, MethodNotAllowed) else None
    return type(error), sorted(methods or ())


def ours(app: Klein, found: Found | HTTPException | None) -> Any:
    """Give what a table has found in the same form; None is left to Klein."""
    if isinstance(found, tuple):
        route, values = found
        handler: Any = app.endpoints[route.endpoint]
        assert route.segments == handler.segment_count
        return route.endpoint, sorted(values.items())
    return None if found is None else of_error(found)


class AsWerkzeugTests(SynchronousTestCase):
    """The property that the compiled routes stand on."""

    def assert_alike(self, table: RouteTable, method: str, path: str) -> Any:
        """Compare; return what the tree alone knows."""
        app = table.app
        expected = werkzeugs(app, method, path)
        found = ours(app, table.find(method.encode(), path))
        assert table._tree is not None
        known = table._tree.find(method.encode(), path)
        if known is not None and not isinstance(known, str):
            self.assertEqual(ours(app, known), expected, (method, path))
        if found is None:
            self.assertNotIn(expected[0], (NotFound, MethodNotAllowed), path)
            self.assertIsInstance(expected[0], type, (method, path))
        else:
            self.assertEqual(found, expected, (method, path))
        return known

    @bounded(500)
    @given(GIVEN, MAPS, ASKED)
    def test_any_map(
        self,
        given_rules: list[tuple[str, dict[str, Any]]],
        options: dict[str, Any],
        asked: list[Asked],
    ) -> None:
        """Whatever the rules, the method and the path."""
        app = built(given_rules, options)
        if app is None:
            return
        table = RouteTable(app)
        for each in asked:
            self.assert_alike(table, each.method, each.path_for(given_rules))

    @bounded(500)
    @given(GIVEN, GIVEN, ASKED)
    def test_any_two_maps(
        self,
        of_app: list[tuple[str, dict[str, Any]]],
        of_core: list[tuple[str, dict[str, Any]]],
        asked: list[Asked],
    ) -> None:
        """
        Of two maps: the side as by one common map, the route as by the side's own.

        The side is compared with the way that is used where the tree does not decide.
        """
        app, core = built(of_app, {}), built(of_core, {})
        if app is None or core is None:
            return
        routes = Routes(app, core, None)
        for each in asked:
            method, path = each.method, each.path_for(of_app + of_core)
            side, found = routes.find(TextHead(method, path))
            slowly = routes._matching(path) or "app"
            self.assertEqual(side, slowly, (method, path))
            if found is not None:
                self.assertIs(found[0], app)
                expected = werkzeugs(app, method, path)
                self.assertEqual(ours(app, found[1]), expected, (method, path))


class Shown(NamedTuple):
    """
    A map with what is asked of it.

    :ivar decided: for how many of the questions werkzeug is not needed.
    """

    rules: Sequence[str | tuple[str, dict[str, Any]]]
    asked: Sequence[str]
    decided: int


#: Maps like those with which Flask and werkzeug show what their routing can do.
SHOWN = (
    # Constant before variable, variable by weight, and back where nothing matches.
    Shown(
        (
            *("/", "/index", "/<page>", "/<int:year>", "/<path:rest>", "/new/<int:n>"),
            *("/new/post", "/<name>/edit", "/<int:year>/<int:month>", "/<float:n>/x"),
            *("/<path:wiki>/history", "/new/<name>/tags"),
        ),
        (
            *("/", "/index", "/about", "/2024", "/a/b/c", "/new/7", "/new/post"),
            *("/new/x", "/a/edit", "/2024/5", "/2024/edit", "/1.5/x", "/1.5/y"),
            *("/a/b/history", "/a/history", "/new/7/tags", "/new/7/tag", "/history"),
        ),
        18,
    ),
    # Methods of one path, and of rules that match the same paths.
    Shown(
        (
            ("/things", {"methods": ["GET"]}),
            ("/things", {"methods": ["POST"]}),
            ("/things/<int:n>", {"methods": ["GET", "PUT"]}),
            ("/things/<name>", {"methods": ["DELETE", "GET"]}),
            ("/any", {}),
            ("/any", {"methods": ["GET"]}),
            ("/moved", {"methods": ["GET"], "redirect_to": "/any"}),
            ("/moved", {}),
            ("/slash/", {"methods": ["GET"]}),
            ("/slash/", {"methods": ["PUT"], "strict_slashes": False}),
        ),
        ("/things", "/things/1", "/things/a", "/any", "/moved", "/slash", "/slash/"),
        22,
    ),
    # Slashes at the end: added, tolerated, and neither.
    Shown(
        (
            "/branch/",
            "/leaf",
            "/tree/<name>/",
            "/tree/<name>/<path:below>/",
            ("/soft/", {"strict_slashes": False}),
            ("/hard", {"strict_slashes": False}),
            ("/soft/<int:n>", {"strict_slashes": False}),
            ("/either/<path:p>/", {"strict_slashes": False}),
        ),
        (
            *("/branch", "/branch/", "/leaf", "/leaf/", "/tree/a", "/tree/a/"),
            *("/tree/a/b", "/tree/a/b/", "/tree/a/b/c/", "/soft", "/soft/", "/hard"),
            *("/hard/", "/soft/1", "/soft/1/", "/soft/x/", "/either/a", "/either/a/b/"),
            *("/branch//", "//leaf", "/tree//a", "/soft//1"),
        ),
        16,
    ),
    # Parts of a segment, choices, lengths and numbers.
    Shown(
        (
            *("/<any(en, de, 'pt-BR'):lang>/x", "/<string(length=2):lang>/x"),
            *("/v<int:major>.<int:minor>", "/<name>.html", "/<a>-<b>-<c>"),
            *("/n/<int(signed=True):n>", "/n/<float(signed=True):n>", "/n/<uuid:u>"),
            *("/m/<int(min=2, max=12):n>", "/m/<name>", "/z/<int(fixed_digits=4):n>"),
        ),
        (
            *("/en/x", "/pt-BR/x", "/fr/x", "/fra/x", "/v1.12", "/v1.x", "/a.html"),
            *("/.html", "/a-b-c", "/a-b-c-d", "/a-b", "/n/-5", "/n/-5.5", "/n/5."),
            *(f"/n/{ID}", "/n/x", "/m/12", "/m/13", "/m/x", "/z/0042", "/z/42"),
        ),
        19,
    ),
    # Converters of the application's own: what they match, and what werkzeug does then.
    Shown(
        (
            *("/a<tail:rest>", "/b/<tail:rest>/", "/<even:n>", "/c/<pair:p>/d"),
            "/n/<named:n>",
        ),
        (
            *("/a", "/a/", "/ab/c", "/b/", "/b/c/", "/b/c", "/12", "/13", "/c/a/1/d"),
            *("/n/a1", "/d"),
        ),
        1,
    ),
    # What belongs together by its endpoint: defaults, aliases, redirects.
    Shown(
        (
            ("/all/", {"endpoint": "all", "defaults": {"page": 1}}),
            ("/all/page/<int:page>", {"endpoint": "all"}),
            ("/old", {"redirect_to": "/all/"}),
            ("/home", {"endpoint": "home"}),
            ("/index.htm", {"endpoint": "home", "alias": True}),
            ("/built", {"build_only": True}),
            ("/elsewhere", {"subdomain": "api"}),
        ),
        (
            *("/all/", "/all/page/1", "/all/page/2", "/old", "/home", "/index.htm"),
            *("/built", "/elsewhere"),
        ),
        3,
    ),
)


class ShownTests(AsWerkzeugTests):
    """The maps above, with as many methods as matter."""

    def test_any_map(self) -> None:
        """They are as werkzeug's, and werkzeug is asked only where it has to be."""
        for shown in SHOWN:
            rules = [(rule, {}) if isinstance(rule, str) else rule for rule in shown[0]]
            methods = ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS"]
            if all("methods" not in options for _, options in rules):
                del methods[1:]
            decided = 0
            table = RouteTable(klein_of(rules))
            for path in shown.asked:
                for method in methods:
                    known = self.assert_alike(table, method, path)
                    decided += known is not None and not isinstance(known, str)
            self.assertEqual(decided, shown.decided, shown.rules)

    def test_any_two_maps(self) -> None:
        """Each half of one is the core's."""
        for shown in SHOWN:
            rules = [(rule, {}) if isinstance(rule, str) else rule for rule in shown[0]]
            routes = Routes(klein_of(rules[::2]), klein_of(rules[1::2]), None)
            sides = Counter()  # type: ignore[var-annotated]
            for path in shown.asked:
                side, _ = routes.find(TextHead("GET", path))
                self.assertEqual(side, routes._matching(path) or "app", path)
                sides[side] += 1
            self.assertGreater(min(sides["app"], sides["core"]), 0, shown.rules)


class OrderTests(SynchronousTestCase):
    """Of equally specific rules the first one wins, whatever their endpoints are."""

    RULES = (
        ("/k", {"endpoint": "0"}),
        ("/<x>/<int:n>", {"endpoint": "1"}),
        ("/<any(a, b):x>/<n>", {"endpoint": "0"}),
        ("/<x>/<float:n>", {"endpoint": "2"}),
    )

    def test_of_one_map(self) -> None:
        table = RouteTable(klein_of(self.RULES))
        for path, endpoint in (("/a/1", "1"), ("/a/x", "0"), ("/a/1.5", "2")):
            found = table.find(b"GET", path)
            assert isinstance(found, tuple)
            self.assertEqual(found[0].endpoint, endpoint)
            self.assertEqual(werkzeugs(table.app, "GET", path)[0], endpoint)

    def test_of_copies(self) -> None:
        """They are copied in the order in which they match."""
        url_map = klein_of(self.RULES).url_map
        self.assertEqual(
            [rule.endpoint for rule in rules_in_order(url_map)], ["0", "1", "2", "0"]
        )
        self.assertEqual(
            [rule.endpoint for rule in url_map.iter_rules()], ["0", "0", "1", "2"]
        )

    def test_of_two_maps(self) -> None:
        """The application's, unless the core's is more specific."""
        app = klein_of([("/<x>", {}), ("/n/<float:x>", {})])
        core = klein_of([("/<any(a, b):x>", {}), ("/<int:x>", {}), ("/n/<int:x>", {})])
        routes = Routes(app, core, None)
        asked = ("/a", "/1", "/n/1", "/n/1.0", "/²")
        sides = [routes.find(TextHead("GET", path))[0] for path in asked]
        self.assertEqual(sides, ["app", "core", "core", "app", "app"])

    def test_of_two_maps_by_weight(self) -> None:
        """Two converters that match the same text may differ in their weight."""
        app, core = klein_of([("/<x>", {})]), klein_of([("/<light:x>", {})])
        self.assertEqual(Routes(app, core, None).find(TextHead("GET", "/a"))[0], "core")


class UncompiledTests(SynchronousTestCase):
    """Maps that only werkzeug can match."""

    def test_maps(self) -> None:
        class Own(Map):
            """Nothing special, in fact."""

        class Odd(BaseConverter):
            regex = "("

        matching_hosts, own, odd, hosts = Klein(), Klein(), Klein(), Klein()
        matching_hosts._url_map = Map(host_matching=True)
        own._url_map = Own()
        odd.url_map.converters["odd"] = Odd
        odd.route("/<odd:x>")(lambda _, **_values: b"")
        hosts.route("/a", subdomain="<name>")(lambda _, **_values: b"")
        for app in (matching_hosts, own, odd, hosts):
            self.assertIsNone(compile_routes(app))
            self.assertIsNone(compile_routes(Klein(), app))
        self.assertIsNotNone(compile_routes(Klein(), Klein()))

    def test_domains(self) -> None:
        """Of several domains only the map's own counts."""
        app = Klein()
        app._url_map = Map(default_subdomain="www")
        for rule, subdomain in (("/a", None), ("/b", ""), ("/c", "www")):
            app.route(rule, endpoint=rule, subdomain=subdomain)(lambda _: b"")
        tree = compile_routes(app)
        assert tree is not None
        found = [isinstance(tree.find(b"GET", path), tuple) for path in ("/a", "/b")]
        self.assertEqual(found, [True, False])
        self.assertIsInstance(tree.find(b"GET", "/c"), tuple)
        app = Klein()
        app._url_map = Map(default_subdomain="www", strict_slashes=False)
        for subdomain in ("api", ""):
            app.route("/", endpoint=subdomain, subdomain=subdomain)(lambda _: b"")
        tree = compile_routes(app)
        assert tree is not None
        self.assertIsInstance(tree.find(b"GET", "/"), NotFound)
