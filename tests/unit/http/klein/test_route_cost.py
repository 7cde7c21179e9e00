"""What a search in the compiled routes costs, by the steps that it takes."""

import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import product
from types import FrameType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from werkzeug.routing import Map

from clusterapp.http.klein import route_tree
from clusterapp.http.klein.klein_routes import compile_routes
from clusterapp.http.klein.route_tree import RouteTree
from tests.unit.http.klein.route_maps import klein_of, rule_of
from tests.unit.test_bounds_patterns import is_linear


def pumped(beginning: str, pump: str, length: int) -> str:
    """Write a path of about a length."""
    return beginning + pump * (length // len(pump))


def steps(tree: RouteTree, path: str) -> int:
    """Count how many nodes and edges a search looks at."""
    count = 0

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        code = frame.f_code
        if event == "call" and code.co_filename == route_tree.__file__:
            count += code.co_name == "first"

    sys.setprofile(profile)
    try:
        tree.find(b"GET", path)
    finally:
        sys.setprofile(None)
    return count


def states(url_map: Map) -> int:
    """Count the states of a map."""

    def below(state: Any) -> int:
        nodes = [*state.static.values(), *(node for _, node in state.dynamic)]
        return 1 + sum(map(below, nodes))

    return below(url_map._matcher._root)


def tree_of(rules: Iterable[str]) -> tuple[RouteTree, int]:
    """Compile rules; give the number of werkzeug's states as well."""
    app = klein_of((rule, {}) for rule in rules)
    tree = compile_routes(app)
    assert tree is not None
    return tree, states(app.url_map)


class CostTests(SynchronousTestCase):
    """How many steps a search takes."""

    def test_many_rules(self) -> None:
        """Five hundred rules take as many steps as five."""

        def rules(number: int) -> Iterator[str]:
            for n in range(number):
                yield from (f"/c{n}", f"/a{n}/<x>", f"/i{n}/<int:x>")
                yield from (f"/d{n}/<x>/e/<y>", f"/f{n}/<path:rest>")

        (few, _), (many, _) = tree_of(rules(1)), tree_of(rules(100))
        for path, most in (
            ("/c0", 0),
            ("/a0/x", 4),
            ("/i0/1", 4),
            ("/i0/x", 4),
            ("/d0/x/e/y", 7),
            ("/f0/a/b/c", 4),
            ("/none", 1),
            ("/none/1", 1),
        ):
            self.assertEqual(steps(few, path), steps(many, path), path)
            self.assertLessEqual(steps(many, path), most, path)

    def test_every_way_is_gone_once(self) -> None:
        """Where all alternatives match but for the end, each state is visited once."""
        kinds = (
            "<?>",
            "<int:?>",
            "1<?>",
            "<any('11', '12'):?>",
            "<string(length=2):?>",
        )
        for depth in (1, 2, 3, 4):
            rules = [
                rule_of([*segments, "end"], "")
                for segments in product(kinds, repeat=depth)
            ]
            tree, most = tree_of(rules)
            path = "/11" * depth + "/"
            for end in ("end", "", "x", "x/end"):
                # Each state is a node and, but for the end, behind one edge.
                self.assertLessEqual(steps(tree, path + end), 2 * most)

    def test_long_paths(self) -> None:
        """The number of segments does not count."""
        tree, most = tree_of(
            (
                *("/<path:a>", "/<path:a>/x", "/<a>/<path:b>/", "/<a>/<b>/<path:c>/y"),
                *("/a/<path:b>/z", "/a/a/<path:b>/z", "/<a>/a/a/<path:b>/z"),
            )
        )
        for path in ("/a" * 10_000, "/a" * 10_000 + "/", "/" * 10_000, "/a/" * 5_000):
            self.assertLessEqual(steps(tree, path), 2 * most)

    def test_long_paths_take_linear_time(self) -> None:
        """By the clock as well, since each step may look at all of a path."""
        tree, _ = tree_of(("/<path:a>/x", "/<a>/<path:b>/", "/a/<path:b>/z", "/<a>"))
        for pump in ("/a", "/x", "/", "a", "/\n", "/a/x"):
            make = partial(pumped, "/a", pump)
            self.assertTrue(is_linear(partial(tree.find, b"GET"), make), pump)
