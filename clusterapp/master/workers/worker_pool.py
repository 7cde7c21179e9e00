"""The workers of one master."""

import socket
from collections.abc import Callable, Iterator
from itertools import chain

from twisted.internet.defer import Deferred

from clusterapp.channel.bootstrap import PORT, PRIVATE
from clusterapp.channel.stickiness import NO_AFFINITY
from clusterapp.lifecycle import State
from clusterapp.master.workers.child_slot import ChildSlot
from clusterapp.master.workers.retiring import RetiringWorkers

#: Adopts a connection that was accepted from the named listener, in another process;
#: fires with whether it was adopted.
Taker = Callable[[socket.socket, str], Deferred[bool]]

#: The listeners whose connections are for one slot only.
_OF_ONE_SLOT = frozenset({PRIVATE, PORT})


class WorkerPool:
    """
    The slots of a master, which are started, notified, replaced and drained together.

    :param on_change: called when the state of a slot has changed.
    :param on_all_fatal: called when every slot is fatal, with whether any process
        was ever ready.
    :param on_arrival: called when a process can receive the state that it has missed.
    """

    def __init__(
        self,
        on_change: Callable[[], None],
        on_all_fatal: Callable[[bool], None],
        on_arrival: Callable[[ChildSlot], None],
    ) -> None:
        #: The current worker of each slot, by slot number.
        self.slots: dict[int, ChildSlot] = {}
        #: Workers being retired: replaced by newer ones, or failed in their trial.
        self.retiring = RetiringWorkers()
        #: Adopts connections that no worker of this pool can: a new master.
        self.successor: Taker | None = None
        #: Whether any process of the pool was ever ready.
        self.ever_ready = False
        self._on_change = on_change
        self._on_all_fatal = on_all_fatal
        self._on_arrival = on_arrival
        self._core = (False, False)
        self._health = (False, "{}")
        self._broken = ""
        self._turn = 0

    def fill(self, slot: ChildSlot) -> None:
        """Start a worker in a slot that has none."""
        self.slots[slot.number] = slot
        slot.start()

    def put(self, slot: ChildSlot) -> None:
        """Put a running worker into a slot, and retire its predecessor."""
        before = self.slots.get(slot.number)
        self.slots[slot.number] = slot
        if before is not None:
            self.let_go(before)
        self._on_change()

    def replace(self, slot: ChildSlot) -> None:
        """
        Start the replacement of a worker that drains by itself, and retire that.

        Connections to the slot wait for the replacement, as after a crash.
        """
        new = self.slots[slot.number] = slot.replacement()
        new.resume()
        self.let_go(slot)

    def take_out(self, number: int) -> Deferred[None]:
        """
        Remove a slot; its idle connections are handed over to other workers.

        :return: fires when its process has exited.
        """
        return self.let_go(self.slots.pop(number))

    def let_go(self, slot: ChildSlot) -> Deferred[None]:
        """
        Retire a worker: drain it, and hand its idle connections over.

        :return: fires when its process has exited.
        """
        return self.retiring.let_go(slot, hand_over=True)

    def drain(self) -> Deferred[None]:
        """Drain all slots and remove them; fires when the last process has exited."""
        for slot in self.all_slots():
            # Otherwise a worker would relay requests to one that has stopped accepting:
            # as no worker succeeds it, they would wait until the graceful timeout.
            slot.update_affinity(NO_AFFINITY.to_json())
        slots = tuple(self.slots.values())
        self.slots.clear()
        for slot in slots:
            self.retiring.let_go(slot, hand_over=self.successor is not None)
        return self.retiring.all_gone()

    def drop(self) -> None:
        """Kill all processes at once; their requests under way are lost."""
        for slot in tuple(self.all_slots()):
            slot.drop()

    def core_ready(self, ready: bool, *, back: bool) -> None:
        """Notify every process whether the core accepts requests."""
        self._core = (ready, back)
        for slot in self.all_slots():
            slot.core_ready(ready, back=back)

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        """Notify every process whether clients should be sent to the cluster."""
        if (ready, detail) == self._health:
            return
        self._health = (ready, detail)
        for slot in self.all_slots():
            slot.cluster_health(ready=ready, detail=detail)

    def broken(self, why: str) -> None:
        """Notify every process of an error in the code; empty if there is none."""
        self._broken = why
        for slot in self.all_slots():
            slot.broken(why)

    def reopen_logs(self) -> None:
        """Send every process the command to reopen its log files."""
        for slot in self.all_slots():
            slot.reopen_logs()

    def running(self) -> list[ChildSlot]:
        """Return the slots whose processes accept connections."""
        return [slot for slot in self.slots.values() if slot.accepts]

    # Events of the slots.

    def entered(self, slot: ChildSlot, state: State) -> None:
        """Called when the state of a slot has changed."""
        if state == "running":
            self.ever_ready = True
            self.send_updates(slot)
        if state == "stopped":
            self.retiring.check(slot)
        self._on_change()
        wanted = [each for each in self.slots.values() if each.state != "stopped"]
        if state == "fatal" and all(each.state == "fatal" for each in wanted):
            self._on_all_fatal(self.ever_ready)

    def send_updates(self, slot: ChildSlot) -> None:
        """Send a process all state that it may have missed."""
        ready, back = self._core
        slot.core_ready(ready, back=back)
        ready, detail = self._health
        slot.cluster_health(ready=ready, detail=detail)
        if self._broken:
            slot.broken(self._broken)
        self._on_arrival(slot)

    def adopt(
        self,
        connection: socket.socket,
        listener: str,
        *,
        before: ChildSlot | None = None,
    ) -> Deferred[bool]:
        """
        Transfer a connection that another process has accepted to a worker.

        :param connection: the socket, which the pool closes.
        :param listener: the name of the listener that it was accepted from.
        :param before: the slot that hands it over and cannot adopt it; None if another
            master does.
        :return: fires with whether a worker has adopted it.
        """
        given = Deferred.fromCoroutine(self._give(connection, listener, before))

        def close(taken: bool) -> bool:
            connection.close()
            return taken

        return given.addBoth(close)

    async def _give(
        self, connection: socket.socket, listener: str, before: ChildSlot | None
    ) -> bool:
        for slot in self._by_turns(listener, before):
            if await slot.adopt(connection, listener):
                return True
        if self.successor is None or listener in _OF_ONE_SLOT:
            return False
        return await self.successor(connection, listener)

    def _by_turns(self, listener: str, before: ChildSlot | None) -> list[ChildSlot]:
        """
        Return the running slots that may adopt a connection, the preferred ones first.

        The first is the new worker of the slot that had it, which its client has
        affinity to. Then come those of the newest generation, in round-robin order.
        """
        number = None if before is None else before.number
        running = [slot for slot in self.running() if slot is not before]
        if listener in _OF_ONE_SLOT:
            return [slot for slot in running if slot.number == number]
        if not running:
            return []
        self._turn += 1
        first = self._turn % len(running)
        turned = running[first:] + running[:first]
        return sorted(turned, key=lambda s: (s.number != number, -s.generation))

    def all_slots(self) -> Iterator[ChildSlot]:
        """Return an iterator of all slots, including those being retired."""
        return chain(self.slots.values(), self.retiring)
