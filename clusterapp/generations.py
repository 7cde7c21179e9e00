"""
The order in which a new generation takes the slots of a cluster.

Nothing here does I/O: what is to be done goes through `Effects`. The first slot is
the canary: whatever is wrong with a deploy shows itself there, while all others serve
as before. Then comes the core, then the other slots, so many at a time. At the first
failure everything that was replaced is put back.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from twisted.internet.defer import CancelledError, Deferred, DeferredList

if TYPE_CHECKING:
    from twisted.python.failure import Failure


class Effects(Protocol):
    """What a rollout may do to the world."""

    async def replace(self, slot: int) -> None:
        """
        Fill a slot with the new generation, new before old.

        It raises what is wrong if that fails; the slot is then as it was.
        """

    async def replace_core(self) -> None:
        """Run the core in the new generation, or raise, as `replace` does."""

    async def put_back(self, slot: int) -> None:
        """Fill a slot that was replaced with the old generation again."""

    async def put_back_core(self) -> None:
        """Run the core in the old generation again."""


async def roll_out(slots: Sequence[int], batch: int, effects: Effects) -> None:
    """
    Replace all slots, or none.

    :param slots: the slots, the canary first.
    :param batch: how many to replace at a time, once the canary has passed.
    :param effects: does it.
    :raise Exception: what an effect raised; all is as it was before then.
    :raise CancelledError: if it was given up; nothing is put back then.
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
        raise  # the cluster is stopping: nothing is started for that any more
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


async def _all(group: Sequence[int], effects: Effects, replaced: list[int]) -> None:
    """Replace some slots at once; each is let end, whatever comes of another."""
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
