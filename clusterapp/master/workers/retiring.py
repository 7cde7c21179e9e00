"""Workers being retired: replaced by newer ones, or failed in their trial."""

from collections.abc import Iterator

from twisted.internet.defer import Deferred, gatherResults

from clusterapp.master.workers.child_slot import ChildSlot


class RetiringWorkers:
    """The children that drain and exit, and the Deferreds that wait for that."""

    def __init__(self) -> None:
        self._gone: dict[ChildSlot, Deferred[None]] = {}

    def __iter__(self) -> Iterator[ChildSlot]:
        return iter(tuple(self._gone))

    def let_go(
        self, slot: ChildSlot, *, hand_over: bool, within: float | None = None
    ) -> Deferred[None]:
        """
        Retire a child: drain it until its process has exited.

        :param hand_over: whether idle connections may be handed over to other workers.
        :param within: the seconds that it has; None for the graceful timeout.
        :return: fires when its process has exited.
        """
        if slot in self._gone:
            return _copy(self._gone[slot])
        gone = self._gone[slot] = Deferred()
        # Each caller has a Deferred of its own, so that cancelling affects no other.
        waited = _copy(gone)
        slot.drain(hand_over=hand_over, within=within)
        self.check(slot)
        return waited

    def check(self, slot: ChildSlot) -> None:
        """Called by the watcher of a child when its state has changed."""
        if slot.state == "stopped" and slot in self._gone:
            self._gone.pop(slot).callback(None)

    def all_gone(self) -> Deferred[None]:
        """Return a Deferred that fires when all that are retiring now have exited."""
        waiting = [_copy(gone) for gone in self._gone.values()]
        return gatherResults(waiting).addCallback(lambda _: None)


def _copy(source: Deferred[None]) -> Deferred[None]:
    copy: Deferred[None] = Deferred()
    source.chainDeferred(copy)
    return copy
