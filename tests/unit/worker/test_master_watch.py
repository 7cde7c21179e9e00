"""The thread that listens to the master, with a real pipe and no real exit."""

import os
import threading
import time
from collections.abc import Callable, Iterable

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.inspection import ASK, END, UnderWay
from clusterapp.worker import master_watch as watch
from clusterapp.worker.master_watch import watch_master

DEADLINE = 30.0


class WatchCase(SynchronousTestCase):
    """A child's pipe, whose other end the test holds."""

    def setUp(self) -> None:
        self.pipe, self.master = os.pipe()
        self.slept: list[float] = []
        self.left: list[int] = []
        self.gone = threading.Event()
        self.patch(time, "sleep", self.slept.append)
        self.patch(os, "_exit", self.leave)
        reading, writing = os.pipe()
        self.patch(watch, "_STDERR", writing)
        self.stderr = os.fdopen(reading, encoding="utf-8")
        self.addCleanup(self.stderr.close)
        self.addCleanup(os.close, writing)
        self.addCleanup(os.close, self.pipe)
        self.addCleanup(self.end)

    def leave(self, status: int) -> None:
        self.left.append(status)
        self.gone.set()

    def watch(self, under_way: Callable[[], Iterable[UnderWay]] = tuple) -> None:
        watch_master(self.pipe, 5.0, under_way)

    def end(self) -> None:
        """Close the pipe, as the master's death does, and wait for the thread."""
        if not self.gone.is_set():
            os.close(self.master)
            self.assertTrue(self.gone.wait(DEADLINE))

    def answer(self) -> list[str]:
        """Ask, and return the lines that come."""
        os.write(self.master, ASK)
        lines = iter(lambda: self.stderr.readline().removesuffix("\n"), END)
        return list(lines)


class DeathTests(WatchCase):
    """The last resort."""

    def test_master_is_gone(self) -> None:
        """The process ends some time after the pipe, whatever the loop does."""
        self.watch()
        self.answer()
        self.assertFalse(self.gone.is_set())
        self.end()
        self.assertEqual(self.left, [1])
        self.assertGreater(self.slept[0], 5.0)

    def test_question_of_a_master_that_is_gone(self) -> None:
        """An answer that nobody reads does not keep the process."""
        nowhere, broken = os.pipe()
        os.close(nowhere)
        self.addCleanup(os.close, broken)
        self.patch(watch, "_STDERR", broken)
        self.watch()
        os.write(self.master, ASK)
        self.end()
        self.assertEqual(self.left, [1])


class AnswerTests(WatchCase):
    """What the thread says when it is asked."""

    def test_requests(self) -> None:
        """Those that have waited longest come first; queries are kept secret."""
        self.watch(
            lambda: [
                (b"GET", b"/new?key=secret", "::1", 0.25),
                (b"POST", b"/old", None, 12.34),
            ]
        )
        self.assertEqual(
            self.answer()[:3],
            [
                "requests under way: 2",
                "  POST /old from unknown for 12.3 s",
                "  GET /new from ::1 for 0.2 s",
            ],
        )

    def test_hostile_target(self) -> None:
        """It cannot write lines of its own, nor a very long one."""
        self.watch(lambda: [(b"GET", b"/a\nb\x1b\xff" + b"x" * 10_000, "::1", 0)])
        line = self.answer()[1]
        self.assertIn(r"/a\nb\x1b\xffxxx", line)
        self.assertLess(len(line), 1000)

    def test_many_requests(self) -> None:
        self.watch(lambda: [(b"GET", b"/%d" % n, "::1", n) for n in range(150)])
        lines = [line for line in self.answer() if line.startswith("  ")]
        self.assertIn("  GET /149 from ::1 for 149.0 s", lines)
        self.assertIn("  GET /50 from ::1 for 50.0 s", lines)
        self.assertNotIn("  GET /49 from ::1 for 49.0 s", lines)
        self.assertIn("  and 50 more", lines)

    def test_stacks(self) -> None:
        """Of all threads, the one that runs this test among them."""
        self.watch()
        self.assertIn(" in test_stacks", "\n".join(self.answer()))

    def test_requests_cannot_be_told(self) -> None:
        """The stacks are, and the thread lives on."""

        def fail() -> Iterable[UnderWay]:
            raise RuntimeError("changed size")

        self.watch(fail)
        for _ in range(2):
            first, *stacks = self.answer()
            self.assertEqual(
                first,
                "the requests under way cannot be told: RuntimeError('changed size')",
            )
            self.assertIn("most recent call first", "\n".join(stacks))
