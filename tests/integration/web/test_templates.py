"""Templates in real workers: shared when compiled, read anew only on demand."""

import os
import signal
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import APPS, RunningCluster, cluster, wait_until_gone


class Folder:
    """
    A folder with templates, and what a cluster that serves them keeps.

    :param folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.pages = folder / "pages"
        self.pages.mkdir()
        self.write("base.html", "<title>{{ title }}</title>{% block b %}{% endblock %}")
        self.write("page.html", "{% extends 'base.html' %}{% block b %}1{% endblock %}")
        self.write("wrong.html", "<p>\n{{ title.x.y }}")
        self.write("broken.html", "<p>\n\n{% if %}")

    def write(self, name: str, text: str) -> None:
        """Write a template."""
        (self.pages / name).write_text(text, "utf-8")

    def run_pages(
        self, *flags: str, workers: int = 1
    ) -> AbstractContextManager[RunningCluster]:
        """Run a cluster."""
        return cluster(
            *("--app", "pages:app", "--state", str(self.state), *flags),
            workers=workers,
            env={"PYTHONPATH": str(APPS), "PAGES": str(self.pages)},
        )

    def kept(self) -> dict[Path, tuple[int, int]]:
        """Return what is in the cluster's cache since when."""
        found = self.state.glob("*/templates-1/*")
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


class StartTests(SynchronousTestCase):
    """Clusters that a test starts, and workers that it kills."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Folder(Path(folder.name))

    def test_a_replacement_compiles_nothing(self) -> None:
        """It finds in the cluster's folder what the worker before it compiled."""
        with self.folder.run_pages() as running:
            kept = self.folder.kept()
            self.assertEqual(len(kept), 3)  # all but the broken one
            parent = next(iter(kept)).parent
            self.assertEqual(parent.stat().st_mode & 0o777, 0o700)
            worker = int(running.get("/pid"))
            os.kill(worker, signal.SIGKILL)
            wait_until_gone(worker)
            running.wait_for("worker 0 is ready")
            self.assertEqual(
                running.get("/page/page.html"), b"<title>&lt;T&gt;</title>1"
            )
            self.assertEqual(self.folder.kept(), kept)
        self.assertEqual(list(self.folder.state.iterdir()), [])

    def test_workers_that_start_together(self) -> None:
        """Each page is kept once, and every worker has it before it is ready."""
        with self.folder.run_pages(workers=3) as running:
            self.assertEqual(len(self.folder.kept()), 3)
            (self.folder.pages / "page.html").unlink()
            for _ in range(9):
                self.assertIn(b"1", running.get("/page/page.html"))


class SharedCase(SynchronousTestCase):
    """
    Tests that ask a cluster, and edit no template that another test asks for.

    :cvar flags: its settings.
    :cvar folder: the folder with its templates.
    :cvar running: the cluster.
    """

    flags: ClassVar[tuple[str, ...] | None] = None
    folder: ClassVar[Folder]
    running: ClassVar[RunningCluster]

    @classmethod
    def setUpClass(cls) -> None:
        """Run it while there are tests."""
        super().setUpClass()
        if cls.flags is not None:
            folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
            cls.folder = Folder(Path(cls.enterClassContext(folder)))
            cls.running = cls.enterClassContext(cls.folder.run_pages(*cls.flags))


class CompiledTests(SharedCase):
    """Templates that are compiled once."""

    flags = ()

    def test_an_edit_does_not_show(self) -> None:
        """Workers that started together would serve different pages."""
        before = self.running.get("/page/page.html")
        self.folder.write("page.html", "edited")
        self.assertEqual(self.running.get("/page/page.html"), before)

    def test_an_error_is_in_the_log(self) -> None:
        """With the template's line; the client learns nothing."""
        for path in ("/page/", "/core/page/"):
            status, _, body = self.running.request("GET", f"{path}wrong.html")
            self.assertEqual(status, 500)
            self.assertNotIn(b"wrong", body)
            self.assertNotIn(b"Undefined", body)
            self.running.wait_for(
                f'"{self.folder.pages}/wrong.html", line 2, in top-level'
            )
        self.assertEqual(self.running.request("GET", "/page/broken.html")[0], 500)
        self.running.wait_for(f'"{self.folder.pages}/broken.html", line 3, in template')
        self.assertEqual(self.running.request("GET", "/page/none.html")[0], 500)
        self.running.wait_for("TemplateNotFound: 'none.html' not found")

    def test_a_broken_template_is_told_at_the_start(self) -> None:
        """It keeps no worker from serving the others."""
        self.assertIn(
            f"cannot compile the template {self.folder.pages}/broken.html, line 3: ",
            self.running.text(),
        )


class ReloadTests(SharedCase):
    """Templates that are read anew."""

    flags = ("--reload",)

    def test_an_edit_shows_with_reload(self) -> None:
        """At once, in workers and in the core, and nothing is kept."""
        for path in ("/page/page.html", "/core/page/page.html"):
            self.running.get(path)
        self.folder.write("page.html", "edited")
        for path in ("/page/page.html", "/core/page/page.html"):
            self.assertEqual(self.running.get(path), b"edited")
        self.assertEqual(self.folder.kept(), {})

    def test_an_error_is_in_the_page_with_reload(self) -> None:
        for path in ("/page/", "/core/page/"):
            status, headers, body = self.running.request("GET", f"{path}wrong.html")
            self.assertEqual(status, 500)
            self.assertEqual(headers["Content-Type"], "text/html; charset=utf-8")
            self.assertIn(b"<h2>wrong.html, line 2</h2>", body)
            self.running.wait_for(
                f'"{self.folder.pages}/wrong.html", line 2, in top-level'
            )
