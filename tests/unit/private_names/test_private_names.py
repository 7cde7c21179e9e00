"""Private names of other projects: where they are used, and what a check does."""

import ast
import socket
from collections.abc import Iterator
from importlib import import_module

from klein import Klein
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase
from werkzeug.exceptions import NotFound

from clusterapp.channel.log_pipe.log_events import ChildEvent
from clusterapp.http.klein import klein_routes
from clusterapp.http.klein.route_tree import Route
from clusterapp.master.workers.child_log import ChildLogWriter
from clusterapp.private_names import check, cpython, reactors, web
from clusterapp.private_names.check import NAMESPACE, PrivateName
from clusterapp.web.routing import Routes
from tests.unit.fakes import Log
from tests.unit.test_layers import MODULES, PACKAGE, parse
from tests.unit.web.sides import side_of

#: Names that are documented, although they begin with an underscore.
DOCUMENTED = {
    "_typeshed",
    "asyncio._get_running_loop",
    "os._exit",
    "sys._current_frames",
    "sys._getframe",
}
#: Documented methods of named tuples, of ours.
OF_NAMED_TUPLES = {"_asdict", "_replace"}

#: Names of ours that another object has, by module, and why they are used there.
OWN = {
    "lifecycle.py": "the inputs of a state machine that only this module gives",
    "listening/reuseport.py": "a member of the same class",
}

#: Names that classes of ours share with classes of others from which they inherit.
SHARED = {
    ("http.application.request", "_encoder"): "set and read by our methods only",
    ("http.application.request", "_disconnected"): "ours; applications read it",
    ("http.application.routable", "_disconnected"): "as above",
    ("http.application.response_body", "_disconnected"): "as above",
    ("http.application.response_body", "_encoder"): "set and read by our methods only",
    ("http.application.response_body", "_inFakeHead"): "as above",
    ("http.application.request", "_inFakeHead"): "as above",
    ("http.application.request_failure", "_encoder"): "as above",
    ("http.application.request_failure", "_inFakeHead"): "as above",
    ("http.application.form_parser", "_create_segment"): "documented for subclasses",
}


def is_private(name: str) -> bool:
    """Return whether a name begins with an underscore, and is not a special one."""
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def private_uses(tree: ast.AST) -> Iterator[str]:
    """Return the private names of other objects and modules that code uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            owner = ast.unparse(node.value)
            if owner not in {"self", "cls", "super()"}:
                yield f"{owner}.{node.attr}"
        elif isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".")
            yield from filter(is_private, parts)
            yield from (each.name for each in node.names if is_private(each.name))
        elif isinstance(node, ast.Import):
            for each in node.names:
                yield from filter(is_private, each.name.split("."))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {
            *("getattr", "setattr", "hasattr", "delattr", "attrgetter", "methodcaller"),
        }:
            texts = (each for each in node.args if isinstance(each, ast.Constant))
            yield from filter(is_private, (str(text.value) for text in texts))


def own_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Return the private names that each class of a module defines, sets or reads."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for inner in ast.walk(node):
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                name = inner.name
            elif isinstance(inner, ast.Attribute):
                if ast.unparse(inner.value) not in {"self", "cls", "super()"}:
                    continue
                name = inner.attr
            elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                name = inner.id
            else:
                continue
            if is_private(name):
                yield node.name, name


def names_of_base(base: type) -> set[str]:
    """Return the private names that a class of another project has, or sets."""
    found = {name for name in vars(base) if is_private(name)}
    for each in vars(base).values():
        code = getattr(each, "__code__", None)
        found |= {name for name in getattr(code, "co_names", ()) if is_private(name)}
    return found


class UseTests(SynchronousTestCase):
    """Nothing but the package of private names uses any."""

    def test_of_objects_and_modules(self) -> None:
        """What else has an underscore is documented, or our own."""
        for path in MODULES:
            place = str(path.relative_to(PACKAGE))
            if place.startswith("private_names/") or place in OWN:
                continue
            found = {
                name
                for name in private_uses(parse(path))
                if name.rpartition(".")[2] not in OF_NAMED_TUPLES
            }
            self.assertLessEqual(found, DOCUMENTED, place)

    def test_of_base_classes(self) -> None:
        """Nothing of ours overrides or reads a private name of a class of others."""
        found = set()
        for path in MODULES:
            module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
            if path.name == "__main__.py" or module.startswith("private_names."):
                continue
            defined = list(own_names(parse(path)))
            loaded = import_module(f"clusterapp.{module.removesuffix('.__init__')}")
            for kind, name in defined:
                found |= {
                    (module, name)
                    for base in getattr(getattr(loaded, kind, None), "__mro__", ())
                    if not base.__module__.startswith(("clusterapp", "builtins"))
                    and name in names_of_base(base)
                }
        self.assertEqual(found, set(SHARED))

    def test_uses_are_found(self) -> None:
        for code in (
            *("a._b", "f()._b = 1", "from a import _b", "from a._b import c"),
            *("import a._b", "getattr(a, '_b')", "attrgetter('_b')"),
        ):
            self.assertTrue(list(private_uses(ast.parse(code))), code)
        for code in ("self._b", "a.__name__", "super()._b", "_a.b", "getattr(a, 'b')"):
            self.assertEqual(list(private_uses(ast.parse(code))), [], code)

    def test_documented(self) -> None:
        """Each name has its line in the documentation."""
        text = (PACKAGE.parent / "docs" / "dependencies.md").read_text("utf-8")
        for module in (cpython, reactors, web):
            for value in vars(module).values():
                if isinstance(value, PrivateName):
                    row = f"| {value.project} | {value.name} | {value.lost} |\n"
                    self.assertTrue(row in text, row)


class CheckTests(SynchronousTestCase):
    """What a name gives, and what is logged."""

    def setUp(self) -> None:
        self.log = Log(self)
        self.patch(check, "_warned", set())

    def texts(self) -> list[str]:
        return [formatEvent(each) for each in self.log.events]

    def test_found(self) -> None:
        name = PrivateName("Twisted", "a._b", "nothing works", lambda: 0)
        self.assertEqual((name.value, name.found), (0, True))
        self.assertEqual(self.texts(), [])

    def test_missing(self) -> None:
        """One warning, whatever the check raises, and however often it is asked for."""
        for library, version in (("Twisted", r"\d+\.\d+\.\d+"), ("Python", r"3\.\d+")):

            def fail() -> int:
                raise ZeroDivisionError

            name = PrivateName(library, "a._b", "nothing works", fail)
            self.assertFalse(name.found)
            self.assertIsNone(name.value)
            name.warn()
            self.assertRegex(
                self.texts()[-1],
                rf"^{library} {version}.*: the private name a\._b is missing or has"
                " changed: nothing works$",
            )
        self.assertEqual(len(self.texts()), 2)

    def test_unknown_version(self) -> None:
        PrivateName("no-such-library", "a._b", "all", lambda: None).warn()
        self.assertIn("(of unknown version)", self.texts()[0])

    def test_master_logs_what_its_children_find_once(self) -> None:
        for slot in range(3):
            ChildLogWriter(f"worker {slot}", slot, 1).logged(
                ChildEvent(
                    time=1, level="warn", namespace=NAMESPACE, text="Twisted 1: gone"
                )
            )
        self.assertEqual(self.texts(), ["[worker 0 generation 1] Twisted 1: gone"])

    def test_all_are_found(self) -> None:
        """A failure here is a warning to operators: adapt the check, and its user."""
        for module in (cpython, reactors, web):
            for name, value in vars(module).items():
                if isinstance(value, PrivateName) and value is not reactors.EVENT_LOOP:
                    self.assertTrue(value.found, name)
        self.assertEqual(self.texts(), [])


class FallbackTests(SynchronousTestCase):
    """The public ways give the same."""

    def test_accept(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        client = socket.create_connection(listening.getsockname())
        self.addCleanup(client.close)
        number, address = cpython.accept_slowly(listening)
        with socket.socket(fileno=number) as accepted:
            self.assertEqual(accepted.getpeername(), client.getsockname())
        self.assertEqual(address, client.getsockname())

    def test_routes(self) -> None:
        """Rules that are added later are found, with or without compiled ones."""
        self.patch(klein_routes, "_state_of", klein_routes._count_rules)
        self.patch(web.REMAP_OF, "value", None)
        self.check_routes(is_compiled=True)
        self.patch(web.CONVERTERS_OF, "value", None)
        self.check_routes(is_compiled=True)
        self.patch(web.MATCHER_ROOT, "value", None)
        self.check_routes(is_compiled=False)

    def check_routes(self, *, is_compiled: bool) -> None:
        """Find routes, before and after rules are added."""
        app = Klein()

        def handle(request: object, **_: str) -> bytes:
            return b""

        app.route("/a", endpoint="a")(handle)
        app.route("/b/<name>", endpoint="b")(handle)
        table = klein_routes.RouteTable(app)
        routes = Routes(Klein(), app, None)
        self.assertEqual(table.find(b"GET", "/a"), (Route("a", 1, False), {}))
        self.assertIs(table._tree is not None, is_compiled)
        named = Route("b", 2, streamed=False), {"name": "c"}
        self.assertEqual(table.find(b"GET", "/b/c"), named)
        self.assertIsInstance(table.find(b"GET", "/d"), NotFound)
        sides = [side_of(routes, path) for path in (b"/a", b"/b/c", b"/d")]
        self.assertEqual(sides, ["core", "core", "app"])
        app.route("/d", endpoint="d")(handle)
        self.assertEqual(table.find(b"GET", "/d"), (Route("d", 1, False), {}))
        self.assertEqual(side_of(routes, b"/d"), "core")
