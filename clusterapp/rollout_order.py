"""
The order in which a rollout replaces the slots of a cluster by a new generation.

Nothing here does I/O: actions go through `RolloutEffects`. The first slot is the
canary: a broken deploy fails there, while all other workers serve as before. Then the
core is replaced, then the other slots, in batches. At the first failure every slot that
was replaced gets the old generation back.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from twisted.internet.defer import CancelledError, Deferred, DeferredList

if TYPE_CHECKING:
    from twisted.python.failure import Failure


class RolloutEffects(Protocol):
    """The actions of a rollout."""

    async def replace(self, slot: int) -> None:
        """
        Replace the worker of a slot by one of the new generation, new before old.

        Raises the reason of a failure; the old worker then still has the slot.
        """

    async def replace_core(self) -> None:
        """Run the core in the new generation; raises as `replace` does."""

    async def put_back(self, slot: int) -> None:
        """Replace the worker of a slot by one of the old generation again."""

    async def put_back_core(self) -> None:
        """Run the core in the old generation again."""


async def roll_out(slots: Sequence[int], batch: int, effects: RolloutEffects) -> None:
    """
    Replace all slots, or none.

    :param slots: the slot numbers, the canary first.
    :param batch: how many to replace at a time, once the canary has passed.
    :param effects: performs the actions.
    :raise Exception: what an effect raised; the old generation is back in all slots.
    :raise CancelledError: if the rollout was cancelled; nothing is put back then.
    """
    replaced: list[int] = []
    with_core = False
    try:
        for group in _groups(slots, batch):
            await _all(group, effects, replaced)
            if not with_core:
                await effects.replace_core()
                with_core = True
    except CancelledError:
        raise  # the cluster is stopping: no process is started any more
    except Exception:
        for slot in replaced:
            await effects.put_back(slot)
        if with_core:
            await effects.put_back_core()
        raise


def _groups(slots: Sequence[int], batch: int) -> Iterator[Sequence[int]]:
    yield slots[:1]
    for start in range(1, len(slots), batch):
        yield slots[start : start + batch]


async def _all(
    group: Sequence[int], effects: RolloutEffects, replaced: list[int]
) -> None:
    """Replace some slots concurrently; a failure of one does not cancel another."""
    under_way = [Deferred.fromCoroutine(effects.replace(slot)) for slot in group]
    results = await DeferredList(under_way, consumeErrors=True)
    failures: list[Failure] = []
    for slot, (done, result) in zip(group, results, strict=True):
        if done:
            replaced.append(slot)
        else:
            failures.append(cast("Failure", result))
    for failure in failures:
        failure.raiseException()
