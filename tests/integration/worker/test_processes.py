"""Processes that an application starts, and signals that reach all of a cluster."""

import http.client
import json
import os
import signal
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar
from unittest import TestCase

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import (
    APPS,
    DEADLINE,
    RunningCluster,
    cluster,
    eventually,
    is_alive,
    wait_until_gone,
)

#: How many processes of each kind; `PROCESS_TEST_MANY=1000` is all that is promised.
MANY = int(os.environ.get("PROCESS_TEST_MANY", "25"))


def processes(
    *flags: str, workers: int = 1, listen: str = "tcp:0:interface=127.0.0.1"
) -> AbstractContextManager[RunningCluster]:
    """Run the application that starts processes."""
    return cluster(
        *("--app", "processes:app", *flags),
        workers=workers,
        listen=listen,
        env={"PYTHONPATH": str(APPS)},
    )


def command_line(pid: int) -> str:
    """Return what ps(1) shows of a process."""
    shown = Path(f"/proc/{pid}/cmdline").read_bytes()
    return shown.rstrip(b"\0").decode()


class SharedClusterTests(SynchronousTestCase):
    """
    Processes that have ended when their test has.

    :cvar clusters: one with its core in the master, and one with an isolated core.
    """

    clusters: ClassVar[Mapping[str, RunningCluster]]

    @classmethod
    def setUpClass(cls) -> None:
        """Run them while there are tests."""
        super().setUpClass()
        cls.clusters = {
            core: cls.enterClassContext(processes("--core", core))
            for core in ("master", "isolated")
        }

    def test_every_exit_is_heard_of(self) -> None:
        """
        In workers and in an isolated core, of each of five kinds of process.

        With pipes and without, of Twisted, asyncio, subprocess and multiprocessing;
        all at the same time, and no zombie is left.
        """
        for place in ("", "/core"):
            told: Any = self.clusters["isolated"].json(f"{place}/start?many={MANY}")
            self.assertEqual(told.pop("zombies"), 0, place)
            self.assertEqual(set(told.values()), {MANY}, told)
            self.assertEqual(len(told), 5)

    def test_fork_can_be_terminated(self) -> None:
        """In a worker, in a core of its own, and in the master."""
        for running in self.clusters.values():
            for place in ("", "/core"):
                hold(self, running, place)
                self.assertEqual(running.get(f"{place}/terminate"), b"-15")

    def test_programs_do_not_ignore_signals(self) -> None:
        """Those that a worker starts, or a core in the master, or one of its own."""
        for core, running in self.clusters.items():
            for place in ("", "/core"):
                for name in ("INT", "QUIT", "HUP", "USR1", "USR2", "TERM"):
                    number = signal.Signals[f"SIG{name}"]
                    ended = running.get(f"{place}/interrupted?name=SIG{name}")
                    self.assertEqual(ended, str(-number).encode(), (core, place))


def hold(test: TestCase, running: RunningCluster, place: str) -> dict[str, Any]:
    """
    Request a fork on one of several open connections; return its state.

    It is checked to have no handler of ours and no socket but its own pipe.
    """
    kept = http.client.HTTPConnection("127.0.0.1", running.port, timeout=DEADLINE)
    test.addCleanup(kept.close)
    kept.request("GET", f"{place}/hold")
    answer = kept.getresponse()
    test.assertEqual(answer.status, 200)
    held: dict[str, Any] = json.loads(answer.read())
    usual = str(signal.SIG_DFL)
    test.assertEqual(set(held["handlers"].values()), {usual}, held)
    test.assertEqual(set(held["sockets"]), {"unnamed"}, held)
    test.assertIn("clusterapp: fork of", command_line(held["pid"]))
    return held


class ForkTests(SynchronousTestCase):
    """What multiprocessing forks off is the application's alone."""

    def test_it_keeps_nothing_open(self) -> None:
        """A client's connection is closed, and the port is free, though it lives."""
        with processes() as running:
            pids = []
            for place in ("", "/core"):
                pids.append(hold(self, running, place)["pid"])
                self.assertEqual(running.get(f"{place}/leave"), b"ok")
            with running.connect() as client:
                head = b"GET /leave HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                client.sendall(head)
                while client.recv(65_536):
                    pass
            try:
                children = running.children() - set(pids)
                running.signal(signal.SIGTERM)
                self.assertEqual(running.process.wait(DEADLINE), 0)
                wait_until_gone(*children)
                self.assertEqual([is_alive(pid) for pid in pids], [True, True])
                listen = f"tcp:{running.port}:interface=127.0.0.1"
                with processes(listen=listen) as again:
                    self.assertEqual(again.get("/leave"), b"ok")
            finally:
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)


class SignalTests(SynchronousTestCase):
    """Signals to the processes of a cluster, and to their group."""

    def test_signals_of_the_master_to_all_of_them(self) -> None:
        """Children do nothing at those that the master acts on; nobody is lost."""
        with processes("--core", "isolated", workers=2) as running:
            before = running.children()
            # The master would change its number of workers, or follow itself.
            for number in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2):
                for pid in before:
                    os.kill(pid, number)
            for number in (signal.SIGUSR1, signal.SIGWINCH):
                os.killpg(running.pid, number)
            running.wait_for("reopening logs")
            running.get("/leave")
            self.assertEqual(running.children(), before)
            os.killpg(running.pid, signal.SIGHUP)
            running.wait_for("generation 2 serves")
            self.assertNotIn("left with signal", running.text())

    def test_signals_while_a_child_begins(self) -> None:
        """They cannot end it before it has its handlers."""
        with processes("--core", "isolated", workers=2) as running:
            victim = min(running.children())
            rest = running.children() - {victim}
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: len(running.children() - {victim}) > len(rest))
            [pid] = running.children() - rest - {victim}
            for name in ("HUP", "TTIN", "TTOU", "QUIT", "USR1", "USR2"):
                os.kill(pid, signal.Signals[f"SIG{name}"])
            running.wait_for("is ready")
            self.assertIn(pid, running.children())


class TitleTests(SynchronousTestCase):
    """What ps(1) shows."""

    def test_titles(self) -> None:
        """Each process says what it is; its environment can be read as before."""
        with processes("--core", "isolated", workers=2) as running:
            titles = [command_line(pid) for pid in (running.pid, *running.children())]
            self.assertEqual(
                sorted(titles),
                [
                    "clusterapp: core processes:app",
                    "clusterapp: master processes:app",
                    "clusterapp: worker 0 processes:app",
                    "clusterapp: worker 1 processes:app",
                ],
            )
            for pid in (running.pid, *running.children()):
                environ = Path(f"/proc/{pid}/environ").read_bytes()
                self.assertIn(b"\0PYTHONPATH=", environ)
