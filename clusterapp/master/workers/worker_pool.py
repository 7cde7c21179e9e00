"""The workers of one master, together."""

import socket
from collections.abc import Callable, Iterator
from itertools import chain

from twisted.internet.defer import Deferred

from clusterapp.channel.bootstrap import PORT, PRIVATE
from clusterapp.lifecycle import State
from clusterapp.master.workers.child_slot import ChildSlot
from clusterapp.master.workers.retiring import RetiringWorkers

#: Serves a connection, which has come by the listener of a name, in another place;
#: fires with whether it does.
Taker = Callable[[socket.socket, str], Deferred[bool]]

#: Where connections come in that are for one slot alone.
_OF_ONE_SLOT = frozenset({PRIVATE, PORT})


class Pool:
    """
    Slots that are filled, told, replaced, drained and given up together.

    :param on_change: called when a slot is in another state.
    :param on_hopeless: called when every slot is fatal; told whether any process
        was ever ready.
    :param on_arrival: called when a process can be told what it has missed.
    """

    def __init__(
        self,
        on_change: Callable[[], None],
        on_hopeless: Callable[[bool], None],
        on_arrival: Callable[[ChildSlot], None],
    ) -> None:
        #: What fills each slot, by its number.
        self.slots: dict[int, ChildSlot] = {}
        #: What has filled a slot and is to be gone, or was tried and not taken.
        self.leaving = RetiringWorkers()
        #: Takes connections when no worker of this pool can.
        self.successor: Taker | None = None
        #: Whether any process of the pool ever took connections.
        self.ever_ready = False
        self._on_change = on_change
        self._on_hopeless = on_hopeless
        self._on_arrival = on_arrival
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
        for slot in tuple(self.everyone()):
            slot.drop()

    def core_ready(self, ready: bool, *, back: bool) -> None:
        """Tell every process whether the core takes requests."""
        self._core = (ready, back)
        for slot in self.everyone():
            slot.core_ready(ready, back=back)

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        """Tell every process whether clients should be sent to the cluster."""
        if (ready, detail) == self._health:
            return
        self._health = (ready, detail)
        for slot in self.everyone():
            slot.cluster_health(ready=ready, detail=detail)

    def broken(self, why: str) -> None:
        """Tell every process what is wrong with the code, if anything."""
        self._broken = why
        for slot in self.everyone():
            slot.broken(why)

    def reopen_logs(self) -> None:
        """Tell every process that the files of logs have been renamed."""
        for slot in self.everyone():
            slot.reopen_logs()

    def running(self) -> list[ChildSlot]:
        """Give the slots whose processes take connections."""
        return [slot for slot in self.slots.values() if slot.accepts]

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
        self._on_arrival(slot)

    def adopt(
        self, connection: socket.socket, door: str, *, before: ChildSlot | None = None
    ) -> Deferred[bool]:
        """
        Let a worker serve a connection that another has accepted.

        :param connection: the pool's from now on.
        :param door: the name of the listener that it has come by.
        :param before: who has it, and cannot be asked; None for another master.
        :return: fires with whether one has it.
        """
        given = Deferred.fromCoroutine(self._give(connection, door, before))

        def close(taken: bool) -> bool:
            connection.close()
            return taken

        return given.addBoth(close)

    async def _give(
        self, connection: socket.socket, door: str, before: ChildSlot | None
    ) -> bool:
        for slot in self._by_turns(door, before):
            if await slot.adopt(connection, door):
                return True
        if self.successor is None or door in _OF_ONE_SLOT:
            return False
        return await self.successor(connection, door)

    def _by_turns(self, door: str, before: ChildSlot | None) -> list[ChildSlot]:
        """
        Give the running slots that can have a connection, the best ones first.

        That is the slot that it was in: it is where its client's requests belong.
        Then come those of the newest generation, each in its turn.
        """
        number = None if before is None else before.number
        running = [slot for slot in self.running() if slot is not before]
        if door in _OF_ONE_SLOT:
            return [slot for slot in running if slot.number == number]
        if not running:
            return []
        self._turn += 1
        first = self._turn % len(running)
        turned = running[first:] + running[:first]
        return sorted(turned, key=lambda s: (s.number != number, -s.generation))

    def everyone(self) -> Iterator[ChildSlot]:
        """Give all slots, those that are leaving as well."""
        return chain(self.slots.values(), self.leaving)
