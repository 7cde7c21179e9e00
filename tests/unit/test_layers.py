"""The shape of the project, enforced: which part may import which."""

import ast
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "clusterapp"
MODULES = sorted(PACKAGE.rglob("*.py"))

LAYERS = {
    "errors": 0,
    "future_note": 0,
    "guards": 0,
    "interfaces": 0,
    "printable": 0,
    "private_names": 0,
    "wording": 0,
    "system": 1,
    "tracebacks": 1,
    "lifecycle": 1,
    "rollout_order": 1,
    "dispatch": 1,
    "operations": 1,
    "settings": 2,
    "channel": 2,
    "listening": 3,
    "spawning": 3,
    "http": 3,
    "logs": 3,
    "systemd": 3,
    "terminal": 3,
    "web": 4,
    "master": 5,
    "worker": 5,
    "control": 5,
    "demo": 5,
    "tap": 6,
}
#: The rooms of a part, where they are layers themselves. Modules that lie beside the
#: rooms have a layer of their own.
ROOMS = {
    "http": {
        "lazy": 0,
        "connection_limits": 0,
        "websocket": 0,
        "syntax": 1,
        "access_log": 2,
        "tls": 2,
        "upstream": 2,
        "server": 3,
        "connection": 4,
        "exchange": 4,
        "transports": 5,
        "application": 5,
        "klein": 6,
        "site": 6,
    },
}
#: Parts that must not do anything, nor wait for anything.
PURE = (
    "errors",
    "printable",
    "settings",
    "lifecycle",
    "rollout_order",
    "dispatch",
    "operations",
    "wording",
)
#: A class that is one thing may be long; a function has to be read at once.
MOST_LINES = 500
MOST_LINES_OF_FUNCTION = 40
#: Functions that are longer, and why.
LONG_FUNCTIONS = {
    "control/arguments.py _add_own": "a list of arguments, one after the other",
    "lifecycle.py _build": "the whole table of transitions",
    "spawning/execute.py execute": "the order in which a process gets its parts",
    "tap.py __init__": "the composition root",
}

#: What must not be loaded before a program has chosen its reactor.
HEAVY = ("twisted.internet.reactor", "klein", "treq", "twisted.web")


def part_of(path: Path) -> str:
    """Return which part of the package a module belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    """Return the dotted names that code imports, wherever in it that stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide what is imported"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def loaded_at_once(tree: ast.Module) -> Iterator[str]:
    """Return the dotted names that are imported when the module itself is."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imported(node)
        pending.extend(ast.iter_child_nodes(node))


def parse(path: Path) -> ast.Module:
    """Read a module's code."""
    return ast.parse(path.read_text("utf-8"), str(path))


def module_of(path: Path) -> str:
    """Return the dotted name of a module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
        ".__init__"
    )


NAMES = frozenset(map(module_of, MODULES))


def modules_in(path: Path) -> Iterator[str]:
    """Return the modules of this package that a module imports."""
    for name in imported(parse(path)):
        found = name if name in NAMES else name.rpartition(".")[0]
        if found in NAMES and found not in {module_of(path), "clusterapp"}:
            yield found


def lines_of_body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines a function has without its signature and docstring."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


class LayerTests(SynchronousTestCase):
    """The layers of the package."""

    def test_every_part_has_a_layer(self) -> None:
        """A new part is put in its place before it is used."""
        parts = {part_of(path) for path in MODULES} - {"__init__"}
        self.assertEqual(parts, set(LAYERS))

    def test_every_package_is_installed(self) -> None:
        """setup.cfg lists each folder, and says what it is for."""
        setup = ConfigParser()
        setup.read(ROOT / "setup.cfg", "utf-8")
        listed = set(setup["options"]["packages"].split()) - {"twisted.plugins"}
        found = {
            ".".join(path.parent.relative_to(ROOT).parts)
            for path in MODULES
            if path.name == "__init__.py"
        }
        self.assertEqual(found, listed)
        for path in MODULES:
            if path.name == "__init__.py":
                self.assertIsNotNone(ast.get_docstring(parse(path)), path)

    def test_imports_point_down(self) -> None:
        """A module imports its own part and lower layers; never sideways, nor up."""
        for path in MODULES:
            part = part_of(path)
            if part == "__init__":
                continue  # it hands out names from every layer, when asked for them
            for name in imported(parse(path)):
                package, _, rest = name.partition(".")
                other = rest.partition(".")[0]
                if package == "clusterapp" and other in LAYERS:
                    self.assertTrue(
                        other == part or LAYERS[other] < LAYERS[part],
                        f"{path.relative_to(ROOT)} ({part}) imports {name}",
                    )

    def test_rooms_point_down(self) -> None:
        """So do the rooms of a part; types count as well."""
        for part, layers in ROOMS.items():
            found = set()
            for path in (PACKAGE / part).rglob("*.py"):
                room = path.relative_to(PACKAGE / part).parts[0].removesuffix(".py")
                if room == "__init__":
                    continue
                found.add(room)
                for name in imported(parse(path)):
                    words = name.split(".")
                    if words[:2] != ["clusterapp", part] or words[2] not in layers:
                        continue
                    self.assertTrue(
                        words[2] == room or layers[words[2]] < layers[room],
                        f"{path.relative_to(ROOT)} imports {name}",
                    )
            self.assertEqual(found, set(layers))

    def test_no_circles(self) -> None:
        """No module is imported by what it imports, for types neither."""
        imports = {module_of(path): set(modules_in(path)) for path in MODULES}
        # It hands out names of other modules when it is asked for them.
        del imports["clusterapp"]
        while leaves := [name for name, others in imports.items() if not others]:
            for leaf in leaves:
                del imports[leaf]
            for others in imports.values():
                others.difference_update(leaves)
        self.assertEqual(imports, {})

    def test_reactor_is_never_imported_at_once(self) -> None:
        """Nobody installs a reactor by importing a module of ours."""
        for path in MODULES:
            self.assertNotIn(
                "twisted.internet.reactor",
                set(loaded_at_once(parse(path))),
                path.relative_to(ROOT),
            )

    def test_reactor_is_asked_for_where_a_program_begins(self) -> None:
        """All other modules are passed the reactor."""
        askers = {
            str(path.relative_to(PACKAGE))
            for path in MODULES
            if "twisted.internet.reactor" in imported(parse(path))
        }
        self.assertEqual(
            askers, {"master/service.py", "tap.py", "worker/child_program.py"}
        )

    def test_pure_parts_need_no_event_loop(self) -> None:
        """Settings, lifecycles and policies import types of Twisted at most."""
        for path in MODULES:
            if part_of(path) not in PURE:
                continue
            for name in imported(parse(path)):
                self.assertNotIn(name.partition(".")[0], {"asyncio", "socket"}, path)

    def test_no_name_for_two_things(self) -> None:
        """A module's name, and a class's, lead to one place."""
        names = [path.stem for path in MODULES if not path.stem.startswith("__")]
        classes = [
            node.name
            for path in MODULES
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, ast.ClassDef)
        ]
        for found in (names, classes):
            twice = [name for name, count in Counter(found).items() if count > 1]
            self.assertEqual(twice, [])

    def test_files_are_short(self) -> None:
        for path in MODULES:
            lines = len(path.read_text("utf-8").splitlines())
            self.assertLess(lines, MOST_LINES, path.relative_to(ROOT))

    def test_functions_are_short(self) -> None:
        """Docstrings and signatures do not count; exceptions have reasons."""
        found = {
            f"{path.relative_to(PACKAGE)} {node.name}"
            for path in MODULES
            for node in ast.walk(parse(path))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and lines_of_body(node) > MOST_LINES_OF_FUNCTION
        }
        self.assertEqual(found, set(LONG_FUNCTIONS))


class LazyTests(SynchronousTestCase):
    """What a process may import before it has chosen its reactor."""

    def loaded_by(self, code: str) -> set[str]:
        """Run code in a process of its own; return what heavy it has loaded."""
        report = f"import sys; print(*(set({HEAVY!r}) & sys.modules.keys()))"
        done = subprocess.run(
            [sys.executable, "-c", f"{code}\n{report}"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
            text=True,
        )
        return set(done.stdout.split())

    def test_package_and_command_are_light(self) -> None:
        """So they install no reactor, and do not slow other commands down."""
        for module in (
            "clusterapp",
            "clusterapp.tap",
            "clusterapp.settings.command_line",
            "twisted.plugins.clusterapp_plugin",
        ):
            self.assertEqual(self.loaded_by(f"import {module}"), set(), module)

    def test_parsing_a_command_line_is_light(self) -> None:
        """``twistd clusterapp --help`` is not kept waiting either."""
        code = "from clusterapp.tap import Options; Options({}).parseOptions([])"
        self.assertEqual(self.loaded_by(code), set())

    def test_child_reads_its_bootstrap_lightly(self) -> None:
        """The child learns what reactor it needs before it loads one."""
        self.assertEqual(self.loaded_by("import clusterapp.worker.__main__"), set())

    def test_settings_are_light(self) -> None:
        """A program may make its settings and choose its reactor afterwards."""
        self.assertEqual(
            self.loaded_by("from clusterapp import Settings; Settings()"), set()
        )

    def test_public_names(self) -> None:
        """Every name that the package announces is there."""
        code = "import clusterapp\nfor n in clusterapp.__all__: getattr(clusterapp, n)"
        self.assertEqual(self.loaded_by(code), set(HEAVY))

    def test_other_names(self) -> None:
        """A misspelt one fails as in any other module."""
        import clusterapp  # noqa: PLC0415 - the package is what is tested

        with self.assertRaisesRegex(AttributeError, "'clusterapp' has no .* 'Aplic'"):
            clusterapp.Aplic  # noqa: B018
