"""
Upstreams that are replaced under load: the core and other workers.

A request on a kept connection may cross the close of the process at the other end.
None is lost to that, and none is sent twice. A processor is kept busy meanwhile.
``CHAOS_UPSTREAM_REQUESTS=100000`` looks for more, in each of the tests.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count

from tests.chaos.load import Figures, Load
from tests.chaos.sites import ChaosCase, check
from tests.integration.running import (
    DEADLINE,
    RunningCluster,
    cluster,
    is_alive,
    wait_until_gone,
)
from tests.integration.worker.test_remote_core import Papers
from tests.ports import free_port

#: How many requests each test asks for at least, and with how many replacements.
REQUESTS = int(os.environ.get("CHAOS_UPSTREAM_REQUESTS", "1500"))
REPLACEMENTS = 3

#: No command of a replacement takes longer, on a machine that has other work too.
PATIENCE = 120.0

KEYS = [f"/keyed?key={key}&number=" for key in "abcdefgh"]


def check_keyed(target: str, body: bytes) -> str:
    """Judge an answer of `/keyed`."""
    return check(f"/whoami/{target.rpartition('=')[2]}", body)


@contextmanager
def busy_processor() -> Iterator[None]:
    """Keep one processor busy, as other programs may."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            yield
        finally:
            busy.kill()


class UpstreamTests(ChaosCase):
    """Upstreams of workers, replaced again and again."""

    def replace(self, title: str, load: Load, step: Callable[[int], object]) -> Figures:
        """Replace what the load's requests go to, until there were enough of them."""
        for number in count(2):
            self.deploy.put("serving", f"{number}")
            step(number)
            load.wait_for_more(100, deadline=PATIENCE)
            enough = load.figures.answered >= REQUESTS and number > REPLACEMENTS
            if enough or load.figures.failures:
                break
        return load.report(f"{title}, replaced {number - 1} times")

    def loaded(self, running: RunningCluster, *targets: str) -> Load:
        """Make load that comes by kept connections."""
        return self.load(
            running, targets=targets, kept=24, fresh=4, patience=60.0, per_second=600.0
        )

    def reload(self, _: int = 0) -> None:
        """Reload the cluster."""
        ended = self.clusterctl("reload", deadline=PATIENCE)
        self.assertEqual(ended.returncode, 0, ended)

    def test_isolated_core(self) -> None:
        """The core in a child of its own, replaced by each reload."""
        with (
            busy_processor(),
            self.cluster("--core", "isolated") as running,
            self.loaded(running, "/core/") as load,
        ):
            load.wait_for(100)
            figures = self.replace("an isolated core", load, self.reload)
            self.assert_served(figures, at_least=REQUESTS)
            self.assert_stops(running)

    def remote(self, where: str, step: Callable[[int], object]) -> None:
        """Run a fault against a core that another cluster's workers use over TLS."""
        papers, port = Papers(self.folder), free_port()
        spec = (
            f"tls:{port}:interface=127.0.0.1:certificate={papers['core.pem']}"
            f":key={papers['core.key']}:ca={papers['ca.pem']}"
        )
        edge = [
            *("--app", "shop:app", "--working-folder", str(self.deploy.folder)),
            *("--core", f"https://localhost:{port}"),
            *("--core-ca", papers["ca.pem"], "--core-cert", papers["worker.pem"]),
            *("--core-key", papers["worker.key"]),
        ]
        with ExitStack() as stack:
            stack.enter_context(busy_processor())
            there = self.cluster("--core", where, "--core-listen", spec, workers=1)
            self.masters = [stack.enter_context(there).pid]
            stack.callback(self.end_master)
            here = stack.enter_context(cluster(*edge))
            load = stack.enter_context(self.loaded(here, "/core/"))
            load.wait_for(100)
            figures = self.replace(f"a remote core, {where}", load, step)
            self.assert_served(figures, at_least=REQUESTS)
            self.assert_stops(here)

    def end_master(self) -> None:
        """End whichever master has the core now."""
        if is_alive(self.masters[-1]):
            os.kill(self.masters[-1], 15)
            wait_until_gone(self.masters[-1])

    def upgrade(self, _: int) -> None:
        """Replace the master that has the core, and with it the core."""
        old = self.masters[-1]
        ended = self.clusterctl("upgrade", deadline=PATIENCE)
        self.assertEqual(ended.returncode, 0, ended)
        found = re.search(rf"pid (\d+) has taken over from pid {old}", ended.stdout)
        assert found is not None, ended
        self.masters.append(int(found[1]))
        wait_until_gone(old, deadline=DEADLINE + 60)

    def test_remote_core_of_a_master(self) -> None:
        """Upgrades of the master that has the core."""
        self.remote("master", self.upgrade)

    def test_remote_core_in_a_child(self) -> None:
        """Reloads of the cluster that has the core."""
        self.remote("isolated", self.reload)

    def test_relays(self) -> None:
        """Workers that pass requests on to others, which drain for each reason."""

        def step(number: int) -> None:
            ways = [("reload",), ("scale", "3"), ("restart", "1"), ("scale", "2")]
            ended = self.clusterctl(*ways[number % len(ways)], deadline=PATIENCE)
            self.assertEqual(ended.returncode, 0, ended)

        sticky = ("--dispatch", "sticky", "--sticky", "query:key")
        options = {"kept": 24, "fresh": 4, "patience": 60.0, "per_second": 600.0}
        with (
            busy_processor(),
            self.cluster(*sticky) as running,
            Load(running.port, check_keyed, targets=KEYS, **options) as load,  # type: ignore[arg-type]
        ):
            load.wait_for(100)
            figures = self.replace("workers that relay", load, step)
            self.assert_served(figures, at_least=REQUESTS)
            self.assert_stops(running)
