"""Passing the descriptors of accepted connections from the master to workers."""

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from clusterapp.dispatch.policies import LeastConnections, Policy
from clusterapp.guards import guarded
from clusterapp.interfaces import OPEN, Row
from clusterapp.listening.handoff import MOST_AT_ONCE
from clusterapp.master.workers.slot_sockets import SlotSockets
from clusterapp.settings.stop_time import PASSING_ON

#: The most connections that may wait for one worker before other workers get them.
MOST_WAITING = 128

#: Seconds after which connections that no worker had room for are offered again.
_PAUSE = 0.005


@dataclass(frozen=True)
class WorkerTarget:
    """A worker that can receive connections: see `dispatch.policies.Target`."""

    slot_sockets: SlotSockets
    row: Row

    @property
    def waiting(self) -> int:
        """The number of connections that wait to be received by the worker."""
        return self.slot_sockets.waiting

    @property
    def open(self) -> int:
        """The number of open connections of the worker."""
        return self.row[OPEN]


class Arrived(NamedTuple):
    """
    An accepted connection on its way to a worker.

    :param connection: its descriptor. Creating a socket object would query the kernel
        for unneeded data, which takes as long as passing the descriptor on.
    :param listener: the number of the listener that it was accepted from.
    :param policy: chooses its worker.
    :param slot_sockets: the slot that it has affinity to; None if none.
    """

    connection: int
    listener: int
    policy: Policy
    slot_sockets: SlotSockets | None = None


class FdPassing:
    """
    Chooses a worker for each connection, and passes its descriptor on.

    Connections given in one turn of the reactor are sent together. Those that no worker
    has room for are held, and accepting must stop until they are gone.

    :param clock: the reactor, for timers.
    :param held: called when accepting must stop, and when it can go on.
    :ivar targets: the workers that can receive connections, in slot order.
    :ivar given: the number of connections passed on so far.
    """

    def __init__(self, clock: IReactorTime, held: Callable[[], None]) -> None:
        self.targets: Sequence[WorkerTarget] = ()
        self.given = 0
        self._clock = clock
        self._tell_held = held
        self._any = LeastConnections(MOST_WAITING)
        self._batches: dict[SlotSockets, list[Arrived]] = {}
        self._held: deque[Arrived] = deque()
        self._again: IDelayedCall | None = None
        self._finished: Deferred[None] | None = None

    @property
    def is_held(self) -> bool:
        """Whether connections are held that no worker has room for."""
        return bool(self._held)

    def give(self, arrived: Arrived) -> None:
        """Queue a connection for a worker, to be sent by the next `flush`."""
        slot_sockets = arrived.slot_sockets
        if slot_sockets is None or slot_sockets.waiting >= MOST_WAITING:
            # The worker that receives it relays requests that belong to another slot.
            target = arrived.policy.choose(self.targets)
            if target is None:
                self._hold([arrived])
                return
            slot_sockets = target.slot_sockets
        slot_sockets.given += 1
        self._batches.setdefault(slot_sockets, []).append(arrived)

    def flush(self) -> None:
        """Send the queued connections."""
        batches, self._batches = self._batches, {}
        for slot_sockets, batch in batches.items():
            for start in range(0, len(batch), MOST_AT_ONCE):
                part = batch[start : start + MOST_AT_ONCE]
                guarded("pass connections on", self._drop)(self._send)(
                    slot_sockets, part
                )

    def reclaim_fds(
        self, slot_sockets: SlotSockets, policies: Mapping[int, Policy]
    ) -> None:
        """
        Take back the connections that wait for a slot without worker; dispatch them.

        :param policies: the policies by listener number; connections of other listeners
            belong to the slot and go on waiting for it.
        """
        waiting = slot_sockets.queue.reclaim_fds()
        slot_sockets.reclaim_fds(len(waiting))
        for listener, connection in waiting:
            policy = policies.get(listener)
            self.give(
                Arrived(
                    connection,
                    listener,
                    policy or self._any,
                    None if policy else slot_sockets,
                )
            )
        self.flush()

    def finish(self) -> Deferred[None]:
        """
        Send all queued and held connections.

        :return: fires when that is done, or when no worker has had room for the rest
            for a while.
        """
        self._offer()
        self.flush()
        if not self._held:
            return succeed(None)
        self._finished = Deferred()
        return self._finished.addTimeout(PASSING_ON, self._clock, lambda *_: None)

    def stop(self) -> None:
        """Send what can be sent, and close the rest."""
        self._offer()
        self.flush()
        # Only now: the calls above may schedule another attempt.
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for arrived in self._held:
            os.close(arrived.connection)
        self._held.clear()
        self._check_finished()

    def _send(self, slot_sockets: SlotSockets, batch: list[Arrived]) -> None:
        listeners = bytes(arrived.listener for arrived in batch)
        numbers = [arrived.connection for arrived in batch]
        if slot_sockets.queue.send(listeners, numbers):
            self.given += len(batch)
            for arrived in batch:
                os.close(arrived.connection)
        else:
            slot_sockets.given -= len(batch)
            self._hold(batch)

    @staticmethod
    def _drop(
        _failure: Failure, slot_sockets: SlotSockets, batch: list[Arrived]
    ) -> None:
        """Close connections that cannot be passed on, without delaying other slots'."""
        slot_sockets.given -= len(batch)
        for arrived in batch:
            os.close(arrived.connection)

    def _hold(self, batch: Sequence[Arrived]) -> None:
        was_held = bool(self._held)
        self._held.extend(batch)
        if self._again is None:
            self._again = self._clock.callLater(_PAUSE, self._try_again)
        if not was_held:
            self._tell_held()

    @guarded("pass connections on")
    def _try_again(self) -> None:
        self._again = None
        self._offer()
        self.flush()
        if not self._held:
            self._tell_held()
            self._check_finished()

    def _check_finished(self) -> None:
        finished, self._finished = self._finished, None
        if finished is not None:
            finished.callback(None)

    def _offer(self) -> None:
        # One at a time: an exception for one connection must not lose another.
        for _ in range(len(self._held)):
            self.give(self._held.popleft())
