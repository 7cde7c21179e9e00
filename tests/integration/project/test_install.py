"""Every way to install clusterapp, and every command that starts it."""

import shutil
import signal
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.control.exports.quoting import FILTERS
from tests.integration.installing import FreshEnvironment, build, copy_sources, run
from tests.integration.running import SCRIPTS, Running, RunningCluster

PLUGIN = "twisted/plugins/clusterapp_plugin.py"

#: The templates of ``clusterctl export``.
EXPORTS = [f"control/exports/templates/{name}" for name in FILTERS]

#: The command in the list that twistd --help gives.
LISTED = r"(?m)^ +clusterapp +Serve "


@contextmanager
def serving(
    command: Sequence[object], cwd: Path, **env: str
) -> Iterator[RunningCluster]:
    """Start the demo by a command that lacks its flags; wait until it is ready."""
    with tempfile.TemporaryDirectory(prefix="clusterapp-") as folder:
        flags = ("--workers", "1", "--listen", "tcp:0:interface=127.0.0.1")
        state = ("--state", f"{folder}/state")
        whole = [*map(str, command), "clusterapp", *flags, *state]
        running = RunningCluster(whole, workers=1, cwd=cwd, env=env)
        try:
            yield running.started()
        finally:
            running.close()


@pytest.mark.timeout(480)
class DistributionTests(SynchronousTestCase):
    """The sdist and the wheel, and what a wheel's environment can run."""

    folder: ClassVar[Path]
    checkout: ClassVar[Path]
    sdist: ClassVar[Path]
    wheel: ClassVar[Path]
    fresh: ClassVar[FreshEnvironment]

    @classmethod
    def setUpClass(cls) -> None:
        """Build once, and install what was built once."""
        super().setUpClass()
        cls.folder = Path(tempfile.mkdtemp(prefix="clusterapp-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.checkout = copy_sources(cls.folder / "checkout")
        cls.sdist, cls.wheel = build(cls.checkout, cls.folder / "dist")
        cls.fresh = FreshEnvironment(cls.folder / "fresh", cls.wheel)

    def commands(self) -> list[Sequence[object]]:
        """Return the commands of a fresh environment, less the plugin's name."""
        # Where its output is no terminal, twist writes JSON.
        text = "--log-format=text"
        return [
            (self.fresh.scripts / "twistd", "-n", "--pidfile="),
            (self.fresh.scripts / "twist", text),
            (self.fresh.python, "-m", "twisted", text),
        ]

    def assert_demo(self, command: Sequence[object], cwd: Path, **env: str) -> None:
        """Check that a command serves the demo, its files too, and stops at TERM."""
        with serving(command, cwd, **env) as running:
            self.assertIn(b"/static/demo.css", running.get("/"))
            self.assertIn(b"{", running.get("/static/demo.css"))
            running.signal(signal.SIGTERM)
            self.assertEqual(running.wait(), 0, running.text())

    def test_wheel(self) -> None:
        """The wheel has the plugin and the demo's files, and no more of Twisted."""
        names = zipfile.ZipFile(self.wheel).namelist()
        self.assertEqual([n for n in names if n.startswith("twisted/")], [PLUGIN])
        for name in ("py.typed", "static/demo.css", "templates/index.html", *EXPORTS):
            self.assertIn(f"clusterapp/{name}", names)
        for name in ("static/", "templates/", "tests/"):
            self.assertEqual([n for n in names if n.startswith(name)], [])

    def test_every_module_is_packaged(self) -> None:
        """A new sub-package that setup.cfg does not list would be missing."""
        modules = {
            str(path.relative_to(self.checkout))
            for path in (self.checkout / "clusterapp").rglob("*.py")
        }
        self.assertEqual(modules - {*zipfile.ZipFile(self.wheel).namelist()}, set())

    def test_sdist(self) -> None:
        """The sdist has files where the checkout has symbolic links."""
        with tarfile.open(self.sdist) as archive:
            kinds = {
                member.name.partition("/")[2]: member.isfile()
                for member in archive.getmembers()
            }
        for name in (
            "static/demo.css",
            "templates/index.html",
            *EXPORTS,
            "__init__.py",
        ):
            self.assertTrue(kinds.get(f"clusterapp/{name}"), name)
        self.assertTrue(kinds[PLUGIN])

    def test_wheel_commands(self) -> None:
        """From an empty folder, each of Twisted's commands serves the demo."""
        for command in self.commands():
            self.assert_demo(command, Path.cwd())
        self.assertEqual(list(Path.cwd().iterdir()), [])

    def test_other_commands(self) -> None:
        """Twisted's own commands run beside the plugin."""
        twistd = self.fresh.scripts / "twistd"
        self.assertRegex(run(twistd, "--help"), LISTED)
        self.assertIn("--wsgi", run(twistd, "web", "--help"))
        command = (
            *(twistd, "-n", "--pidfile=", "web", "--path", "."),
            *("--listen", "tcp:0:interface=127.0.0.1"),
        )
        web = Running([*map(str, command)], cwd=Path.cwd())
        self.addCleanup(web.close)
        web.wait_for("Site starting on")
        self.assertNotIn("Traceback", web.text())

    def test_checkout_without_an_install(self) -> None:
        """With the dependencies alone, a checkout runs by PYTHONPATH=. ."""
        self.fresh.uninstall()
        self.addCleanup(self.fresh.install_again)
        twistd = self.fresh.scripts / "twistd"
        self.assertNotRegex(run(twistd, "--help"), LISTED)
        for command in self.commands():
            self.assert_demo(command, self.checkout, PYTHONPATH=".")


class PluginTests(SynchronousTestCase):
    """The plugin of the install that runs the tests, as a rule an editable one."""

    def test_command_is_found(self) -> None:
        """It is there wherever twistd is run."""
        for command in ("twistd", "twist"):
            self.assertRegex(run(SCRIPTS / command, "--help"), LISTED)

    def test_nothing_heavy_is_imported(self) -> None:
        """Every twistd command imports the plugin: it costs them one small module."""
        code = (
            "import sys, twisted.application.service, twisted.plugins\n"
            "before = {*sys.modules}\n"
            "import twisted.plugins.clusterapp_plugin\n"
            "print(*{*sys.modules} - before)"
        )
        printed = run(sys.executable, "-c", code)
        self.assertEqual(printed.split(), ["twisted.plugins.clusterapp_plugin"])
