"""The examples, each started as its own first lines say, and requested."""

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import ROOT, RunningCluster, cluster


class ExampleTests(SynchronousTestCase):
    """Applications of each kind."""

    @contextmanager
    def greeting(self, app: str, workers: int = 1) -> Iterator[RunningCluster]:
        """Check that workers, and not the master, answer in the example's words."""
        folder = ROOT / "examples"
        with cluster("--app", app, cwd=folder, workers=workers) as running:
            found = {running.get("/hello/you").decode() for _ in range(8)}
            expected = {
                f"Hello, you, from process {pid}\n" for pid in running.children()
            }
            self.assertLessEqual(found, expected)
            self.assertEqual(running.request("GET", "/nothing")[0], 404)
            yield running

    def assert_greets(self, app: str) -> None:
        """Check what `greeting` does."""
        with self.greeting(app):
            pass

    def test_wsgi(self) -> None:
        """A Flask application runs in the workers' threads."""
        self.assert_greets("flask_app:app")

    def test_resource(self) -> None:
        """A class that makes a twisted.web resource is a factory of one."""
        self.assert_greets("resource_app:Site")

    def test_klein(self) -> None:
        """A Klein application; its core module counts once for all."""
        with self.greeting("klein_app:app", workers=2) as running:
            counts = [running.request("POST", "/counter")[2] for _ in range(4)]
            self.assertEqual(counts, [b"1\n", b"2\n", b"3\n", b"4\n"])

    def test_demo(self) -> None:
        """Without ``--app`` the demo site is served, with its static files."""
        with cluster(workers=1) as running:
            self.assertIn(b"worker", running.get("/"))
            self.assertRegex(running.get("/whoami").decode(), r"worker \d, pid \d+")
            self.assertEqual(running.request("POST", "/counter")[0], 200)
            self.assertIn(b"{", running.get("/static/demo.css"))
