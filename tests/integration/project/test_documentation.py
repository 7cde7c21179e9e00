"""The examples of the documentation, typed and run as they stand there."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.documented import ROOT, write_examples
from tests.integration.master.test_starting import run
from tests.integration.running import SCRIPTS, RunningCluster, cluster

#: What the pages say in words that their application has.
BEFORE = {
    "docs/operations/health.md": """\
from clusterapp import Application
from twisted.web.iweb import IRequest
app = Application()
class Database:
    async def execute(self, statement: str) -> None: ...
database = Database()
""",
}
PAGES = (
    *("README.md", "docs/templates.md", "docs/static.md"),
    "docs/operations/health.md",
)


@pytest.mark.timeout(300)
class ExampleTests(SynchronousTestCase):
    """A folder with the examples of a page."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, page: str) -> list[Path]:
        return write_examples(page, self.folder, BEFORE.get(page, ""))

    def test_types(self) -> None:
        """The examples pass mypy with the strict settings of this project."""
        programs = []
        for page in PAGES:
            found = self.write(page)
            self.assertNotEqual(found, [], page)
            programs += found
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "mypy", "--strict", "--allow-untyped-calls"),
                f"--config-file={ROOT / 'pyproject.toml'}",
                *(f"--cache-dir={ROOT / '.mypy_cache'}", *map(str, programs)),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)

    def test_readme(self) -> None:
        """The application in ten lines, with its template, its upload and its core."""
        self.write("README.md")
        with cluster("--app", "shop:app", cwd=self.folder, workers=1) as running:
            self.assertEqual(
                running.get("/hello/you%3C"), b"<h1>Hello, you&lt;!</h1>\n"
            )
            status, _, body = running.request("POST", "/orders")
            self.assertEqual((status, body), (200, b"thank you\n"))
            status, _, body = running.request("PUT", "/upload", body=b"x" * 100_000)
            self.assertEqual((status, body), (200, b"100000 bytes\n"))

    def test_program_of_your_own(self) -> None:
        """It serves, clusterctl finds it by its socket, and TERM ends it."""
        self.write("README.md")
        program = self.folder / "shop.tac"
        # The port is the reader's; 8080 may be somebody else's here.
        text = program.read_text("utf-8").replace("tcp:8080", "tcp:0")
        program.write_text(text, "utf-8")
        command = [f"{SCRIPTS}/twistd", "-ny", "shop.tac", "--pidfile="]
        running = RunningCluster(command, workers=4, cwd=self.folder)
        try:
            running.started()
            self.assertIn(b"Hello, you", running.get("/hello/you"))
            told = run(
                f"{SCRIPTS}/clusterctl", "--socket", f"{self.folder}/shop.ctl", "status"
            )
            self.assertIn("shop:app is ready", told.stdout)
        finally:
            running.close()

    def test_pages(self) -> None:
        """Those of the pages can be imported, each by itself."""
        for number, page in enumerate(PAGES[1:]):
            folder = self.folder / str(number)
            for program in write_examples(page, folder, BEFORE.get(page, "")):
                ended = run(sys.executable, program.name, cwd=str(folder))
                self.assertEqual((ended.returncode, ended.stderr), (0, ""), page)
