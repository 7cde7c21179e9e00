"""The workers of one master, together."""

import socket
from collections.abc import Callable, Iterator
from itertools import chain

from twisted.internet.defer import Deferred

from clusterapp.lifecycle import State
from clusterapp.master.leaving import Leaving
from clusterapp.master.slot import ChildSlot

#: Serves a connection in another place; fires with whether it does.
Taker = Callable[[socket.socket], Deferred[bool]]


class Pool:
    """
    Slots that are filled, told, replaced, drained and given up together.

    :param on_change: called when a slot is in another state.
    :param on_hopeless: called when every slot is fatal; told whether any process
        was ever ready.
    """

    def __init__(
        self, on_change: Callable[[], None], on_hopeless: Callable[[bool], None]
    ) -> None:
        #: What fills each slot, by its number.
        self.slots: dict[int, ChildSlot] = {}
        #: What has filled a slot and is to be gone, or was tried and not taken.
        self.leaving = Leaving()
        #: Takes connections when no worker of this pool can.
        self.successor: Taker | None = None
        #: Whether any process of the pool ever took connections.
        self.ever_ready = False
        self._on_change = on_change
        self._on_hopeless = on_hopeless
        self._core = (False, False)
        self._health = (False, "{}")
        self._broken = ""
        self._turn = 0

    def fill(self, slot: ChildSlot) -> None:
        """Start a slot that nothing fills so far."""
        self.slots[slot.number] = slot
        slot.start()

    def put(self, slot: ChildSlot) -> None:
        """Let what is running take its slot; whatever had it leaves."""
        before = self.slots.get(slot.number)
        self.slots[slot.number] = slot
        if before is not None:
            self.let_go(before)
        self._on_change()

    def take_out(self, number: int) -> Deferred[None]:
        """
        Have one slot no more; its connections go to others.

        :return: fires when its process is gone.
        """
        return self.let_go(self.slots.pop(number))

    def let_go(self, slot: ChildSlot) -> Deferred[None]:
        """
        Have a filling leave, gracefully; others get its idle connections.

        :return: fires when its process is gone.
        """
        return self.leaving.let_go(slot, hand_over=True)

    def drain(self) -> Deferred[None]:
        """Empty all slots; fires when the last process is gone."""
        slots = tuple(self.slots.values())
        self.slots.clear()
        for slot in slots:
            self.leaving.let_go(slot, hand_over=self.successor is not None)
        return self.leaving.all_gone()

    def drop(self) -> None:
        """Empty all slots at once; what their processes were doing is lost."""
        for slot in tuple(self._everyone()):
            slot.drop()

    def core_ready(self, ready: bool, *, back: bool) -> None:
        """Tell every process whether the core takes requests."""
        self._core = (ready, back)
        for slot in self._everyone():
            slot.core_ready(ready, back=back)

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        """Tell every process whether clients should be sent to the cluster."""
        if (ready, detail) == self._health:
            return
        self._health = (ready, detail)
        for slot in self._everyone():
            slot.cluster_health(ready=ready, detail=detail)

    def broken(self, why: str) -> None:
        """Tell every process what is wrong with the code, if anything."""
        self._broken = why
        for slot in self._everyone():
            slot.broken(why)

    def reopen_logs(self) -> None:
        """Tell every process that the files of logs have been renamed."""
        for slot in self._everyone():
            slot.reopen_logs()

    def running(self) -> list[ChildSlot]:
        """Give the slots whose processes take connections."""
        return [slot for slot in self.slots.values() if slot.state == "running"]

    # What the slots report.

    def entered(self, slot: ChildSlot, state: State) -> None:
        """Hear from a slot that it is in another state."""
        if state == "running":
            self.ever_ready = True
            self.tell_news(slot)
        if state == "stopped":
            self.leaving.check(slot)
        self._on_change()
        wanted = [each for each in self.slots.values() if each.state != "stopped"]
        if state == "fatal" and all(each.state == "fatal" for each in wanted):
            self._on_hopeless(self.ever_ready)

    def tell_news(self, slot: ChildSlot) -> None:
        """Tell a process all that it has missed."""
        ready, back = self._core
        slot.core_ready(ready, back=back)
        ready, detail = self._health
        slot.cluster_health(ready=ready, detail=detail)
        if self._broken:
            slot.broken(self._broken)

    def adopt(
        self, connection: socket.socket, *, but: ChildSlot | None = None
    ) -> Deferred[bool]:
        """
        Let a worker serve a connection that another has accepted.

        :param connection: the pool's from now on.
        :param but: who cannot be asked.
        :return: fires with whether one has it.
        """
        given = Deferred.fromCoroutine(self._give(connection, but))

        def close(taken: bool) -> bool:
            connection.close()
            return taken

        return given.addBoth(close)

    async def _give(self, connection: socket.socket, but: ChildSlot | None) -> bool:
        for slot in self._by_turns(but):
            if await slot.adopt(connection):
                return True
        return self.successor is not None and await self.successor(connection)

    def _by_turns(self, but: ChildSlot | None) -> list[ChildSlot]:
        """Give the running slots of the newest generation first, each in its turn."""
        running = [slot for slot in self.running() if slot is not but]
        if not running:
            return []
        self._turn += 1
        first = self._turn % len(running)
        turned = running[first:] + running[:first]
        return sorted(turned, key=lambda slot: -slot.generation)

    def _everyone(self) -> Iterator[ChildSlot]:
        return chain(self.slots.values(), self.leaving)
