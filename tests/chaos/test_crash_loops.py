"""Workers that crash again and again."""

import contextlib
import os
import signal

from tests.chaos.sites import OF_THE_KILLED, ChaosCase, pid_in
from tests.integration.running import RunningCluster


def kill_all(running: RunningCluster) -> None:
    """Kill all workers."""
    for pid in running.children():
        os.kill(pid, signal.SIGKILL)


class CrashLoopTests(ChaosCase):
    """Slots whose workers crash whenever they start."""

    def test_every_slot_for_a_while(self) -> None:
        """Clients wait meanwhile; when the fault is gone, so is the trouble."""
        with self.cluster() as running, self.load(running, patience=60) as load:
            load.wait_for(200)
            self.deploy.crash(0, 1, times=3)
            kill_all(running)
            for _ in range(2):
                running.wait_for(r"worker \d is ready")
            load.wait_for_more(500)
            for slot in (0, 1):
                said = running.text()
                self.assertEqual(said.count(f"] worker {slot} crashes at once"), 3)
                self.assertEqual(said.count(f" worker {slot} is started again in "), 4)
            self.assertIn("left with status 7", running.text())
            figures = load.report("every slot crashed 3 times when it was started")
            self.assertLessEqual(set(figures.kinds), OF_THE_KILLED, figures)
            # A client has one request, or one idle connection, at a time.
            self.assertLessEqual(len(figures.failures), 24)
            self.assert_stops(running)

    def test_one_slot_until_it_is_healed(self) -> None:
        """The others serve, the log says that it is given up, restart fills it."""
        with self.cluster() as running, self.load(running) as load:
            load.wait_for(200)
            self.deploy.crash(0, times=1000)
            os.kill(pid_in(running, 0), signal.SIGKILL)
            running.wait_for("worker 0 crashes too often and is started again in")
            lost = len(load.figures.failures)
            load.wait_for_more(500)
            self.assertEqual(len(running.children()), 1)
            self.deploy.crash(0, times=0)
            self.assert_done("restart", "0")
            self.assertEqual(len(running.children()), 2)
            load.wait_for_more(500)
            figures = load.report("one slot crashed until it was healed")
            self.assertLessEqual(set(figures.kinds), OF_THE_KILLED, figures)
            self.assertEqual(len(figures.failures), lost)
            self.assert_stops(running)

    def test_every_slot_for_good(self) -> None:
        """A cluster that has served says so, and goes on trying."""
        with self.cluster() as running:
            self.deploy.crash(0, 1, times=1000)
            kill_all(running)
            running.wait_for(r"no worker can be started any more, .*left with status 7")
            self.deploy.crash(0, 1, times=0)
            self.assert_done("restart", "0")
            self.assert_done("restart", "1")
            with self.load(running) as load:
                load.wait_for(50)
            self.assert_served(load.report("a cluster that was given up"), at_least=50)
            self.assert_stops(running)

    def test_request_that_crashes_its_worker(self) -> None:
        """Asked again and again, it ends the workers that get it, not the cluster."""
        with self.cluster() as running:
            for _ in range(12):
                with contextlib.closing(running.connect()) as client:
                    client.sendall(b"GET /crash HTTP/1.1\r\nHost: h\r\n\r\n")
                    with contextlib.suppress(ConnectionError):
                        self.assertEqual(client.recv(100), b"")
            with self.load(running, patience=60) as load:
                load.wait_for(200, deadline=60)
            self.assert_served(load.report("a request that crashes"), at_least=200)
            self.assertNotIn("crashes too often", running.text())
            self.assertNotIn("no worker can be started", running.text())
            self.assert_stops(running)
