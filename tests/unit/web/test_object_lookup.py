"""What ``--app`` names is found, or the reason why not is plain."""

import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import ApplicationLoadError
from clusterapp.web.object_lookup import find


class FindTests(SynchronousTestCase):
    """Modules are looked for in the working directory first."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.patch(sys, "path", list(sys.path))
        self.addCleanup(self.forget)
        self.patch(Path, "cwd", classmethod(lambda _: self.folder))
        # Two modules of one size, written within a second, would share a .pyc.
        self.patch(sys, "dont_write_bytecode", True)

    def forget(self) -> None:
        """Remove the imported test modules, so that the next test imports them anew."""
        for name in list(sys.modules):
            if name.partition(".")[0] in ("shop", "store"):
                del sys.modules[name]

    def write(self, source: str, name: str = "shop.py") -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(source), "utf-8")

    def find(self, source: str, spec: str = "shop:app") -> tuple[str, Any]:
        self.write(source)
        return find(spec)

    def fails(self, spec: str = "shop:app") -> ApplicationLoadError:
        error: ApplicationLoadError = self.assertRaises(
            ApplicationLoadError, find, spec
        )
        self.assertEqual(error.spec, spec)
        return error

    def test_application(self) -> None:
        kind, app = self.find("from clusterapp import Application\napp = Application()")
        self.assertEqual(kind, "application")
        self.assertEqual(app.static, self.folder / "static")

    def test_klein(self) -> None:
        self.assertEqual(self.find("import klein\napp = klein.Klein()")[0], "klein")

    def test_resource(self) -> None:
        kind, _ = self.find(
            "from twisted.web.resource import Resource\napp = Resource()"
        )
        self.assertEqual(kind, "resource")

    def test_wsgi_function(self) -> None:
        kind, app = self.find("def app(environ, start_response): raise NameError")
        self.assertEqual((kind, app.__name__), ("wsgi", "app"))

    def test_flask(self) -> None:
        """Its instances are called with two arguments."""
        kind, app = self.find("from flask import Flask\napp = Flask(__name__)")
        self.assertEqual((kind, type(app).__name__), ("wsgi", "Flask"))

    def test_wsgi_class(self) -> None:
        """PEP 3333 allows a class, whose instances are the answers."""
        kind, app = self.find(
            """
            class app:
                def __init__(self, environ, start_response): raise NameError
            """
        )
        self.assertEqual((kind, type(app)), ("wsgi", type))

    def test_class_of_resources(self) -> None:
        kind, app = self.find(
            "from twisted.web.resource import Resource\nclass app(Resource): pass"
        )
        self.assertEqual((kind, type(app).__name__), ("resource", "app"))

    def test_factory_with_defaults(self) -> None:
        """It can be called with nothing, so it is not WSGI."""
        kind, app = self.find(
            """
            from flask import Flask
            def app(config=None, testing=False):
                assert config is None
                return Flask(__name__)
            """
        )
        self.assertEqual((kind, type(app).__name__), ("wsgi", "Flask"))

    def test_dotted_names(self) -> None:
        source = """
            from clusterapp import Application
            class site:
                app = Application()
        """
        self.assertEqual(self.find(source, "shop:site.app")[0], "application")
        self.assertEqual(find("shop:site.app.core")[0], "klein")

    def test_dotted_modules(self) -> None:
        self.write("from klein import Klein\napp = Klein()", "store/front.py")
        self.assertEqual(find("store.front:app")[0], "klein")

    def test_working_directory_comes_first(self) -> None:
        self.find("from klein import Klein\napp = Klein()")
        self.assertEqual(sys.path[0], str(self.folder))

    def test_working_directory_is_not_put_there_twice(self) -> None:
        for there in ("", str(self.folder)):
            path = ["first", there]
            self.patch(sys, "path", path)
            self.fails("no_such_module:app")
            self.assertEqual(path, ["first", there])

    def test_spec_of_another_form(self) -> None:
        for spec in ("shop", "shop:", ":app", ""):
            self.assertIn("module:name", self.fails(spec).reason)

    def test_missing_module(self) -> None:
        error = self.fails("no_such_module:app")
        self.assertIn("no module 'no_such_module'", error.reason)
        self.assertIn(str(self.folder), error.reason)
        self.assertEqual(error.traceback, "")

    def test_missing_submodule(self) -> None:
        self.write("", "store/__init__.py")
        error = self.fails("store.front:app")
        self.assertIn("no module 'store.front'", error.reason)
        self.assertIn("no module 'gone'", self.fails("gone.front:app").reason)

    def test_file_instead_of_module(self) -> None:
        for spec in ("shop.py:app", "./shop:app"):
            self.write("")
            self.assertIn("is a file", self.fails(spec).reason)

    def test_missing_import_inside_the_module(self) -> None:
        """It is told apart from the module itself missing."""
        for inner in ("no_such_module", "shop.part"):
            self.write(f"import {inner}")
            error = self.fails()
            self.assertIn("importing 'shop' failed: ModuleNotFound", error.reason)
            self.assertIn(f"'{inner}'", error.reason)
            self.assertIn("shop.py", error.traceback)

    def test_package_that_imports_its_missing_module(self) -> None:
        """The traceback shows where it does, which the name alone would hide."""
        self.write("import store.front", "store/__init__.py")
        self.assertIn("__init__.py", self.fails("store.front:app").traceback)

    def test_traceback_begins_with_the_users_code(self) -> None:
        self.write("def broken():\n    1 / 0\nbroken()")
        lines = self.fails().traceback.splitlines()
        self.assertEqual(lines[0], "Traceback (most recent call last):")
        self.assertIn("shop.py", lines[1])
        self.assertEqual(lines[-1], "ZeroDivisionError: division by zero")
        self.assertNotIn("importlib", "".join(lines))
        self.assertNotIn("finding.py", "".join(lines))

    def test_reason_of_a_noted_error(self) -> None:
        """It is the error; the notes are in the traceback."""
        self.write("error = ValueError('no')\nerror.add_note('see x')\nraise error")
        error = self.fails()
        self.assertTrue(error.reason.endswith("failed: ValueError: no"), error.reason)
        self.assertIn("see x", error.traceback)

    def test_syntax_error(self) -> None:
        self.write("app = (")
        error = self.fails()
        self.assertIn("SyntaxError", error.reason)
        self.assertIn("shop.py", error.traceback)
        self.assertNotIn("importlib", error.traceback)

    def test_module_that_exits(self) -> None:
        """A script ends the interpreter; the master must live to say so."""
        self.write("import sys\nsys.exit('usage: shop')")
        self.assertIn("SystemExit: usage: shop", self.fails().reason)

    def test_interrupt_is_the_operators(self) -> None:
        self.write("raise KeyboardInterrupt")
        self.assertRaises(KeyboardInterrupt, find, "shop:app")

    def test_missing_name(self) -> None:
        self.write("application = apple = site = 1")
        error = self.fails()
        self.assertIn("module shop has no 'app'; did you mean 'app", error.reason)
        self.assertIn("'application'?", error.reason)
        self.assertNotIn("site", error.reason)

    def test_missing_part_of_a_name(self) -> None:
        self.write("from clusterapp import Application\napp = Application()")
        self.assertIn("did you mean 'core'?", self.fails("shop:app.cora").reason)

    def test_nothing_near(self) -> None:
        self.write("")
        self.assertTrue(self.fails("shop:zzz").reason.endswith("has no 'zzz'"))

    def test_attribute_that_fails(self) -> None:
        self.write("def __getattr__(name): raise RuntimeError(name)")
        error = self.fails()
        self.assertIn("asking for 'app' failed: RuntimeError: app", error.reason)
        self.assertIn("shop.py", error.traceback)

    def test_factory_that_fails(self) -> None:
        self.write("def app():\n    raise RuntimeError('no database')")
        error = self.fails()
        self.assertIn("calling it failed: RuntimeError: no database", error.reason)
        self.assertIn("shop.py", error.traceback.splitlines()[1])

    def test_factory_of_something_else(self) -> None:
        for product, name in (
            ("None", "NoneType"),
            ("Site", "class Site"),
            ("lambda: 1", "function"),
        ):
            self.write(f"class Site: pass\ndef app():\n    return {product}")
            self.assertIn(name, self.fails().reason)
            self.forget()

    def test_coroutine_function(self) -> None:
        self.write("async def app(): pass")
        self.assertIn("coroutine", self.fails().reason)

    def test_other_kinds(self) -> None:
        for value, name in (
            ("42", "of type int"),
            ("'text'", "of type str"),
            ("lambda scope, receive, send: 1", "(scope, receive, send)"),
            ("max", "the function max,"),
            ("type", "class type"),
        ):
            self.write(f"app = {value}")
            reason = self.fails().reason
            self.assertIn(name, reason)
            self.assertIn("WSGI callable (two arguments)", reason)
            self.forget()
