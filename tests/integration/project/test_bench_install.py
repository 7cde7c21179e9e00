"""What the bench puts into its cache, with a stand-in for npm."""

import os
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.errors import BenchError
from bench.install import EXPRESS, Cache, find_program
from bench.works import STATIC_FILES
from tests.integration.running import DEADLINE

#: Does what npm does to our eyes, and counts how often.
NPM = """\
#!/bin/sh
echo "$@" >> "{asked}"
[ -f package-lock.json ] || exit 1
{then}
mkdir -p node_modules
"""


class CacheTests(SynchronousTestCase):
    """The cache folder."""

    def setUp(self) -> None:
        self.said: list[str] = []
        self.folder = Path(self.mktemp()).absolute()
        self.asked = self.folder / "asked"
        self.programs = self.folder / "bin"
        self.programs.mkdir(parents=True)
        self.patch(
            os,
            "environ",
            {**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}"},
        )
        self.cache = Cache(self.folder / "cache", self.said.append)

    def install(self, name: str, text: str) -> None:
        """Put a program where programs are looked for."""
        program = self.programs / name
        program.write_text(text)
        program.chmod(0o755)

    def install_npm(self, then: str = "") -> None:
        """Put our npm there, and something that is called node."""
        self.install("node", "#!/bin/sh\n")
        self.install("npm", NPM.format(asked=self.asked, then=then))

    def test_express(self) -> None:
        """Express is installed once, beside the application that needs it."""
        self.install_npm()
        home = self.cache.express()
        for name in ("app.js", "core.js", "rows.json", "templates/page.ejs"):
            self.assertTrue((home / name).is_file(), name)
        self.assertEqual(self.cache.express(), home)
        self.assertEqual(self.asked.read_text(), "ci --no-audit --no-fund\n")
        self.assertEqual(len(self.said), 1)

    def test_other_versions(self) -> None:
        """When other versions are asked for, they are installed."""
        self.install_npm()
        home = self.cache.express()
        stamps = [path for path in home.rglob("*") if path.name.startswith(".")]
        wanted = (EXPRESS / "package-lock.json").read_text("utf-8")
        self.assertEqual([path.read_text("utf-8") for path in stamps], [wanted])
        stamps[0].write_text("others")
        self.cache.express()
        self.assertEqual(len(self.asked.read_text().splitlines()), 2)

    def test_failure(self) -> None:
        """What an installer printed is in the error, and it is tried again."""
        self.install_npm(then="echo no space left; exit 7")
        error = self.assertRaises(BenchError, self.cache.express)
        self.assertIn("ended with status 7:\nno space left", str(error))
        self.install_npm()
        self.cache.express()

    def test_one_at_a_time(self) -> None:
        """A second bench waits until the first has ended, and says so."""
        waits = threading.Event()
        second = Cache(self.folder / "cache", lambda _what: waits.set())
        order: list[str] = []

        def run() -> None:
            with second.alone():
                order.append("second")

        thread = threading.Thread(target=run)
        with self.cache.alone():
            thread.start()
            self.assertTrue(waits.wait(DEADLINE))
            order.append("first")
        thread.join(DEADLINE)
        self.assertEqual(order, ["first", "second"])

    def test_no_folder(self) -> None:
        """A cache that cannot be is an error that names it."""
        (self.folder / "cache").write_text("a file")
        error = self.assertRaises(BenchError, self.cache.alone().__enter__)
        self.assertIn(str(self.folder / "cache"), str(error))

    def test_static_files(self) -> None:
        """The files are there, at the size that they are called by."""
        folder = self.cache.static()
        files = [path for path in folder.rglob("*") if path.is_file()]
        found = {str(path.relative_to(folder)): path.stat().st_size for path in files}
        self.assertEqual(found, STATIC_FILES)

    def test_no_checkout(self) -> None:
        """A folder without clusterapp in it is named."""
        error = self.assertRaises(BenchError, self.cache.clusterapp, self.folder)
        self.assertIn(f"{self.folder} is no checkout", str(error))

    def test_missing_program(self) -> None:
        """The error says which package has the program."""
        self.patch(os, "environ", {"PATH": str(self.programs)})
        error = self.assertRaises(BenchError, find_program, "npm")
        self.assertIn("npm is not on PATH", str(error))
        self.assertIn("apt-get install npm", str(error))
