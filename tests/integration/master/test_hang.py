"""Workers that hang, for real: found, asked what they do, and replaced."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import APPS, RunningCluster, cluster, wait_until_gone

#: The hang timeout of these clusters, in seconds.
HANG = 2.0

#: From the beginning of a hang until the replacement is ready, in seconds: it has to
#: start, on a machine that has other work too.
REPLACED = HANG + 8.0


def hanging(
    *flags: str, workers: int = 2, env: Mapping[str, str] | None = None
) -> AbstractContextManager[RunningCluster]:
    """Run the application that hangs."""
    return cluster(
        *("--app", "hanging:app", "--hang-timeout", f"{HANG}", *flags),
        workers=workers,
        env={"PYTHONPATH": str(APPS), **(env or {})},
    )


@contextmanager
def busy(running: RunningCluster, target: str) -> Iterator[int]:
    """Send a request that is not answered; return the pid of the worker that has it."""
    with running.connect() as connection:
        connection.sendall(
            b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n" % target.encode("ascii")
        )
        yield int(running.wait_for(r"busy (\d+)")[1])


def serve_for(running: RunningCluster, seconds: float) -> set[int]:
    """Send requests for some time; return the pids of the workers that answered."""
    until = time.monotonic() + seconds
    seen = set()
    pause = threading.Event()
    while time.monotonic() < until:
        asked = time.monotonic()
        seen.add(int(running.get("/pid")))
        taken = time.monotonic() - asked
        assert taken < HANG, f"a request took {taken} s"
        # Others need the processors, too.
        pause.wait(0.01)
    return seen


class HangTests(SynchronousTestCase):
    """Two workers, one of which hangs."""

    def assert_replaced(self, running: RunningCluster, victim: int) -> str:
        """Expect a worker that begins to hang to be replaced; return the log."""
        began = time.monotonic()
        seen = serve_for(running, HANG / 2)
        self.assertNotIn(victim, seen)
        running.wait_for(rf"\(pid {victim}\) hangs: its event loop has not turned")
        found = time.monotonic() - began
        running.wait_for(rf"\(pid {victim}\) left with signal 6")
        running.wait_for(r"worker \d is ready")
        replaced = time.monotonic() - began
        print(f"found after {found:.2f} s, replaced after {replaced:.2f} s")
        self.assertLess(found, HANG + 0.5)
        self.assertLess(replaced, REPLACED)
        wait_until_gone(victim)
        self.assertEqual(len(running.children()), 2)
        return running.text()

    def test_sleep_in_a_handler(self) -> None:
        """The log names the handler, and the request without its query."""
        with hanging() as running, busy(running, "/sleep?key=secret") as victim:
            text = self.assert_replaced(running, victim)
        self.assertRegex(text, r"  GET /sleep from 127\.0\.0\.1 for [1-3]\.\d s")
        self.assertIn(" in sleep_for_ever", text)
        self.assertNotIn("secret", text)

    def test_endless_loop(self) -> None:
        with hanging() as running, busy(running, "/spin") as victim:
            text = self.assert_replaced(running, victim)
        self.assertIn("  GET /spin from", text)
        self.assertIn(" in spin_for_ever", text)

    def test_code_that_keeps_the_lock(self) -> None:
        """No thread can tell the requests; the stacks are written in C."""
        with hanging() as running, busy(running, "/match") as victim:
            text = self.assert_replaced(running, victim)
        self.assertIn(" in match_for_ever", text)

    def test_stopped(self) -> None:
        """A process that is stopped is continued, to tell what it had to do."""
        with hanging() as running, busy(running, "/wait") as victim:
            os.kill(victim, signal.SIGSTOP)
            text = self.assert_replaced(running, victim)
        self.assertIn("  GET /wait from", text)
        self.assertIn("clusterapp/worker/child_program.py", text)

    def test_isolated_core(self) -> None:
        """It is watched like a worker; no worker is accused for waiting for it."""
        with hanging("--core", "isolated", workers=1) as running:
            if "core is ready" not in running.text():
                running.wait_for("core is ready")
            with busy(running, "/core/sleep") as victim:
                running.wait_for(rf"core \(pid {victim}\) hangs")
                running.wait_for(" in sleep_in_the_core")
                running.wait_for(rf"core \(pid {victim}\) left with signal 6")
                running.wait_for("core is ready")
            self.assertEqual(running.text().count("hangs"), 1)


class InnocentTests(SynchronousTestCase):
    """What looks like a hang and is none."""

    def assert_spared(self, running: RunningCluster, before: set[int]) -> None:
        self.assertNotIn("hangs", running.text())
        self.assertEqual(running.children(), before)

    def test_stopped_for_less(self) -> None:
        """It goes on as if nothing had happened, and so does what it serves."""
        with hanging() as running, busy(running, "/wait") as worker:
            before = running.children()
            os.kill(worker, signal.SIGSTOP)
            self.assertNotIn(worker, serve_for(running, HANG / 2))
            os.kill(worker, signal.SIGCONT)
            serve_for(running, HANG)
            self.assert_spared(running, before)

    def test_cpu_burner(self) -> None:
        with hanging() as running:
            before = running.children()
            answer = running.get(f"/burn/{HANG * 2}")
            self.assertIn(int(answer.split()[-1]), before)
            self.assert_spared(running, before)

    def test_slow_boot(self) -> None:
        env = {"BOOT_SECONDS": f"{HANG * 1.5}"}
        with hanging(workers=1, env=env) as running:
            self.assertNotIn("hangs", running.text())
            self.assertNotIn("left with", running.text())

    def test_master_was_stopped(self) -> None:
        """Workers serve meanwhile, and none is accused afterwards."""
        with hanging() as running:
            before = running.children()
            running.signal(signal.SIGSTOP)
            try:
                serve_for(running, HANG * 2)
            finally:
                running.signal(signal.SIGCONT)
            serve_for(running, HANG * 1.5)
            self.assert_spared(running, before)

    def test_signal_by_hand(self) -> None:
        """``kill -USR2`` to a worker writes its stacks to the log, and no more."""
        with hanging() as running:
            before = running.children()
            for pid in before:
                os.kill(pid, signal.SIGUSR2)
                running.wait_for("most recent call first")
            serve_for(running, 0.2)
            self.assert_spared(running, before)
