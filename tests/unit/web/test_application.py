"""An Application is a Klein with folders, hooks, a core and a cluster."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from jinja2 import TemplateNotFound
from klein import Klein
from treq.client import HTTPClient
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent
from twisted.web.iweb import IRequest

from clusterapp.errors import NotInClusterError
from clusterapp.interfaces import Role
from clusterapp.web.application import Application, CoreApplication, bind_cluster

HERE = Path(__file__).parent


class FarAway(Application):
    """A subclass with a constructor of its own, as a library would have."""

    def __init__(self, name: str = "far") -> None:
        self.name = name
        super().__init__(static="files")


@dataclass(frozen=True)
class FirstWorker:
    """The cluster, as the first worker sees it."""

    role: Role = "worker"
    slot: int = 0
    generation: int = 1
    core: HTTPClient = field(default_factory=lambda: HTTPClient(Agent(Clock())))


def module_in(folder: Path, source: str) -> ModuleType:
    """Run ``source`` as a module whose file is in ``folder``."""
    module = ModuleType("made_in_test")
    module.__file__ = str(folder / "made_in_test.py")
    exec(compile(source, module.__file__, "exec"), vars(module))
    return module


class FolderTests(SynchronousTestCase):
    """Folders are relative to the module that makes the application."""

    def test_folders_are_beside_the_module(self) -> None:
        app = Application()
        self.assertEqual(app.static, HERE / "static")
        self.assertEqual(app.templates.folder, HERE / "templates")
        self.assertEqual(app.static_url, "/static/")

    def test_constructors_of_subclasses_do_not_count(self) -> None:
        """The folders are the maker's, not those of the subclass's library."""
        folder = Path(self.mktemp()).absolute()
        source = "def make(kind):\n    return kind()\n"
        app = module_in(folder, source).make(FarAway)
        self.assertEqual(app.static, folder / "files")

    def test_a_constructor_of_another_object_counts(self) -> None:
        """An object that makes an application of its own is its maker."""

        class Shop:
            def __init__(self) -> None:
                self.app = Application()

        self.assertEqual(Shop().app.static, HERE / "static")

    def test_without_a_file_they_are_in_the_working_directory(self) -> None:
        """In an interactive session there is no module's folder."""
        names: dict[str, Any] = {"Application": Application}
        exec("app = Application()", names)
        self.assertEqual(names["app"].static, Path.cwd() / "static")

    def test_absolute_folders_stay(self) -> None:
        app = Application(static="/srv/files", templates=Path("/srv/pages"))
        self.assertEqual(app.static, Path("/srv/files"))
        self.assertEqual(app.templates.folder, Path("/srv/pages"))

    def test_static_url_has_slashes_around_a_name(self) -> None:
        """Anything else would take the whole site, or match by half a name."""
        self.assertEqual(Application(static_url="/a/b/").static_url, "/a/b/")
        for wrong in ("static/", "/static", "/", "", "//", "/a//b/", "/%61/", "/a?/"):
            with self.subTest(wrong):
                error = self.assertRaises(ValueError, Application, static_url=wrong)
                self.assertIn(repr(wrong), str(error))


class TemplateTests(SynchronousTestCase):
    """``app.render`` renders a template from the application's folder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.app = Application(templates=self.folder)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def test_values_are_escaped_in_markup(self) -> None:
        for name in ("page.html", "sub/feed.xml"):
            self.write(name, "Grüß {{ name }}")
            self.assertEqual(
                self.app.render(name, name="<b>"), "Grüß &lt;b&gt;", msg=name
            )

    def test_values_are_not_escaped_in_text(self) -> None:
        self.write("mail.txt", "{{ name }}")
        self.assertEqual(self.app.render("mail.txt", name="a & b"), "a & b")

    def test_a_value_may_be_called_template(self) -> None:
        """No name of a value is taken."""
        self.write("page.html", "{{ template }} {{ self_ }}")
        self.assertEqual(self.app.render("page.html", template=1, self_=2), "1 2")

    def test_missing_template_is_named(self) -> None:
        self.folder.mkdir()
        error = self.assertRaises(TemplateNotFound, self.app.render, "none.html")
        self.assertIn("none.html", str(error))

    def test_missing_folder_is_named(self) -> None:
        """It is the folder that is missing, and not the one template."""
        error = self.assertRaises(TemplateNotFound, self.app.render, "page.html")
        self.assertIn(f"no folder {self.folder}", str(error))
        self.assertIn("page.html", str(error))

    def test_missing_include_is_named(self) -> None:
        """With a folder, the name is that of the template that is not there."""
        self.write("page.html", "{% include 'part.html' %}")
        error = self.assertRaises(TemplateNotFound, self.app.render, "page.html")
        self.assertEqual(error.name, "part.html")

    def test_templates_may_not_leave_the_folder(self) -> None:
        self.write("page.html", "inside")
        (self.folder.parent / "outside.html").write_text("outside")
        self.assertRaises(TemplateNotFound, self.app.render, "../outside.html")

    def test_filters_can_be_added(self) -> None:
        self.write("page.html", "{{ 'x' | double }}")
        self.app.templates.environment.filters["double"] = lambda text: text * 2
        self.assertEqual(self.app.render("page.html"), "xx")

    def test_a_template_is_read_once(self) -> None:
        """A worker does not change its pages on its own."""
        self.write("page.html", "old")
        self.app.render("page.html")
        self.write("page.html", "newer text")
        self.assertEqual(self.app.render("page.html"), "old")


class StaticUrlTests(SynchronousTestCase):
    """``static_url`` in templates."""

    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        for name in ("pages", "files/css"):
            (folder / name).mkdir(parents=True)
        (folder / "files" / "css" / "app.css").write_bytes(b"body {}")
        (folder / "pages" / "page.html").write_text("<{{ static_url(name) }}>")
        self.app = Application(folder / "files", folder / "pages", "/assets/")

    def test_url_of_a_file(self) -> None:
        """It is the one that the worker answers for ever."""
        page = self.app.render("page.html", name="css/app.css")
        self.assertRegex(page, r"^</assets/css/app\.[0-9a-f]{12}\.css>$")
        self.assertEqual(page[1:-1], self.app.fingerprints.url("css/app.css"))

    def test_no_such_file(self) -> None:
        with self.assertRaisesRegex(FileNotFoundError, r"static_url\('css/ap\.css'\)"):
            self.app.render("page.html", name="css/ap.css")


class ClusterTests(SynchronousTestCase):
    """``app.cluster`` is there in a worker and in the core, and only there."""

    def setUp(self) -> None:
        self.cluster = FirstWorker()

    def test_outside_it_is_an_error(self) -> None:
        app = Application()
        self.assertRaises(NotInClusterError, lambda: app.cluster)
        self.assertRaises(NotInClusterError, lambda: app.core.cluster)

    def test_application_and_core_share_it(self) -> None:
        app = Application()
        bind_cluster(app, self.cluster)
        self.assertIs(app.cluster, self.cluster)
        self.assertIs(app.core.cluster, self.cluster)

    def test_core_may_stand_alone(self) -> None:
        core = CoreApplication()
        bind_cluster(core, self.cluster)
        self.assertIs(core.cluster, self.cluster)


class Shop:
    """An application declared in a class body, as Klein allows."""

    app = Application(static="files", static_url="/f/")

    def __init__(self, name: str) -> None:
        self.name = name
        self.did: list[str] = []

    @app.route("/name")
    def get_name(self, request: IRequest) -> str:
        return self.name

    @app.core.route("/count")
    def count(self, request: IRequest) -> str:
        return f"{self.name} counts"

    @app.on_start
    def start(self) -> None:
        self.did.append("start")

    @app.on_stop
    async def stop(self) -> None:
        self.did.append("stop")

    @app.core.on_start
    def start_core(self) -> None:
        self.did.append("start core")

    @app.core.on_stop
    def stop_core(self) -> None:
        self.did.append("stop core")


class ClassBodyTests(SynchronousTestCase):
    """Routes and hooks of a class body are methods of each instance."""

    def setUp(self) -> None:
        self.shop = Shop("corner")
        self.app = self.shop.app

    def fetch(self, app: Klein, path: str) -> str:
        http: Any = StubTreq(app.resource())
        response = self.successResultOf(http.get(f"http://shop.invalid{path}"))
        text: str = self.successResultOf(http.text_content(response))
        return text

    def test_routes_are_methods(self) -> None:
        self.assertEqual(self.fetch(self.app, "/name"), "corner")
        self.assertEqual(self.fetch(Shop("other").app, "/name"), "other")

    def test_core_routes_are_methods(self) -> None:
        self.assertEqual(self.fetch(self.app.core, "/count"), "corner counts")

    def test_hooks_are_methods(self) -> None:
        for run in (
            self.app.hooks.run_start,
            self.app.core.hooks.run_start,
            self.app.core.hooks.run_stop,
            self.app.hooks.run_stop,
        ):
            self.successResultOf(Deferred.fromCoroutine(run()))
        self.assertEqual(self.shop.did, ["start", "start core", "stop core", "stop"])

    def test_folders_follow(self) -> None:
        self.assertEqual(self.app.static, HERE / "files")
        self.assertEqual(self.app.static_url, "/f/")
        self.assertIs(self.app.templates, Shop.app.templates)
        self.assertIs(self.app.fingerprints, Shop.app.fingerprints)

    def test_cluster_follows(self) -> None:
        """It may be bound through any of the instances."""
        cluster = FirstWorker()
        self.addCleanup(setattr, Shop.app.shared, "joined", None)
        bind_cluster(self.app, cluster)
        for app in (Shop.app, Shop("other").app):
            self.assertIs(app.cluster, cluster)
            self.assertIs(app.core.cluster, cluster)

    def test_an_instance_keeps_its_application(self) -> None:
        self.assertIs(self.shop.app, self.app)
        self.assertIs(self.shop.app.core, self.app.core)
        self.assertIsNot(Shop("other").app, self.app)

    def test_the_class_has_the_unbound_one(self) -> None:
        self.assertIs(Shop.app, Shop.__dict__["app"])

    def test_equality_is_kleins(self) -> None:
        """Comparing applications ends, and tells two of them apart."""
        self.assertEqual(self.app, self.shop.app)
        self.assertNotEqual(Application(), Application())


class PackageTests(SynchronousTestCase):
    """The names at the top of the package."""

    def test_application_is_at_the_top(self) -> None:
        package = sys.modules["clusterapp"]
        self.assertIs(package.Application, Application)
