"""The workers of one master, together."""

import socket
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.bootstrap import PORT, PRIVATE
from clusterapp.channel.stickiness import NO_AFFINITY, Stickiness
from clusterapp.lifecycle import State
from clusterapp.master.workers.worker_pool import WorkerPool

if TYPE_CHECKING:
    from clusterapp.master.workers.child_slot import ChildSlot


#: The name of a listener.
DOOR = "1 tcp:81"


class FakeSlot:
    """A slot whose state the test sets."""

    def __init__(self, pool: WorkerPool, number: int, generation: int = 1) -> None:
        self.number = number
        self.generation = generation
        self.state: State = "stopped"
        self.did: list[object] = []
        #: Whether its process takes connections.
        self.takes = True
        self._pool = pool

    @property
    def accepts(self) -> bool:
        return self.state == "running"

    def enter(self, state: State) -> None:
        self.state = state
        self._pool.entered(cast("ChildSlot", self), state)

    def start(self) -> None:
        self.enter("starting")

    def drain(self, *, hand_over: bool, within: float | None = None) -> None:
        self.did.append(("drain", hand_over))
        if self.state in {"backoff", "fatal"}:
            self.enter("stopped")

    def update_affinity(self, how: str) -> None:
        self.did.append(Stickiness.from_json(how))

    def drop(self) -> None:
        self.did.append("drop")

    def core_ready(self, ready: bool, *, back: bool) -> None:
        self.did.append("back" if back else ready)

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        self.health = (ready, detail)

    def adopt(self, connection: socket.socket, listener: str) -> Deferred[bool]:
        assert connection.fileno() != -1
        self.did.append(listener)
        return succeed(self.takes)


class PoolCase(SynchronousTestCase):
    """Two slots."""

    def setUp(self) -> None:
        self.fatal_error: list[bool] = []
        self.arrived: list[ChildSlot] = []
        self.changes = 0
        self.pool = self.make()
        self.one, self.other = FakeSlot(self.pool, 0), FakeSlot(self.pool, 1)
        for slot in (self.one, self.other):
            self.pool.fill(cast("ChildSlot", slot))

    def make(self) -> WorkerPool:
        return WorkerPool(self.changed, self.fatal_error.append, self.arrived.append)

    def changed(self) -> None:
        self.changes += 1


class PoolTests(PoolCase):
    """What they do, and are told."""

    def test_drain(self) -> None:
        """It has ended when the last process is gone."""
        drained = self.pool.drain()
        self.one.enter("stopped")
        self.assertNoResult(drained)
        self.other.enter("stopped")
        self.successResultOf(drained)
        # No request is relayed to a worker that has stopped accepting, for good.
        self.assertEqual(self.one.did, [NO_AFFINITY, ("drain", False)])

    def test_drain_while_others_are_retiring(self) -> None:
        """They relay no requests any more, either."""
        self.one.enter("running")
        self.pool.let_go(cast("ChildSlot", self.one))
        self.pool.drain()
        self.assertIn(NO_AFFINITY, self.one.did)

    def test_drain_of_slots_without_processes(self) -> None:
        self.one.enter("backoff")
        self.other.enter("fatal")
        self.successResultOf(self.pool.drain())

    def test_drain_of_nothing(self) -> None:
        self.successResultOf(self.make().drain())

    def test_drop(self) -> None:
        self.pool.drop()
        self.assertEqual(self.one.did + self.other.did, ["drop", "drop"])

    def test_core_readiness(self) -> None:
        """All running workers are notified, and those that become ready later."""
        self.pool.core_ready(True, back=False)
        self.assertEqual(self.one.did, [True])
        self.one.enter("running")
        self.assertEqual(self.one.did, [True, True])
        self.pool.core_ready(False, back=True)
        self.other.enter("running")
        self.assertEqual(self.other.did, [True, "back", "back"])

    def test_arrivals(self) -> None:
        """Arrival callbacks are called for each worker that becomes ready."""
        self.one.enter("starting")
        self.assertEqual(self.arrived, [])
        self.one.enter("running")
        self.assertEqual(self.arrived, [self.one])

    def test_ever_ready(self) -> None:
        self.assertFalse(self.pool.ever_ready)
        self.one.enter("running")
        self.one.enter("backoff")
        self.assertTrue(self.pool.ever_ready)

    def test_hopeless(self) -> None:
        """Only when no slot is left that may still do."""
        self.one.enter("fatal")
        self.assertEqual(self.fatal_error, [])
        self.other.enter("fatal")
        self.assertEqual(self.fatal_error, [False])

    def test_hopeless_in_the_end(self) -> None:
        self.one.enter("running")
        self.one.enter("fatal")
        self.other.enter("fatal")
        self.assertEqual(self.fatal_error, [True])


class AdoptTests(PoolCase):
    """Connections of workers that leave."""

    def setUp(self) -> None:
        super().setUp()
        self.leaver = FakeSlot(self.pool, 1)
        self.inherited: list[str] = []

    def run_slots(self, *more: FakeSlot) -> None:
        """Fill the pool with these slots, and set all slots to running."""
        for each in more:
            self.pool.fill(cast("ChildSlot", each))
        for slot in tuple(self.pool.slots.values()):
            cast("FakeSlot", slot).enter("running")
            cast("FakeSlot", slot).did.clear()

    def follow(self, *, takes: bool) -> None:
        """Set a successor that accepts or refuses connections."""

        def adopt(connection: socket.socket, listener: str) -> Deferred[bool]:
            self.assertNotEqual(connection.fileno(), -1)
            self.inherited.append(listener)
            return succeed(takes)

        self.pool.successor = adopt

    def adopt(self, listener: str = DOOR, before: FakeSlot | None = None) -> bool:
        """Return whether a connection is served elsewhere; it is let go of here."""
        near, far = socket.socketpair()
        with near:
            given = self.pool.adopt(far, listener, before=cast("ChildSlot", before))
            taken = self.successResultOf(given)
            self.assertEqual(far.fileno(), -1)
        return taken

    def test_same_slot_is_preferred(self) -> None:
        """Its next process has what belongs to its clients, old as it may be."""
        self.run_slots(FakeSlot(self.pool, 2, generation=2))
        for _ in range(4):
            self.assertTrue(self.adopt(before=self.leaver))
        self.assertEqual(self.other.did, [DOOR] * 4)
        self.assertEqual(self.one.did, [])

    def test_not_to_who_has_it(self) -> None:
        """A worker that drains is none that could be asked."""
        self.run_slots()
        self.assertTrue(self.adopt(before=self.other))
        self.assertEqual((self.one.did, self.other.did), ([DOOR], []))

    def test_newest_generation_in_turn(self) -> None:
        """A reload has come as far as the last two slots."""
        fresh = [FakeSlot(self.pool, number, generation=2) for number in (2, 3)]
        self.run_slots(*fresh)
        for _ in range(8):
            self.assertTrue(self.adopt())
        self.assertEqual(self.one.did + self.other.did, [])
        for slot in fresh:
            self.assertIn(DOOR, slot.did)

    def test_next_one_is_asked(self) -> None:
        """Until one takes it."""
        self.run_slots()
        self.other.takes = False
        self.assertTrue(self.adopt(before=self.leaver))
        self.assertEqual((self.one.did, self.other.did), ([DOOR], [DOOR]))

    def test_of_one_slot(self) -> None:
        """What comes by a slot's own port, or from other workers, stays there."""
        self.run_slots()
        self.follow(takes=True)
        for listener in (PRIVATE, PORT):
            self.assertTrue(self.adopt(listener, self.leaver))
            self.other.takes = False
            self.assertFalse(self.adopt(listener, self.leaver))
            self.other.takes = True
        self.assertEqual(self.other.did, [PRIVATE, PRIVATE, PORT, PORT])
        self.assertEqual((self.one.did, self.inherited), ([], []))

    def test_of_one_slot_from_another_master(self) -> None:
        """It does not say which slot that was."""
        self.run_slots()
        self.assertFalse(self.adopt(PORT))
        self.assertEqual(self.one.did + self.other.did, [])

    def test_new_master(self) -> None:
        """Its workers are asked after all of our own."""
        self.run_slots()
        self.one.takes = self.other.takes = False
        for takes in (True, False):
            self.follow(takes=takes)
            self.assertIs(self.adopt(), takes)
        self.assertEqual(self.inherited, [DOOR, DOOR])
        self.assertEqual((self.one.did, self.other.did), ([DOOR] * 2, [DOOR] * 2))

    def test_nobody(self) -> None:
        self.assertFalse(self.adopt())
        self.follow(takes=True)
        self.assertTrue(self.adopt())
        self.assertEqual(self.inherited, [DOOR])
