"""A real cluster that serves a deploy of the tests, which may be a bad one."""

import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.load import Figures, Load
from tests.integration.running import (
    SCRIPTS,
    RunningCluster,
    clean_environment,
    cluster,
)

APPS = Path(__file__).parent / "apps"

#: What may become of a request that a worker had when it was killed, and of an idle
#: connection to it.
IN_FLIGHT, OF_THE_KILLED = (
    {"closed", "reset", "cut"},
    {"closed", "reset", "cut", "dropped"},
)

#: What is asked for under load, as a rule, and how long the padding of the answer is.
TARGETS = {"/whoami/": 0, "/padded/": 5000, "/core/": 0, "/chunked/": 5000}

_ANSWER = re.compile(rb"request (\d+) answered by (\d+) of version (\w+)\n(x*)")


def check(target: str, body: bytes) -> str:
    """Judge an answer of the deploy `serving`; return its version and its process."""
    path, _, number = target.rpartition("/")
    found = _ANSWER.fullmatch(body)
    if found is None or int(found[1]) != int(number):
        raise ValueError("not the answer to this request")
    if len(found[4]) != TARGETS.get(f"{path}/", 0):
        raise ValueError("not whole")
    return f"version {found[3].decode()} pid {int(found[2])}"


def versions(figures: Figures) -> set[str]:
    """Return which deploys have answered."""
    return {who.split()[1] for who in list(figures.answers)}


def pids(figures: Figures) -> set[int]:
    """Return which processes have answered."""
    return {int(who.split()[3]) for who in list(figures.answers)}


class Deploy:
    """
    A folder with the code that a cluster serves.

    :param folder: where it is; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def put(self, name: str, version: str = "1") -> None:
        """
        Replace the code.

        :param name: the name of one of the tests' applications.
        :param version: what it answers that it is.
        """
        self._write("version", version)
        self._write("shop.py", (APPS / f"{name}.py").read_text("utf-8"))

    def crash(self, *slots: int, times: int) -> None:
        """Make the next starts of the workers of these slots crash, ``times`` times."""
        for slot in slots:
            self._write(f"crash-{slot}", f"{times}")

    def _write(self, name: str, text: str) -> None:
        """Write a file in one step: a worker may be starting."""
        fresh = self.folder / f".{name}"
        fresh.write_text(text, "utf-8")
        fresh.rename(self.folder / name)


def pid_in(running: RunningCluster, slot: int) -> int:
    """Return the pid of a slot's worker, by the log."""
    ready = rf"worker {slot} is ready .* \(pid (\d+)\)"
    return int(re.findall(ready, running.text())[-1])


class ChaosCase(SynchronousTestCase):
    """
    A folder, and a deploy that is well in it.

    :ivar folder: a folder of the test's own.
    :ivar deploy: what the cluster serves.
    """

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="chaos-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.control = self.folder / "control.sock"
        self.deploy = Deploy(self.folder / "deploy")
        self.deploy.put("serving")

    @contextmanager
    def cluster(
        self, *flags: str, workers: int = 2, env: Mapping[str, str] | None = None
    ) -> Iterator[RunningCluster]:
        """Run a cluster; it serves the deploy, if no flag says another folder."""
        with cluster(
            *("--app", "shop:app", "--control", str(self.control)),
            *("--working-folder", str(self.deploy.folder), *flags),
            workers=workers,
            env=env,
        ) as running:
            yield running

    def load(self, running: RunningCluster, **options: Any) -> Load:
        """Make load for a cluster."""
        return Load(running.port, check, **{"targets": tuple(TARGETS), **options})

    def clusterctl(
        self, *arguments: str, deadline: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run ``clusterctl``, and return what it has said and its status."""
        return subprocess.run(
            [SCRIPTS / "clusterctl", "--socket", self.control, *arguments],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=deadline,
            check=False,
        )

    def assert_done(self, *arguments: str) -> str:
        """Run ``clusterctl``, which must succeed; return its output."""
        ended = self.clusterctl(*arguments)
        self.assertEqual(ended.returncode, 0, ended)
        return ended.stdout

    def assert_served(self, figures: Figures, *, at_least: int) -> None:
        """Expect that nothing has failed, and that enough was asked for that."""
        self.assertEqual(figures.failures, [], figures)
        self.assertGreaterEqual(figures.answered, at_least)

    def assert_stops(self, running: RunningCluster) -> None:
        """Stop a cluster gracefully: whatever was done to it, that must work."""
        running.signal(signal.SIGTERM)
        self.assertEqual(running.wait(), 0, running.text())
