"""Processes that have had a slot, or were tried and not taken, and are to be gone."""

from collections.abc import Iterator

from twisted.internet.defer import Deferred, gatherResults

from clusterapp.master.workers.child_slot import ChildSlot


class RetiringWorkers:
    """Fillings of slots that leave, and who waits until they are gone."""

    def __init__(self) -> None:
        self._gone: dict[ChildSlot, Deferred[None]] = {}

    def __iter__(self) -> Iterator[ChildSlot]:
        return iter(tuple(self._gone))

    def let_go(self, slot: ChildSlot, *, hand_over: bool) -> Deferred[None]:
        """
        Have a filling leave, gracefully.

        :param hand_over: whether idle connections can be given to other workers.
        :return: fires when its process is gone.
        """
        if slot in self._gone:
            return _copy(self._gone[slot])
        gone = self._gone[slot] = Deferred()
        # Whoever gives up waiting must not take that from the others.
        waited = _copy(gone)
        slot.drain(hand_over=hand_over)
        self.check(slot)
        return waited

    def check(self, slot: ChildSlot) -> None:
        """Look whether a filling is gone by now; its watcher calls this."""
        if slot.state == "stopped" and slot in self._gone:
            self._gone.pop(slot).callback(None)

    def all_gone(self) -> Deferred[None]:
        """Fire when all that are leaving now are gone."""
        waiting = [_copy(gone) for gone in self._gone.values()]
        return gatherResults(waiting).addCallback(lambda _: None)


def _copy(source: Deferred[None]) -> Deferred[None]:
    copy: Deferred[None] = Deferred()
    source.chainDeferred(copy)
    return copy
