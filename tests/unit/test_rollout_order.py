"""In which order slots are replaced, and what happens if that fails."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.rollout_order import roll_out


class BadReleaseError(Exception):
    """What is wrong with a release."""


class Effects:
    """Writes down what a rollout does; the test says when that is done."""

    def __init__(self) -> None:
        self.did: list[object] = []
        self.waits: dict[object, Deferred[None]] = {}
        self.slow = False

    async def replace(self, slot: int) -> None:
        await self._do(slot)

    async def replace_core(self) -> None:
        await self._do("core")

    async def put_back(self, slot: int) -> None:
        await self._do(("back", slot))

    async def put_back_core(self) -> None:
        await self._do(("back", "core"))

    async def _do(self, what: object) -> None:
        self.did.append(what)
        wait = self.waits.get(what, Deferred() if self.slow else succeed(None))
        self.waits[what] = wait
        await wait

    def fail(self, what: object) -> None:
        wait: Deferred[None] = Deferred()
        wait.errback(BadReleaseError(what))
        self.waits[what] = wait


class RollOutTests(SynchronousTestCase):
    """A rollout over some slots."""

    def setUp(self) -> None:
        self.effects = Effects()

    def roll_out(self, slots: list[int], batch: int = 1) -> Deferred[Any]:
        return Deferred.fromCoroutine(roll_out(slots, batch, self.effects))

    def failed(self, slots: list[int], batch: int = 1) -> object:
        why = self.failureResultOf(self.roll_out(slots, batch), BadReleaseError)
        return why.value.args[0]

    def test_order(self) -> None:
        """The canary, the core, the others."""
        self.successResultOf(self.roll_out([3, 0, 1, 2]))
        self.assertEqual(self.effects.did, [3, "core", 0, 1, 2])

    def test_one_after_the_other(self) -> None:
        self.effects.slow = True
        rolled = self.roll_out([0, 1])
        for what in (0, "core", 1):
            self.assertNoResult(rolled)
            self.assertEqual(self.effects.did[-1], what)
            self.effects.waits[what].callback(None)
        self.successResultOf(rolled)

    def test_batches(self) -> None:
        """The canary is alone all the same."""
        self.effects.slow = True
        self.roll_out([0, 1, 2, 3, 4, 5], batch=3)
        self.effects.waits[0].callback(None)
        self.effects.waits["core"].callback(None)
        self.assertEqual(self.effects.did, [0, "core", 1, 2, 3])
        for slot in (3, 1):
            self.effects.waits[slot].callback(None)
        self.assertEqual(len(self.effects.did), 5)
        self.effects.waits[2].callback(None)
        self.assertEqual(self.effects.did[5:], [4, 5])

    def test_given_up(self) -> None:
        """When a cluster stops nothing is put back: that would start processes."""
        self.effects.slow = True
        for batch in (1, 2):
            self.setUp()
            self.effects.slow = True
            rolled = self.roll_out([0, 1, 2], batch=batch)
            self.effects.waits[0].callback(None)
            self.effects.waits["core"].callback(None)
            before = list(self.effects.did)
            rolled.cancel()
            self.failureResultOf(rolled, CancelledError)
            self.assertEqual(self.effects.did, before)

    def test_nothing_to_replace(self) -> None:
        """The core is replaced nevertheless."""
        self.successResultOf(self.roll_out([]))
        self.assertEqual(self.effects.did, ["core"])

    def test_canary_fails(self) -> None:
        """Nobody else has seen anything of the release."""
        self.effects.fail(0)
        self.assertEqual(self.failed([0, 1, 2]), 0)
        self.assertEqual(self.effects.did, [0])

    def test_core_fails(self) -> None:
        self.effects.fail("core")
        self.assertEqual(self.failed([0, 1, 2]), "core")
        self.assertEqual(self.effects.did, [0, "core", ("back", 0)])

    def test_later_slot_fails(self) -> None:
        """All that was replaced is put back."""
        self.effects.fail(2)
        self.assertEqual(self.failed([0, 1, 2, 3]), 2)
        self.assertEqual(
            self.effects.did,
            [0, "core", 1, 2, ("back", 0), ("back", 1), ("back", "core")],
        )

    def test_one_of_a_batch_fails(self) -> None:
        """The others of the batch are let end first, and put back as well."""
        self.effects.slow = True
        self.effects.fail(2)
        rolled = self.roll_out([0, 1, 2, 3], batch=3)
        self.effects.waits[0].callback(None)
        self.effects.waits["core"].callback(None)
        self.effects.slow = False
        self.effects.waits[3].callback(None)
        self.assertEqual(self.effects.did, [0, "core", 1, 2, 3])
        self.effects.waits[1].callback(None)
        self.failureResultOf(rolled, BadReleaseError)
        self.assertEqual(
            self.effects.did[5:],
            [("back", 0), ("back", 1), ("back", 3), ("back", "core")],
        )
