"""``--reload``: code that is edited while a cluster runs."""

import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import RunningCluster, cluster, eventually

CODE = """\
from clusterapp import Application

app = Application()

@app.route("/")
def root(request):
    return "{answer}"

@app.core.route("/core")
def core(request):
    return "core {answer}"
"""
PAGE = {"Accept": "text/html,*/*"}


class EditTests(SynchronousTestCase):
    """A developer at work."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.write("one")

    def write(self, answer: str) -> None:
        (self.folder / "shop.py").write_text(CODE.format(answer=answer))

    def page(self, running: RunningCluster) -> tuple[int, bytes]:
        status, _, body = running.request("GET", "/", headers=PAGE)
        return status, body

    def test_edits(self) -> None:
        """A good one shows; a bad one shows itself, and the old code serves on."""
        flags = ("--app", "shop:app", "--reload")
        with cluster(*flags, cwd=self.folder) as running:
            self.assertEqual(running.get("/"), b"one")
            self.write("two")
            running.wait_for("reload done: generation 2")
            self.assertEqual(running.get("/"), b"two")
            # The core is a child while one develops, so that it is reloaded, too.
            self.assertEqual(running.get("/core"), b"core two")
            (self.folder / "shop.py").write_text("def def\n")
            running.wait_for("reload failed: .*SyntaxError")
            eventually(lambda: self.page(running)[0] == 500)
            status, body = self.page(running)
            self.assertEqual(status, 500)
            self.assertIn(b"SyntaxError", body)
            self.assertIn(b"def def", body)
            self.assertEqual(running.get("/"), b"two")
            self.write("three")
            running.wait_for("reload done: generation 4")
            eventually(lambda: self.page(running) == (200, b"three"))
            self.assertEqual(running.get("/core"), b"core three")
