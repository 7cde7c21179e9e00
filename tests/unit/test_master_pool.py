"""The workers of one master, together."""

from typing import TYPE_CHECKING, cast

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.lifecycle import State
from clusterapp.master.pool import Pool

if TYPE_CHECKING:
    from clusterapp.master.slot import ChildSlot


class FakeSlot:
    """A slot whose state the test sets."""

    generation = 1

    def __init__(self, pool: Pool, number: int) -> None:
        self.number = number
        self.state: State = "stopped"
        self.did: list[object] = []
        self._pool = pool

    def enter(self, state: State) -> None:
        self.state = state
        self._pool.entered(cast("ChildSlot", self), state)

    def start(self) -> None:
        self.enter("starting")

    def drain(self, *, hand_over: bool) -> None:
        self.did.append(("drain", hand_over))
        if self.state in {"backoff", "fatal"}:
            self.enter("stopped")

    def drop(self) -> None:
        self.did.append("drop")

    def core_ready(self, ready: bool, *, back: bool) -> None:
        self.did.append("back" if back else ready)

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        self.health = (ready, detail)


class PoolTests(SynchronousTestCase):
    """Two slots."""

    def setUp(self) -> None:
        self.hopeless: list[bool] = []
        self.changes = 0
        self.pool = Pool(self.changed, self.hopeless.append)
        self.one, self.other = FakeSlot(self.pool, 0), FakeSlot(self.pool, 1)
        for slot in (self.one, self.other):
            self.pool.fill(cast("ChildSlot", slot))

    def changed(self) -> None:
        self.changes += 1

    def test_drain(self) -> None:
        """It has ended when the last process is gone."""
        drained = self.pool.drain()
        self.one.enter("stopped")
        self.assertNoResult(drained)
        self.other.enter("stopped")
        self.successResultOf(drained)
        self.assertEqual(self.one.did, [("drain", False)])

    def test_drain_of_slots_without_processes(self) -> None:
        self.one.enter("backoff")
        self.other.enter("fatal")
        self.successResultOf(self.pool.drain())

    def test_drain_of_nothing(self) -> None:
        self.successResultOf(Pool(self.changed, self.hopeless.append).drain())

    def test_drop(self) -> None:
        self.pool.drop()
        self.assertEqual(self.one.did + self.other.did, ["drop", "drop"])

    def test_core_readiness(self) -> None:
        """All are told, and so is who becomes ready later."""
        self.pool.core_ready(True, back=False)
        self.assertEqual(self.one.did, [True])
        self.one.enter("running")
        self.assertEqual(self.one.did, [True, True])
        self.pool.core_ready(False, back=True)
        self.other.enter("running")
        self.assertEqual(self.other.did, [True, "back", "back"])

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
