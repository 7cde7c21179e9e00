"""Reloads and upgrades under load, good ones and bad ones."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.sites import ChaosCase, Deploy, pid_in, versions
from tests.integration.running import (
    DEADLINE,
    RunningCluster,
    is_alive,
    wait_until_gone,
)

RELOADS = 20
UPGRADES = 3


class ReloadTests(ChaosCase):
    """Deploys that are well."""

    @pytest.mark.timeout(300)
    def test_twenty_in_a_row(self) -> None:
        """By turns with clusterctl and with SIGHUP; nothing fails."""
        with (
            self.cluster() as running,
            self.load(running, per_second=500.0) as load,
        ):
            load.wait_for(200)
            for number in range(2, RELOADS + 2):
                self.deploy.put("serving", f"{number}")
                if number % 2:
                    running.signal(signal.SIGHUP)
                    running.wait_for(f"reload done: generation {number} serves")
                else:
                    self.assert_done("reload")
                load.wait_for_more(50)
            load.wait_for(10_000, deadline=60.0)
            figures = load.report(f"{RELOADS} reloads")
            self.assert_served(figures, at_least=10_000)
            self.assertEqual(versions(figures), set(map(str, range(1, RELOADS + 2))))
            # Those that keep their connections have never lost one.
            self.assertGreaterEqual(figures.reused + figures.connections, 10_000)
            self.assert_stops(running)

    def test_signals_in_a_reload(self) -> None:
        """A HUP is done afterwards; a TERM ends it, and starts nothing more."""
        with self.cluster() as running:
            running.signal(signal.SIGHUP)
            running.wait_for("generation 2 in")
            self.deploy.put("serving", "2")
            for _ in range(3):
                running.signal(signal.SIGHUP)
                running.wait_for("SIGHUP: cannot reload: .*; done afterwards")
            running.wait_for("reload done: generation 2 serves")
            running.wait_for("worker 0: starting generation 3")
            running.wait_for("worker 0: ready after")
            running.signal(signal.SIGTERM)
            self.assertEqual(running.wait(), 0)
            behind = running.text().partition("SIGTERM: stopping")[2]
            self.assertIn("reload failed: given up: the cluster is stopping", behind)
            self.assertNotRegex(behind, "starting|is ready|back to generation")

    def test_core_of_its_own(self) -> None:
        """Its requests are parked while it is replaced."""
        with (
            self.cluster("--core", "isolated") as running,
            self.load(running, targets=("/core/", "/whoami/")) as load,
        ):
            load.wait_for(200)
            for number in (2, 3):
                self.deploy.put("serving", f"{number}")
                self.assert_done("reload")
                load.wait_for_more(100)
            figures = load.report("2 reloads with an isolated core")
            self.assert_served(figures, at_least=400)
            self.assertEqual(versions(figures), {"1", "2", "3"})
            self.assert_stops(running)

    def test_symbolic_link(self) -> None:
        """What a link leads to is one generation's, until there is a reload."""
        releases = [Deploy(self.folder / name) for name in ("one", "two")]
        current = self.folder / "current"
        for number, release in enumerate(releases, 1):
            release.put("serving", f"{number}")
        current.symlink_to("one")
        with (
            self.cluster("--working-folder", str(current)) as running,
            # Not from the core: the master's keeps its code.
            self.load(running, targets=("/whoami/", "/padded/")) as load,
        ):
            load.wait_for(100)
            fresh = self.folder / "fresh"
            fresh.symlink_to("two")
            fresh.rename(current)
            # A crash brings back what its neighbours run.
            os.kill(pid_in(running, 0), signal.SIGKILL)
            running.wait_for("worker 0 is ready")
            load.wait_for_more(100)
            self.assertEqual(versions(load.figures), {"1"})
            self.assert_done("reload")
            load.wait_for_more(100)
            before = load.figures.answers.total()
            answers = dict(load.figures.answers)
            load.wait_for_more(100)
            old = [who for who in answers if who.startswith("version 1")]
            self.assertEqual(
                [load.figures.answers[who] for who in old],
                [answers[who] for who in old],
            )
            self.assertGreater(load.figures.answers.total(), before)
            self.assert_stops(running)


class BadDeployTests(ChaosCase):
    """Deploys that are no good: the old generation serves on."""

    def refused(self, name: str, *facts: str, flags: tuple[str, ...] = ()) -> None:
        """Deploy something under load, and expect that it is refused."""
        with self.cluster(*flags) as running, self.load(running) as load:
            load.wait_for(200)
            workers = {pid_in(running, slot) for slot in (0, 1)}
            self.deploy.put(name, "2")
            ended = self.clusterctl("reload")
            self.assertEqual(ended.returncode, 1, ended)
            for fact in facts:
                self.assertIn(fact, ended.stdout + ended.stderr)
            load.wait_for_more(200)
            figures = load.report(f"a deploy of {name}")
            self.assert_served(figures, at_least=400)
            self.assertEqual(versions(figures), {"1"})
            self.assertEqual({pid_in(running, slot) for slot in (0, 1)}, workers)
            self.assertEqual(self.clusterctl("status").returncode, 0)
            # And the next one, which is good, is done.
            self.deploy.put("serving", "3")
            self.assert_done("reload")
            self.assert_stops(running)

    def test_import_error(self) -> None:
        self.refused("import_error", "Traceback")

    def test_never_ready(self) -> None:
        # Good workers have the same time, on a machine that has other work too.
        self.refused("never_ready", "not ready within 6", flags=("--boot-timeout", "6"))

    def test_unhealthy(self) -> None:
        self.refused("unhealthy", "answers GET / with status 500")

    def test_crashing(self) -> None:
        self.refused("crashing", "worker 0: left with")


class UpgradeTests(ChaosCase):
    """New masters."""

    @contextmanager
    def upgraded(self) -> Iterator[tuple[RunningCluster, list[int]]]:
        """Run a cluster; end whichever master is the last."""
        with self.cluster() as running:
            masters = [running.pid]
            try:
                yield running, masters
            finally:
                if is_alive(masters[-1]):
                    os.kill(masters[-1], signal.SIGTERM)
                    wait_until_gone(masters[-1])

    def test_three_in_a_row(self) -> None:
        """By clusterctl and by SIGUSR2; nothing fails."""
        with self.upgraded() as (running, masters), self.load(running) as load:
            load.wait_for(200)
            for number in range(2, UPGRADES + 2):
                self.deploy.put("serving", f"{number}")
                old = masters[-1]
                if number % 2:
                    os.kill(old, signal.SIGUSR2)
                else:
                    self.assert_done("upgrade")
                found = running.wait_for(rf"pid (\d+) has taken over from pid {old}")
                masters.append(int(found[1]))
                wait_until_gone(old, deadline=DEADLINE + 30)
                load.wait_for_more(200)
            figures = load.report(f"{UPGRADES} upgrades")
            self.assert_served(figures, at_least=800)
            self.assertEqual(versions(figures), {"1", "2", "3", "4"})
            self.assertEqual(len(set(masters)), UPGRADES + 1)

    def test_bad_one(self) -> None:
        """The old master serves on, and can be followed later."""
        with self.upgraded() as (running, _), self.load(running) as load:
            load.wait_for(200)
            self.deploy.put("import_error")
            ended = self.clusterctl("upgrade")
            self.assertEqual(ended.returncode, 1, ended)
            load.wait_for_more(200)
            figures = load.report("an upgrade to an import error")
            self.assert_served(figures, at_least=400)
            self.assertTrue(is_alive(running.pid))


class SlotTests(ChaosCase):
    """More workers, fewer, and other ones."""

    def test_scale(self) -> None:
        """By clusterctl, TTIN and TTOU."""
        with self.cluster() as running, self.load(running) as load:
            load.wait_for(100)
            self.assert_done("scale", "4")
            self.assertEqual(len(running.children()), 4)
            load.wait_for_more(100)
            self.assert_done("scale", "1")
            load.wait_for_more(100)
            running.signal(signal.SIGTTIN)
            running.wait_for("scale done: 2 workers")
            load.wait_for_more(100)
            running.signal(signal.SIGTTOU)
            running.wait_for("scale done: 1 worker")
            load.wait_for_more(100)
            self.assert_served(load.report("2 → 4 → 1 → 2 → 1"), at_least=500)
            self.assertEqual(len(running.children()), 1)
            self.assert_stops(running)

    def test_restart(self) -> None:
        with self.cluster() as running, self.load(running) as load:
            load.wait_for(100)
            before = pid_in(running, 1)
            self.assert_done("restart", "1")
            wait_until_gone(before)
            load.wait_for_more(200)
            self.assert_served(load.report("a restart"), at_least=300)
            self.assert_stops(running)

    def test_recycling(self) -> None:
        """Workers are replaced after so many requests, one at a time."""
        with (
            self.cluster("--max-requests", "300") as running,
            self.load(running, targets=("/whoami/",)) as load,
        ):
            for _ in range(4):
                running.wait_for(r"worker \d is replaced: \d+ requests")
                running.wait_for("recycle done")
            self.assert_served(load.report("4 recyclings"), at_least=1000)
            self.assert_stops(running)


class MemoryTests(ChaosCase):
    """Workers that grow."""

    def test_max_rss(self) -> None:
        """New before old, and nothing fails."""
        with (
            self.cluster("--max-rss", "120 MiB", workers=1) as running,
            self.load(running, targets=("/leak/",), per_second=300.0) as load,
        ):
            for _ in range(2):
                running.wait_for(r"worker 0 is replaced: 1[2-9]\d MiB resident")
                running.wait_for("recycle done")
            self.assert_served(load.report("2 replacements for memory"), at_least=500)
            self.assert_stops(running)

    def test_limit_of_a_cgroup(self) -> None:
        """What the kernel kills is replaced; the master is not touched."""
        group = _memory_group()
        with self.cluster(workers=2) as running:
            try:
                victim = pid_in(running, 0)
                _limit(group, victim, 160 * 1024**2)
                with self.load(running, targets=("/leak/",)) as load:
                    found = running.wait_for(
                        rf"worker 0 \(pid {victim}\) left with signal 9"
                    )
                    self.assertIsNotNone(found)
                    running.wait_for("worker 0 is ready")
                    load.wait_for_more(50)
                figures = load.report("a worker beyond its cgroup's memory")
                self.assertLessEqual(
                    set(figures.kinds), {"closed", "reset", "cut", "dropped"}, figures
                )
                self.assert_stops(running)
            finally:
                group.rmdir()


def _memory_group() -> Path:
    """Make a cgroup of the test's own, of whichever version can be written here."""
    for base in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
        group = Path(base) / f"clusterapp-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if any(group.glob("memory.*max")) or any(group.glob("memory.limit*")):
            return group
        group.rmdir()
    raise AssertionError("no cgroup for memory can be made here: run this as root")


def _limit(group: Path, pid: int, size: int) -> None:
    for name in ("memory.limit_in_bytes", "memory.max"):
        if (group / name).exists():
            (group / name).write_text(f"{size}")
    # No swap is used instead, where there is any.
    for name in ("memory.memsw.limit_in_bytes", "memory.swap.max"):
        if (group / name).exists():
            (group / name).write_text("0" if "swap" in name else f"{size}")
    (group / "cgroup.procs").write_text(f"{pid}")
