"""The worker that gets the next connection accepted by the master."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.dispatch.policies import LeastConnections, Policy, RoundRobin


@dataclass
class Worker:
    """A worker that counts what it is given."""

    name: str = ""
    waiting: int = 0
    open: int = 0


def given_to(policy: Policy, workers: list[Worker], times: int) -> str:
    """Dispatch connections that never end; return the names of the workers chosen."""
    names = ""
    for _ in range(times):
        chosen = policy.choose(workers)
        assert chosen is not None
        chosen.open += 1
        names += chosen.name
    return names


class RoundRobinTests(SynchronousTestCase):
    """One after the other."""

    def test_in_turn(self) -> None:
        workers = [Worker(name) for name in "abc"]
        self.assertEqual(given_to(RoundRobin(5), workers, 7), "bcabcab")

    def test_load_does_not_count(self) -> None:
        workers = [Worker("a", open=1000), Worker("b")]
        self.assertEqual(given_to(RoundRobin(5), workers, 4), "baba")

    def test_one_that_does_not_come_to_them_is_passed_over(self) -> None:
        workers = [Worker("a"), Worker("b", waiting=5), Worker("c", waiting=4)]
        self.assertEqual(given_to(RoundRobin(5), workers, 4), "caca")

    def test_fewer_than_before(self) -> None:
        policy = RoundRobin(5)
        given_to(policy, [Worker(name) for name in "abcd"], 3)
        self.assertEqual(given_to(policy, [Worker("a")], 2), "aa")


class LeastConnectionsTests(SynchronousTestCase):
    """The one that has the fewest."""

    def test_the_fewest(self) -> None:
        workers = [Worker("a", open=4), Worker("b", open=1), Worker("c", open=2)]
        self.assertEqual(given_to(LeastConnections(5), workers, 2)[0], "b")

    def test_those_that_wait_count(self) -> None:
        workers = [Worker("a", waiting=3, open=1), Worker("b", open=3)]
        self.assertEqual(given_to(LeastConnections(5), workers, 1), "b")

    def test_of_several_one_after_the_other(self) -> None:
        """Connections that end at once are even, too."""
        workers = [Worker(name) for name in "abc"]
        policy = LeastConnections(5)
        chosen = [policy.choose(workers) for _ in range(6)]
        names = "".join(each.name for each in chosen if each is not None)
        self.assertEqual(names, "bcabca")

    def test_one_that_does_not_come_to_them_is_passed_over(self) -> None:
        workers = [Worker("a", waiting=5), Worker("b", waiting=4, open=100)]
        self.assertEqual(given_to(LeastConnections(5), workers, 2), "bb")

    @given(st.lists(st.integers(0, 50), min_size=1, max_size=8))
    def test_always_the_fewest(self, counts: list[int]) -> None:
        workers = [Worker(open=count) for count in counts]
        chosen = LeastConnections(5).choose(workers)
        assert chosen is not None
        self.assertEqual(chosen.open, min(counts))


class NobodyTests(SynchronousTestCase):
    """When nobody can be chosen."""

    def test_all_have_as_many_as_may_wait(self) -> None:
        workers = [Worker(waiting=5), Worker(waiting=6)]
        for policy in (RoundRobin(5), LeastConnections(5)):
            self.assertIsNone(policy.choose(workers))
            workers[0].waiting = 4
            self.assertIs(policy.choose(workers), workers[0])
            workers[0].waiting = 5

    def test_nobody_is_there(self) -> None:
        for policy in (RoundRobin(5), LeastConnections(5)):
            self.assertIsNone(policy.choose([]))
