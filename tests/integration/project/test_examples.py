"""The examples, each started as its own first lines say, and requested."""

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import ROOT, cluster


class ExampleTests(SynchronousTestCase):
    """Applications of each kind, on a cluster of two workers."""

    def assert_greets(self, app: str) -> None:
        """Check that workers, and not the master, answer in the example's words."""
        with cluster("--app", app, cwd=ROOT / "examples") as running:
            found = {running.get("/hello/you").decode() for _ in range(8)}
            expected = {
                f"Hello, you, from process {pid}\n" for pid in running.children()
            }
            self.assertLessEqual(found, expected)
            self.assertEqual(running.request("GET", "/nothing")[0], 404)

    def test_wsgi(self) -> None:
        """A Flask application runs in the workers' threads."""
        self.assert_greets("flask_app:app")

    def test_resource(self) -> None:
        """A class that makes a twisted.web resource is a factory of one."""
        self.assert_greets("resource_app:Site")

    def test_klein(self) -> None:
        """A Klein application; its core module counts once for all."""
        self.assert_greets("klein_app:app")
        with cluster("--app", "klein_app:app", cwd=ROOT / "examples") as running:
            counts = [running.request("POST", "/counter")[2] for _ in range(4)]
            self.assertEqual(counts, [b"1\n", b"2\n", b"3\n", b"4\n"])

    def test_demo(self) -> None:
        """Without ``--app`` the demo site is served, with its static files."""
        with cluster() as running:
            self.assertIn(b"worker", running.get("/"))
            self.assertRegex(running.get("/whoami").decode(), r"worker \d, pid \d+")
            self.assertEqual(running.request("POST", "/counter")[0], 200)
            self.assertIn(b"{", running.get("/static/demo.css"))
