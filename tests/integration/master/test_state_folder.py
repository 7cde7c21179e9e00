"""A cluster whose state folder is removed while it runs, as by a cleaner of /tmp."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import (
    APPS,
    DEADLINE,
    SCRIPTS,
    RunningCluster,
    clean_environment,
    cluster,
    eventually,
)

CLIENTS = 16


class Case:
    """
    A cluster and its state folder.

    :ivar running: the cluster.
    """

    def __init__(self, running: RunningCluster, state: Path) -> None:
        self.running = running
        self._state = state

    def remove_state(self) -> None:
        """Remove the state folder, and wait for the master's word on it."""
        shutil.rmtree(self._state)
        path = f"{self._state}/{self.running.pid}-"
        self.running.wait_for(f"{path}.* (?:was|were) removed or replaced.*--state")

    def clusterctl(self, *arguments: str) -> str:
        """Run a command, which must succeed; return what it printed."""
        ended = subprocess.run(
            [SCRIPTS / "clusterctl", *arguments],
            env={**clean_environment(), "CLUSTERAPP_STATE": str(self._state)},
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE,
            check=False,
        )
        assert ended.returncode == 0, f"{ended}\n{self.running.text()}"
        return ended.stdout

    def relayed(self) -> int:
        """Return how many requests workers have passed to each other, as reported."""
        workers = json.loads(self.clusterctl("status", "--json"))["workers"]
        return sum(worker["relayed"] or 0 for worker in workers)


@contextmanager
def case(*flags: str, workers: int = 1) -> Iterator[Case]:
    """Run a cluster with a state folder that it may lose."""
    with tempfile.TemporaryDirectory(prefix="clusterapp-") as name:
        state = Path(name) / "mine"
        with cluster(
            *("--app", "backend:app", "--state", str(state), *flags),
            workers=workers,
            env={"PYTHONPATH": str(APPS)},
        ) as running:
            yield Case(running, state)


class StateFolderTests(SynchronousTestCase):
    """What processes do by private sockets goes on, and so do operations."""

    def assert_goes_on(self, *flags: str) -> None:
        with case(*flags) as at:
            core = at.running.get("/core/pid")
            for _ in range(2):
                at.remove_state()
                self.assertEqual(at.running.get("/core/pid"), core)
                at.clusterctl("status")
            at.clusterctl("reload")
            at.running.get("/core/pid")
            at.clusterctl("scale", "2")
            at.running.get("/core/pid")

    def test_isolated_core(self) -> None:
        self.assert_goes_on("--core", "isolated")

    def test_core_in_master(self) -> None:
        self.assert_goes_on("--core", "master")

    def test_core_is_restarted(self) -> None:
        """The next one accepts from the same socket."""
        with case("--core", "isolated") as at:
            before = at.running.get("/core/pid")
            at.remove_state()
            at.clusterctl("restart", "core")
            self.assertNotEqual(at.running.get("/core/pid"), before)

    def test_upgrade(self) -> None:
        """The new master has a folder of its own."""
        with case("--core", "isolated") as at:
            at.running.get("/core/pid")
            at.remove_state()
            at.clusterctl("upgrade")
            at.running.get("/core/pid")
            at.clusterctl("stop")

    def test_requests_for_other_workers(self) -> None:
        """Workers pass requests to each other's slots on new connections."""
        sticky = ("--dispatch", "sticky", "--sticky", "header:X-Session")
        with case(*sticky, workers=2) as at:
            at.remove_state()
            request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Session: %d\r\n\r\n"
            with at.running.connect() as connection, connection.makefile("rb") as read:
                for number in range(CLIENTS):
                    connection.sendall(request % number)
                    self.assertEqual(read.readline(), b"HTTP/1.1 200 OK\r\n")
                    while read.readline() != b"\r\n":
                        pass
                    self.assertEqual(read.read(6), b"worker")
            eventually(lambda: at.relayed() > 0)
