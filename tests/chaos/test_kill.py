"""Processes that are killed: what it costs the clients, and what is left."""

import os
import random
import signal
import socket
import time

from tests.chaos.load import Load
from tests.chaos.sites import IN_FLIGHT, OF_THE_KILLED, ChaosCase, pid_in, pids
from tests.integration.running import eventually, wait_until_gone

KILLS = 20
#: So many where connections are distributed in other ways.
KILLS_MORE = 6
WORKERS = 6
#: One more within a minute, and a slot is not filled again at once.
MOST_KILLS = 4


class WorkerTests(ChaosCase):
    """``kill -9`` of workers."""

    def test_random_workers(self) -> None:
        self.kill(KILLS)

    def test_round_robin(self) -> None:
        self.kill(KILLS_MORE, "--dispatch", "round-robin")

    def test_reuseport(self) -> None:
        self.kill(KILLS_MORE, "--dispatch", "reuseport")

    def kill(self, kills: int, *flags: str) -> None:
        """Only the requests under way in the worker are lost; none is refused."""
        # No core: the process that answers must be the one that is connected to.
        targets = ("/whoami/", "/padded/", "/chunked/")
        lost = 0
        with (
            self.cluster(*flags, workers=WORKERS) as running,
            self.load(running, targets=targets) as load,
        ):
            load.wait_for(200)
            for slot in random.sample([*range(WORKERS)] * MOST_KILLS, kills):
                victim = pid_in(running, slot)
                before = len(load.figures.failures)
                os.kill(victim, signal.SIGKILL)
                wait_until_gone(victim)
                gone = time.monotonic()
                running.wait_for(rf"worker {slot} \(pid {victim}\) left with signal 9")
                running.wait_for(rf"worker {slot} is ready")
                load.wait_for_more(100)
                lost += self.assert_in_flight(load, before, victim, gone)
            self.assertNotIn("too often", running.text())
            self.assertEqual(len(running.children()), WORKERS)
            figures = load.report(f"{kills} workers killed, {lost} requests lost")
            self.assertLessEqual(set(figures.kinds), OF_THE_KILLED, figures)
            self.assertGreater(len(pids(figures)), kills)
            self.assert_stops(running)

    def assert_in_flight(
        self, load: Load, before: int, victim: int, gone: float
    ) -> int:
        """
        Expect that what has failed was in flight at the victim.

        :param before: how many requests had failed before the kill.
        :param gone: when the victim was gone, by `time.monotonic`.
        :return: how many requests were lost.
        """
        failures = load.figures.failures[before:]
        lost = [failure for failure in failures if failure.kind != "dropped"]
        for failure in failures:
            if failure.reused:
                self.assertTrue(failure.last.endswith(f" pid {victim}"), failure)
        for failure in lost:
            self.assertIn(failure.kind, IN_FLIGHT, failure)
            self.assertLess(failure.began, gone, failure)
        # A client has one request at a time.
        self.assertEqual(len(lost), len({failure.client for failure in lost}))
        return len(lost)


class MasterTests(ChaosCase):
    """``kill -9`` of the master."""

    def test_requests_in_flight(self) -> None:
        """They are answered, then nothing is left: no process, no socket."""
        with self.cluster("--core", "isolated") as running:
            eventually(lambda: "core is ready" in running.text())
            processes = running.children()
            load = self.load(
                running, kept=6, fresh=6, targets=("/slow/",), per_second=1000
            )
            with load:
                for _ in range(12):
                    running.wait_for("slow request")
                load.finish()
                running.signal(signal.SIGKILL)
                running.wait()
                figures = load.report("master killed with 12 requests in flight")
            self.assert_served(figures, at_least=12)
            self.assertLessEqual(pids(figures), processes)
            wait_until_gone(*processes)
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", running.port), timeout=5)
