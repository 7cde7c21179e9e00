"""The image's entrypoint as PID 1: signals, zombies, health."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.integration.pid1 import contained, why_not
from tests.integration.running import eventually, wait_until_gone


class PidOneTests(SynchronousTestCase):
    """What a container engine and its orchestrator rely on."""

    def setUp(self) -> None:
        """Make sure that there can be a PID 1 of ours."""
        # Where CI runs, a namespace that cannot be made is a failure.
        if "CI" not in os.environ and (reason := why_not()):
            raise SkipTest(f"no PID namespace can be made: {reason}")

    def test_term_stops_gracefully(self) -> None:
        """What is being answered is answered whole; the status is 0."""
        with contained() as running, ThreadPoolExecutor() as threads:
            answer = threads.submit(running.get, "/slow")
            running.wait_for("slow begins")
            running.signal(signal.SIGTERM)
            self.assertEqual(answer.result(), b"slow but sure")
            self.assertEqual(running.wait(), 0, running.text())

    def test_orphans_are_reaped(self) -> None:
        """A process that nobody waits for leaves no zombie; workers are not hurt."""
        with contained() as running:
            orphan = running.leave_orphan()
            os.kill(orphan, signal.SIGKILL)
            eventually(lambda: not Path(f"/proc/{orphan}").exists())
            self.assertEqual(running.get("/"), b"here")

    def test_orphans_of_a_dead_worker(self) -> None:
        """What a killed worker leaves is reaped, and the worker is replaced."""
        with contained() as running:
            (worker,) = running.children()
            orphan = running.leave_orphan()
            os.kill(worker, signal.SIGKILL)
            running.wait_for(r"worker 0 is ready")
            os.kill(orphan, signal.SIGKILL)
            eventually(lambda: not Path(f"/proc/{orphan}").exists())
            self.assertFalse(Path(f"/proc/{worker}").exists())

    def test_kill_leaves_nothing(self) -> None:
        """A killed PID 1 takes workers and orphans with it."""
        with contained() as running:
            pids = {running.leave_orphan(), *running.children(), running.pid}
            running.signal(signal.SIGKILL)
            running.wait()
            wait_until_gone(*pids)

    def test_health(self) -> None:
        """The image's health check finds the master, and tells a cluster's end."""
        with contained() as running:
            self.assertEqual(running.health(), 0)
            running.signal(signal.SIGTERM)
            running.wait()
            self.assertEqual(running.health(), 4)

    def test_too_few_workers(self) -> None:
        """A cluster that serves, but with less than it should, is not healthy."""
        with contained(CLUSTERAPP_MIN_READY="2") as running:
            self.assertEqual(running.get("/"), b"here")
            self.assertEqual(running.health(), 1)
