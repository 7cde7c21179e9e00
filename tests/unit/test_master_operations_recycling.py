"""Workers that have served their time, and the connections of those that leave."""

import socket

from tests.unit.masters import OperationCase


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
        self.assertEqual(fresh.doors, ["private", "0 tcp:80"])
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
