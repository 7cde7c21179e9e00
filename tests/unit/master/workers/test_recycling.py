"""Workers that have served their time, and the connections of those that leave."""

import socket
from itertools import pairwise

from twisted.logger import LogLevel

from tests.unit.master.masters import OperationCase


class RecyclingTests(OperationCase):
    """Workers that have served their time."""

    def test_requests(self) -> None:
        """A tenth more or less, so that not all are replaced at once."""
        one, other = self.run_master(max_requests=100)
        one.report(requests=89)
        other.report(requests=111)
        self.reactor.advance(1)
        child = self.pass_trial()
        self.assertEqual(child.bootstrap["slot"], 1)
        self.assertEqual((one.alive, other.alive), (True, False))
        self.assertIn("worker 1 is replaced: 111 requests", self.log.lines())
        self.finish()

    def test_one_at_a_time(self) -> None:
        one, other = self.run_master(max_rss="1 MiB")
        for child in (one, other):
            child.report(rss=3 * 1024**2)
        self.reactor.advance(1)
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.living()), 3)
        self.pass_trial()
        self.reactor.advance(1)
        self.assertEqual(self.pass_trial().bootstrap["slot"], 1)
        self.assertIn("worker 0 is replaced: 3 MiB resident", self.log.lines())
        self.finish()

    def test_lifetime(self) -> None:
        [child] = self.run_master(workers=1, max_lifetime=100)
        child.report()
        self.reactor.pump([1.0] * 89)
        self.assertEqual(len(self.reactor.children), 1)
        self.reactor.pump([1.0] * 22)
        self.pass_trial()
        self.assertFalse(child.alive)
        self.finish()

    def test_replacement_fails(self) -> None:
        """The old one serves on, and is left alone for a while."""
        [child] = self.run_master(workers=1, max_requests=10)
        child.report(requests=100)
        self.reactor.advance(1)
        self.newest().exit(status=1)
        self.assertTrue(child.alive)
        for _ in range(30):
            self.reactor.advance(1)
        self.assertEqual(self.reactor.living(), [child])
        self.reactor.pump([1.0] * 40)
        self.assertEqual(len(self.reactor.living()), 2)
        self.pass_trial()
        self.finish()


class TooLowTests(OperationCase):
    """Limits that every worker reaches at once."""

    def replacements(self, seconds: int, **figures: int) -> list[float]:
        """Report these figures of each worker; return the times of replacements."""
        times: list[float] = []
        began = self.reactor.seconds()
        for _ in range(seconds):
            self.newest().report(**figures)
            self.reactor.advance(1)
            if len(self.reactor.living()) > 1:
                times.append(self.reactor.seconds() - began)
                self.pass_trial()
        return times

    def errors(self) -> list[str]:
        """Return the errors of the log."""
        return self.log.lines(LogLevel.error)

    def test_memory_below_that_of_the_start(self) -> None:
        """It is replaced ever more seldom, and an error names setting and memory."""
        self.run_master(workers=1, max_rss="64 MiB")
        times = self.replacements(1500, rss=83 * 1024**2)
        gaps = [after - before for before, after in pairwise(times)]
        self.assertEqual(len(times), 11)
        for gap, least in zip(
            gaps, (1, 2, 4, 8, 16, 32, 64, 128, 256, 512), strict=True
        ):
            self.assertGreaterEqual(gap, least)
            self.assertLessEqual(gap, least + 3)
        self.assertEqual(
            self.errors()[0],
            "--max-rss = 64 MiB is less than worker 0 needs at its start, 83 MiB: raise"
            " it; the next one is left alone for 1 s",
        )
        self.assertEqual(len(self.errors()), 11)
        self.finish()

    def test_memory_that_grows(self) -> None:
        """Whatever it needs is soon given back: the pause stays short."""
        self.run_master(workers=1, max_rss="64 MiB")
        times: list[float] = []
        for _ in range(100):
            self.newest().report(rss=60 * 1024**2)
            self.reactor.advance(1)
            self.newest().report(rss=83 * 1024**2)
            self.reactor.advance(1)
            if len(self.reactor.living()) > 1:
                times.append(self.reactor.seconds())
                self.pass_trial()
        gaps = [after - before for before, after in pairwise(times)]
        self.assertLessEqual(max(gaps), 14)
        self.assertGreaterEqual(min(gaps[4:]), 10)
        self.assertRegex(self.errors()[0], "--max-rss = 64 MiB is too low: worker 0 ")
        self.finish()

    def test_requests_and_lifetime(self) -> None:
        """The same for limits that are no limits."""
        for limits in ({"max_requests": 1}, {"max_lifetime": 1}):
            self.run_master(workers=1, **limits)
            times = self.replacements(100, requests=50)
            self.assertLess(len(times), 15)
            self.assertGreater(len(times), 9)
            (setting,) = limits
            name = f"--{setting.replace('_', '-')}"
            self.assertIn(f"{name} = 1", self.errors()[-1])
            self.assertIn("is too low: worker 0 came to", self.errors()[-1])
            self.finish()
            self.reactor.children.clear()

    def test_once_in_a_while(self) -> None:
        """Nothing is said of a worker that has served for some time."""
        self.run_master(workers=1, max_requests=10)
        for _ in range(3):
            self.reactor.pump([1.0] * 30)
            self.newest().report(requests=50)
            self.reactor.advance(1)
            self.pass_trial()
        self.assertEqual(self.errors(), [])
        self.finish()


class HandOverTests(OperationCase):
    """Connections of a worker that leaves."""

    def test_to_the_newest(self) -> None:
        old = self.run_master()
        self.operations.reload(self.tell)
        fresh = self.pass_trial()
        ours, theirs = socket.socketpair()
        given = old[1].end.hand_over(theirs, "0 tcp:80")
        for _ in range(3):
            self.reactor.flush()
        self.assertTrue(self.successResultOf(given))
        [_, adopted] = fresh.adopted
        self.assertEqual(fresh.listeners, ["private", "0 tcp:80"])
        adopted.send(b"a")
        self.assertEqual(ours.recv(1), b"a")
        for each in (ours, theirs, adopted):
            each.close()
        self.finish()

    def test_to_nobody(self) -> None:
        """When all leave there is nobody who could serve it."""
        [child] = self.run_master(workers=1)
        stopped = self.service.stopService()
        ours, theirs = socket.socketpair()
        given = child.end.hand_over(theirs, "0 tcp:80")
        for _ in range(3):
            self.reactor.flush()
        self.assertFalse(self.successResultOf(given))
        for each in (ours, theirs):
            each.close()
        self.let_go()
        self.successResultOf(stopped)
        self.assert_nothing_left()
