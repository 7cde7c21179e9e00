"""An application is loaded with its core, its routes and its hooks."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from klein import Klein
from treq.client import HTTPClient
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent
from twisted.web.resource import Resource

from clusterapp.channel.bootstrap import DEMO
from clusterapp.errors import ApplicationLoadError
from clusterapp.interfaces import Role, StaticFolder
from clusterapp.web.application import Application, CoreApplication
from clusterapp.web.loading import LoadedApplication, load
from clusterapp.web.static.static_files import StaticOptions
from tests.unit.web.sides import side_of


class HereReactor:
    """A reactor whose threads are the test's."""

    def getThreadPool(self) -> "HereReactor":
        return self

    def callInThread(self, call: Callable[[], None]) -> None:
        call()

    def callFromThread(self, call: Callable[..., None], *args: Any) -> None:
        call(*args)


@dataclass(frozen=True)
class TheCore:
    """The cluster, as its core sees it."""

    role: Role = "core"
    slot: int = -1
    generation: int = 1
    core: HTTPClient = field(default_factory=lambda: HTTPClient(Agent(Clock())))


HERE: Any = HereReactor()

#: Ways to spell a path below "/a b/", or not quite.
TARGETS = (
    b"/a%20b/x",
    b"/a b/x",
    b"/%61%20b/",
    b"/a%20b",
    b"/a%20b?/",
    b"/a%20b%2fx",
    b"//a%20b/x",
    b"/./a%20b/x",
    b"http://h/a%20b/x?y",
    b"HTTP://h/a b/",
    b"http://h",
    b"http://a b/x",
    b"/x?/a b/",
    b"/%",
    b"*",
    b"",
)


class LoadTests(SynchronousTestCase):
    """Applications of every kind, in a module that the test fills."""

    def setUp(self) -> None:
        self.module = ModuleType("loaded_in_test")
        self.patch(sys, "path", list(sys.path))
        sys.modules["loaded_in_test"] = self.module
        self.addCleanup(sys.modules.pop, "loaded_in_test")

    def load(self, app: Any, core: Any = None) -> LoadedApplication:
        vars(self.module).update(app=app, core=core)
        core_spec = None if core is None else "loaded_in_test:core"
        return load("loaded_in_test:app", core_spec, HERE)

    def fails(self, app: Any, core: Any = None) -> ApplicationLoadError:
        error: ApplicationLoadError = self.assertRaises(
            ApplicationLoadError, self.load, app, core
        )
        return error

    def get(self, resource: Any, path: str) -> tuple[int, str]:
        http: Any = StubTreq(resource)
        response = self.successResultOf(http.get(f"http://a.invalid{path}"))
        return response.code, self.successResultOf(http.text_content(response))

    def routed(self, app: Klein, rule: str, answer: str) -> Any:
        app.route(rule, endpoint=answer)(lambda _: answer)
        return app

    def test_application(self) -> None:
        app = self.routed(Application(), "/here", "worker's")
        self.routed(app.core, "/there", "core's")
        loaded = self.load(app)
        self.assertEqual(loaded.kind, "application")
        self.assertEqual(self.get(loaded.resource, "/here"), (200, "worker's"))
        self.assertEqual(self.get(loaded.resource, "/there")[0], 404)
        self.assertEqual(self.get(loaded.core_resource, "/there"), (200, "core's"))
        self.assertEqual(side_of(loaded.routes, b"/here"), "app")
        self.assertEqual(side_of(loaded.routes, b"/there"), "core")

    def test_static_files(self) -> None:
        """They are served from the folder if it is there."""
        folder = Path(self.mktemp()).absolute()
        app = Application(static=folder, static_url="/files/")
        app.route("/<path:any>")(lambda _, **_values: "worker's")
        self.assertEqual(side_of(self.load(app).routes, b"/files/x"), "app")
        self.assertEqual(self.get(self.load(app).resource, "/files/x")[1], "worker's")
        self.assertIsNone(self.load(app).answer)
        folder.mkdir()
        (folder / "a.txt").write_bytes(b"here")
        loaded = self.load(app)
        self.assertEqual(side_of(loaded.routes, b"/files/x"), "static")
        real = str(folder.resolve())
        self.assertEqual(loaded.static, StaticFolder("/files/", real))
        assert loaded.answer is not None
        found = loaded.answer(b"GET", b"/files/a.txt", [])
        assert found is not None
        self.assertEqual(found.parts, (b"here",))
        self.assertIsNone(loaded.answer(b"GET", b"/other", []))
        self.assertEqual(self.get(loaded.resource, "/other")[1], "worker's")

    def test_static_options(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "a.txt").write_bytes(b"here")
        vars(self.module).update(app=Application(static=folder))
        options = StaticOptions(max_age=7)
        loaded = load("loaded_in_test:app", None, HERE, options)
        assert loaded.answer is not None
        found = loaded.answer(b"GET", b"/static/a.txt", [])
        assert found is not None
        self.assertIn(b"Cache-Control: max-age=7\r\n", found.head)

    def test_one_side_for_all(self) -> None:
        """What is answered as static is what the routes call static."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        loaded = self.load(Application(static=folder, static_url="/a b/"))
        assert loaded.answer is not None
        for target in TARGETS:
            is_static = side_of(loaded.routes, target.partition(b"?")[0]) == "static"
            answered = loaded.answer(b"GET", target, []) is not None
            self.assertEqual(answered, is_static, target)

    def templates(self) -> tuple[Path, Path, Application]:
        """Make an application with one page; return its folder and another one."""
        pages, cache = (Path(self.mktemp()).absolute() for _ in range(2))
        for folder in (pages, cache):
            folder.mkdir(mode=0o700)
        (pages / "page.html").write_text("old")
        return pages, cache, Application(templates=pages)

    def test_templates_are_shared(self) -> None:
        pages, cache, app = self.templates()
        self.load(app).set_up_templates(reload=False, cache=str(cache))
        app.render("page.html")
        (pages / "page.html").write_text("edited")
        self.assertEqual(app.render("page.html"), "old")
        self.assertEqual(len(list(cache.iterdir())), 1)

    def test_templates_are_watched(self) -> None:
        """Then they are not shared: an edited filter would not show."""
        pages, cache, app = self.templates()
        self.load(app).set_up_templates(reload=True, cache=str(cache))
        app.render("page.html")
        (pages / "page.html").write_text("edited")
        os.utime(pages / "page.html", (1, 1))
        self.assertEqual(app.render("page.html"), "edited")
        self.assertEqual(list(cache.iterdir()), [])

    def test_templates_without_a_cache(self) -> None:
        _, _, app = self.templates()
        self.load(app).set_up_templates(reload=False, cache=None)
        self.assertEqual(app.render("page.html"), "old")

    def test_application_without_templates(self) -> None:
        loaded = self.load(Klein())
        self.assertIsNone(loaded.templates)
        loaded.set_up_templates(reload=True, cache="/nowhere")
        page = loaded.failure_page(Failure(ValueError("no")))
        self.assertIn(b"ValueError", page)

    def test_failure_page(self) -> None:
        """It knows the application's templates."""
        pages, _, app = self.templates()
        (pages / "page.html").write_text("{{ x.y.z }}")
        failure = self.failureResultOf(maybeDeferred(app.render, "page.html", x={}))
        page = self.load(app).failure_page(failure)
        self.assertIn(b"<h2>page.html, line 1</h2>", page)

    def test_core_with_nothing_to_do(self) -> None:
        self.assertIsNone(self.load(Application()).core_resource)

    def test_core_with_hooks_alone(self) -> None:
        """It may do something by itself, once in the whole cluster."""
        app = Application()
        app.core.on_start(lambda: None)
        self.assertIsNotNone(self.load(app).core_resource)

    def test_hooks(self) -> None:
        app, did = Application(), list[str]()
        app.on_start(lambda: did.append("worker"))
        app.core.on_start(lambda: did.append("core"))
        loaded = self.load(app)
        for hooks in (loaded.hooks, loaded.core_hooks):
            self.successResultOf(Deferred.fromCoroutine(hooks.run_start()))
        self.assertEqual(did, ["worker", "core"])

    def test_cluster(self) -> None:
        app, cluster = Application(), TheCore()
        self.load(app).bind(cluster)
        self.assertIs(app.cluster, cluster)
        self.assertIs(app.core.cluster, cluster)

    def test_instance_of_a_class(self) -> None:
        """Hooks and cluster are those of an application in a class body."""
        did: list[object] = []

        class Shop:
            app = Application()

            @app.on_start
            def start(self) -> None:
                did.append(self)

        shop, cluster = Shop(), TheCore()
        loaded = self.load(shop.app)
        loaded.bind(cluster)
        self.successResultOf(Deferred.fromCoroutine(loaded.hooks.run_start()))
        self.assertEqual(did, [shop])
        self.assertIs(shop.app.cluster, cluster)

    def test_klein(self) -> None:
        loaded = self.load(self.routed(Klein(), "/here", "worker's"))
        self.assertEqual(loaded.kind, "klein")
        self.assertEqual(self.get(loaded.resource, "/here"), (200, "worker's"))
        self.assertIsNone(loaded.core_resource)
        self.assertFalse(loaded.hooks)
        loaded.bind(TheCore())

    def test_klein_with_a_core(self) -> None:
        app = self.routed(Klein(), "/here", "worker's")
        loaded = self.load(app, self.routed(Klein(), "/there", "core's"))
        self.assertEqual(self.get(loaded.core_resource, "/there"), (200, "core's"))
        self.assertEqual(side_of(loaded.routes, b"/there"), "core")

    def test_core_application_stands_alone(self) -> None:
        """With it, a Klein of the worker's side has a core with hooks."""
        core = CoreApplication()
        core.on_start(lambda: None)
        loaded = self.load(Klein(), core)
        self.assertTrue(loaded.core_hooks)
        cluster = TheCore()
        loaded.bind(cluster)
        self.assertIs(core.cluster, cluster)

    def test_resource(self) -> None:
        loaded = self.load(Resource, lambda: self.routed(Klein(), "/x", "core's"))
        self.assertEqual(loaded.kind, "resource")
        self.assertEqual(self.get(loaded.core_resource, "/x"), (200, "core's"))
        self.assertEqual(side_of(loaded.routes, b"/x"), "core")
        self.assertEqual(side_of(loaded.routes, b"/y"), "app")

    def test_wsgi(self) -> None:
        def app(environ: dict[str, str], start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            return [environ["PATH_INFO"].encode()]

        loaded = self.load(app)
        self.assertEqual(loaded.kind, "wsgi")
        self.assertEqual(self.get(loaded.resource, "/a/b"), (200, "/a/b"))

    def test_no_application_is_the_demo_site(self) -> None:
        sys.modules["demo_in_test"] = demo = ModuleType("demo_in_test")
        self.addCleanup(sys.modules.pop, "demo_in_test")
        vars(demo)["app"] = self.routed(Application(), "/", "demo")
        self.patch(sys.modules[load.__module__], "DEMO", "demo_in_test:app")
        loaded = load(None, None, HERE)
        self.assertEqual(self.get(loaded.resource, "/"), (200, "demo"))
        self.assertEqual(DEMO, "clusterapp.demo:app")

    def test_application_has_its_own_core(self) -> None:
        error = self.fails(Application(), Klein())
        self.assertIn("has a core of its own", error.reason)
        self.assertIn("loaded_in_test:core", error.reason)

    def test_core_is_a_klein(self) -> None:
        error = self.fails(Klein(), Resource())
        self.assertEqual(error.spec, "loaded_in_test:core")
        self.assertIn("a Klein, not a resource", error.reason)

    def test_core_is_no_application(self) -> None:
        """Its own core would be left out."""
        error = self.fails(Klein(), Application())
        self.assertIn("did you mean 'loaded_in_test:core.core'?", error.reason)

    def test_same_route_on_both_sides(self) -> None:
        """Whatever its methods and the names of its variables."""
        app = Application()
        app.route("/item/<a>", methods=["GET"], endpoint="show")(lambda _: "")
        app.core.route("/item/<b>", methods=["POST"], endpoint="buy")(lambda _: "")
        error = self.fails(app)
        self.assertEqual(error.spec, "loaded_in_test:app")
        self.assertIn(
            "the same route: '/item/<a>' (show) and '/item/<b>' (buy)", error.reason
        )
