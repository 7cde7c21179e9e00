"""Passing the connections that the master has accepted on to workers."""

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
from clusterapp.master.workers.slot_sockets import Place

#: How many connections may wait for a worker that does not come to them, before
#: others get them.
MOST_WAITING = 128

#: Seconds after which connections are offered again that nobody had room for.
_PAUSE = 0.005

#: Seconds for workers to make room for the last connections, as they do in a moment if
#: they are only busy.
_PATIENCE = 5.0


@dataclass(frozen=True)
class Target:
    """A worker that can be given connections: `clusterapp.dispatch.policies.Target`."""

    place: Place
    row: Row

    @property
    def waiting(self) -> int:
        """How many it has not received yet."""
        return self.place.waiting

    @property
    def open(self) -> int:
        """How many it has."""
        return self.row[OPEN]


class Arrived(NamedTuple):
    """
    A connection on its way.

    :param connection: its descriptor. A socket would be made by asking the kernel for
        much that nobody wants to know, which takes as long as to pass it on.
    :param door: the number of the listener that it has come by.
    :param policy: who chooses its worker.
    :param place: the slot that it belongs to; None if to none.
    """

    connection: int
    door: int
    policy: Policy
    place: Place | None = None


class FdPassing:
    """
    Chooses a worker for each connection, and passes it on.

    What is given in one turn of the reactor goes out together. What nobody has room
    for is held, and nothing more is to be accepted until it is gone.

    :param clock: keeps the time.
    :param held: called when nothing more is to be accepted, and when it is again.
    :ivar targets: the workers that can be given connections, in the order of slots.
    :ivar given: how many connections have been passed on so far.
    """

    def __init__(self, clock: IReactorTime, held: Callable[[], None]) -> None:
        self.targets: Sequence[Target] = ()
        self.given = 0
        self._clock = clock
        self._tell_held = held
        self._any = LeastConnections(MOST_WAITING)
        self._batches: dict[Place, list[Arrived]] = {}
        self._held: deque[Arrived] = deque()
        self._again: IDelayedCall | None = None
        self._finished: Deferred[None] | None = None

    @property
    def is_held(self) -> bool:
        """Whether there are connections that nobody has room for."""
        return bool(self._held)

    def give(self, arrived: Arrived) -> None:
        """Pass a connection on, at the next `flush`."""
        place = arrived.place
        if place is None or place.waiting >= MOST_WAITING:
            # Whoever gets it passes on what belongs elsewhere.
            target = arrived.policy.choose(self.targets)
            if target is None:
                self._hold([arrived])
                return
            place = target.place
        place.given += 1
        self._batches.setdefault(place, []).append(arrived)

    def flush(self) -> None:
        """Send what has been given."""
        batches, self._batches = self._batches, {}
        for place, batch in batches.items():
            for start in range(0, len(batch), MOST_AT_ONCE):
                part = batch[start : start + MOST_AT_ONCE]
                guarded("pass connections on", self._drop)(self._send)(place, part)

    def reclaim_fds(self, place: Place, policies: Mapping[int, Policy]) -> None:
        """
        Give to others what waits for a slot that nobody fills.

        :param policies: who chooses, by the number of the listener; what belongs to
            the slot is not among them, and goes on waiting.
        """
        waiting = place.queue.reclaim_fds()
        place.reclaim_fds(len(waiting))
        for door, connection in waiting:
            policy = policies.get(door)
            self.give(
                Arrived(
                    connection, door, policy or self._any, None if policy else place
                )
            )
        self.flush()

    def finish(self) -> Deferred[None]:
        """
        Send all that has been given.

        :return: fires when that is done, or when nobody has had room for the rest for
            a while.
        """
        self._offer()
        self.flush()
        if not self._held:
            return succeed(None)
        self._finished = Deferred()
        return self._finished.addTimeout(_PATIENCE, self._clock, lambda *_: None)

    def stop(self) -> None:
        """Send what can be sent, and let go of the rest."""
        self._offer()
        self.flush()
        # Only now: what nobody has room for would be offered once more.
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for arrived in self._held:
            os.close(arrived.connection)
        self._held.clear()
        self._check_finished()

    def _send(self, place: Place, batch: list[Arrived]) -> None:
        doors = bytes(arrived.door for arrived in batch)
        numbers = [arrived.connection for arrived in batch]
        if place.queue.send(doors, numbers):
            self.given += len(batch)
            for arrived in batch:
                os.close(arrived.connection)
        else:
            place.given -= len(batch)
            self._hold(batch)

    @staticmethod
    def _drop(_failure: Failure, place: Place, batch: list[Arrived]) -> None:
        """Close connections that cannot be passed on: other slots' are not held up."""
        place.given -= len(batch)
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
        # One at a time: what is raised for one loses no other.
        for _ in range(len(self._held)):
            self.give(self._held.popleft())
