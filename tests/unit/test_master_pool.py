"""The workers of one master, together."""

from typing import TYPE_CHECKING, cast

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.lifecycle import State
from clusterapp.master.pool import Pool

if TYPE_CHECKING:
    from clusterapp.master.slot import ChildSlot


class FakeSlot:
    """A slot whose state the test sets."""

    def __init__(self, pool: Pool) -> None:
        self.state: State = "stopped"
        self.did: list[object] = []
        self._pool = pool

    def enter(self, state: State) -> None:
        self.state = state
        self._pool.entered(cast("ChildSlot", self), state)

    def start(self) -> None:
        self.enter("starting")

    def drain(self) -> None:
        self.did.append("drain")
        if self.state in {"backoff", "fatal"}:
            self.enter("stopped")

    def drop(self) -> None:
        self.did.append("drop")

    def core_ready(self, ready: bool) -> None:
        self.did.append(ready)


class PoolTests(SynchronousTestCase):
    """Two slots."""

    def setUp(self) -> None:
        self.hopeless: list[bool] = []
        self.pool = Pool(self.hopeless.append)
        self.one, self.other = FakeSlot(self.pool), FakeSlot(self.pool)
        self.pool.start(cast("list[ChildSlot]", [self.one, self.other]))

    def test_drain(self) -> None:
        """It has ended when the last process is gone."""
        drained = self.pool.drain()
        self.one.enter("stopped")
        self.assertNoResult(drained)
        self.other.enter("stopped")
        self.successResultOf(drained)
        self.assertEqual(self.one.did, ["drain"])

    def test_drain_of_slots_without_processes(self) -> None:
        self.one.enter("backoff")
        self.other.enter("fatal")
        self.successResultOf(self.pool.drain())

    def test_drain_of_nothing(self) -> None:
        self.successResultOf(Pool(self.hopeless.append).drain())

    def test_drop(self) -> None:
        self.pool.drop()
        self.assertEqual(self.one.did + self.other.did, ["drop", "drop"])

    def test_core_readiness(self) -> None:
        """All are told, and so is who becomes ready later."""
        self.pool.core_ready(True)
        self.assertEqual(self.one.did, [True])
        self.one.enter("running")
        self.assertEqual(self.one.did, [True, True])
        self.pool.core_ready(False)
        self.other.enter("running")
        self.assertEqual(self.other.did, [True, False, False])

    def test_ever_ready(self) -> None:
        self.assertFalse(self.pool.ever_ready)
        self.one.enter("running")
        self.one.enter("backoff")
        self.assertTrue(self.pool.ever_ready)

    def test_hopeless(self) -> None:
        """Only when no slot is left that may still do."""
        self.one.enter("fatal")
        self.assertEqual(self.hopeless, [])
        self.other.enter("fatal")
        self.assertEqual(self.hopeless, [False])

    def test_hopeless_in_the_end(self) -> None:
        self.one.enter("running")
        self.one.enter("fatal")
        self.other.enter("fatal")
        self.assertEqual(self.hopeless, [True])
