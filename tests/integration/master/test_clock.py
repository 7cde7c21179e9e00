"""A clock that is set while a cluster runs, for the cluster's processes only."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.clocks import LIBRARIES, settable_clock
from tests.integration.master.test_cluster import open_request, read_all
from tests.integration.running import APPS, RunningCluster, cluster

A_YEAR = 365 * 86_400


@contextmanager
def shop_with_a_clock(
    *flags: str,
) -> Iterator[tuple[RunningCluster, Callable[[int], None]]]:
    """Run the tests' application; return what sets its clock, by seconds from now."""
    with settable_clock() as (clock, set_clock):
        env = {"PYTHONPATH": str(APPS), **clock}
        with cluster("--app", "shop:app", *flags, workers=1, env=env) as running:
            yield running, set_clock


def time_of(line: str) -> float:
    """Return the time of day at the beginning of a line of the log."""
    return datetime.strptime(
        line.split(maxsplit=1)[0], "%Y-%m-%dT%H:%M:%S%z"
    ).timestamp()


class ClockTests(SynchronousTestCase):
    """A clock that jumps by a year."""

    # Where CI runs, a library that is missing is a failure.
    if not LIBRARIES and "CI" not in os.environ:
        skip = "there is no libfaketime"

    def assert_jumped(self, running: RunningCluster, seconds: int) -> None:
        """Make sure that the test has tested something: the log has the new time."""
        passed = time_of(running.lines[-1]) - time_of(running.lines[0])
        self.assertApproximates(passed, seconds, 60)

    def test_forwards(self) -> None:
        """No time is over: neither a handler's in a worker, nor the master's."""
        with (
            shop_with_a_clock() as (running, set_clock),
            open_request(running, "/slow/2.0") as connection,
        ):
            running.wait_for("slow in")
            began = time.monotonic()
            running.signal(signal.SIGTERM)
            running.wait_for("stopping")
            set_clock(A_YEAR)
            self.assertIn(b"slow but sure", read_all(connection))
            self.assertGreater(time.monotonic() - began, 1.5)
            self.assertEqual(running.wait(), 0)
            self.assertNotIn("takes too long", running.text())
            self.assert_jumped(running, A_YEAR)

    def test_back(self) -> None:
        """Times that were running then are over when they would have been."""
        with shop_with_a_clock("--hang-timeout", "2") as (running, set_clock):
            (worker,) = running.children()
            with open_request(running, "/slow/1.0") as slow:
                running.wait_for("slow in")
                set_clock(-A_YEAR)
                self.assertIn(b"slow but sure", slow.recv(65536))
            os.kill(worker, signal.SIGSTOP)
            running.wait_for(rf"\(pid {worker}\) hangs", deadline=10)
            running.wait_for("worker 0 is ready", deadline=10)
            self.assertEqual(int(running.get("/pid")), *running.children())
            self.assert_jumped(running, -A_YEAR)
