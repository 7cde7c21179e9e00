"""The core and the workers of a master, and the rollout of a new release to them."""

import socket
from collections.abc import Callable, Collection, Coroutine, Iterator
from itertools import chain
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from clusterapp.errors import ClusterError, NeverReadyError
from clusterapp.lifecycle import State
from clusterapp.master.core.core_process import Core, IsolatedCore, RemoteCore
from clusterapp.master.core.hosted_core import MasterCore
from clusterapp.master.rollout.canary import Canary, CanaryError
from clusterapp.master.rollout.release import Release
from clusterapp.master.workers.child_slot import ChildSlot
from clusterapp.master.workers.worker_pool import WorkerPool
from clusterapp.operations import CORE, Step, Tell
from clusterapp.rollout_order import roll_out
from clusterapp.settings.stop_time import LEAST


class Owner(Protocol):
    """The master that runs a deployment."""

    def changed(self) -> None:
        """Called when any state has changed."""

    def failed(
        self, slot: ChildSlot, *, loading: bool, reason: str, traceback: str
    ) -> None:
        """Called when a child cannot start, with the reason."""

    def fatal_error(self, error: ClusterError) -> None:
        """Called when the deployment cannot go on."""


class Deployment:
    """
    The core and the workers of one master, all of one release except in a rollout.

    :param reactor: the master's reactor.
    :param release: the release to run at first.
    :param owner: is notified of changes and failures.
    :param on_arrival: called when a worker can be sent the state that it has missed.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        release: Release,
        owner: Owner,
        on_arrival: Callable[[ChildSlot], None],
    ) -> None:
        self.release = release
        self.pool = WorkerPool(owner.changed, self._all_fatal, on_arrival)
        self.core_is_ready = self.core_is_back_soon = False
        self._reactor = reactor
        self._owner = owner
        self._canaries: set[ChildSlot] = set()
        self.core = self._make_core(release)

    def start_core(self) -> None:
        """Start the core; its start hooks may fail synchronously."""
        self.core.start()

    def start_workers(self, size: int, empty: Collection[int] = ()) -> None:
        """
        Create the slots, and start their workers.

        :param size: the number of slots.
        :param empty: the slots to leave empty, since an operator has drained them.
        """
        for number in range(size):
            slot = self.release.slot(self._reactor, number, self)
            if number in empty and len(empty) < size:
                self.pool.slots[number] = slot
            else:
                self.pool.fill(slot)

    def expect_stop(self) -> None:
        """Called before a stop: log no restarts of children any more."""
        for slot in self._slots():
            slot.cluster_stops = True

    async def stop(self, until: float) -> None:
        """
        Stop the workers, then the core, which their last requests may need.

        :param until: the reactor's time at which the graceful timeout of the stop is
            over. It is one for all: the core has what the workers leave of it, or a
            few seconds.
        """
        for slot in tuple(self._canaries):
            self._withdraw(slot)
        await self.pool.drain()
        await self.core.stop(max(LEAST, until - self._reactor.seconds()))

    def drop(self) -> None:
        """Kill all children at once; their requests under way are lost."""
        for slot in tuple(self._canaries):
            slot.drop()
        self.pool.drop()
        self.core.drop()

    def pids(self) -> Iterator[int]:
        """Yield the pids of all children."""
        for slot in self._slots():
            if slot.pid is not None:
                yield slot.pid

    def _slots(self) -> Iterator[ChildSlot]:
        pool, core = self.pool, self.core
        own = () if core.slot is None else (core.slot,)
        yield from (*pool.slots.values(), *pool.retiring, *own, *core.retiring)

    # Changes of what runs.

    async def reload(self, release: Release, tell: Tell) -> bool:
        """
        Replace all workers and the core by those of another release, or none of them.

        :param tell: called with each step.
        :return: False if a core in the master keeps its old code.
        :raise CanaryError: if a new process fails; the old release is back then.
        """
        rollout = _Rollout(self, release, tell)
        slots = sorted(
            number
            for number, slot in self.pool.slots.items()
            if slot.state != "stopped"
        )
        batch = release.generation.settings.reload_batch
        await roll_out(slots, batch, rollout)
        self.release = release
        return rollout.core_replaced

    async def scale(self, size: int, tell: Tell) -> None:
        """
        Change the number of slots.

        :raise CanaryError: if a worker for a new slot fails its trial.
        """
        for number in range(size):
            if number not in self.pool.slots:
                await self.replace(number, self.release, tell)
        surplus = sorted(number for number in self.pool.slots if number >= size)
        gone = [self._take_out(number, tell) for number in surplus]
        for each in gone:
            await each

    async def restart(self, number: int, tell: Tell) -> None:
        """
        Replace the worker of a slot, or fill an empty slot.

        :raise CanaryError: if the new process fails; the old one keeps the slot.
        """
        await self.replace(number, self.release, tell)

    async def empty(self, number: int, tell: Tell) -> None:
        """Drain a slot; it stays empty until it is filled by `restart`."""
        slot = self.pool.slots[number]
        tell(Step("draining", number))
        await self.pool.let_go(slot)
        tell(Step("empty", number))

    async def replace(self, number: int, release: Release, tell: Tell) -> None:
        """
        Replace the worker of a slot by one of a release, new before old.

        :raise CanaryError: if the new one fails; the old one keeps the slot.
        """
        slot = release.slot(self._reactor, number, self, as_canary=True)
        canary = Canary(slot, self)
        self._canaries.add(slot)
        try:
            tell(Step(f"starting generation {release.number}", number))
            await canary.load()
            path = release.generation.settings.health_path
            await canary.probe(self._reactor, release.client, path)
            await canary.take_place()
        except BaseException as error:
            self._canaries.discard(slot)
            self._withdraw(slot)
            self._replace_terminating(number)
            if isinstance(error, CanaryError):
                tell(Step(error.reason, number))
            raise
        self._canaries.discard(slot)
        tell(Step(f"ready after {slot.uptime or 0:.2f} s", number))
        before = self.pool.slots.get(number)
        self.pool.put(slot)
        if before is not None:
            # Requests made after this operation must be answered by the new process.
            await before.accepts_nothing()

    async def replace_core(self, release: Release, tell: Tell) -> bool:
        """
        Run the core in another release, if this master can replace it.

        :return: False if a core in the master keeps its old code.
        :raise CanaryError: if the release fails; the core runs as before then.
        """
        if not isinstance(self.core, IsolatedCore):
            return await self.core.replace(release)
        tell(Step(f"starting generation {release.number}", CORE))
        await self.core.replace(release)
        tell(Step("ready", CORE))
        return True

    # Callbacks of the children and of the core.

    def entered(self, slot: ChildSlot, state: State) -> None:
        """Called when the state of a worker has changed."""
        self.pool.entered(slot, state)
        if state == "stopped":
            self._replace_terminating(slot.number)

    def terminating(self, slot: ChildSlot) -> None:
        """Called when a worker drains because of SIGTERM: replace it at once."""
        at_once = self._may_be_replaced(slot)
        self._log.warn(
            "{label} (pid {pid}) has received SIGTERM: it drains, and {then}",
            label=slot.label,
            pid=slot.pid,
            then="its replacement starts now" if at_once else "is replaced then",
        )
        if at_once:
            self.pool.replace(slot)
        else:
            self._owner.changed()

    def imported(self, *, has_core: bool) -> None:
        """Called when a worker has imported the application: notify the core."""
        self.core.application_imported(has_core=has_core)

    def loaded(self, slot: ChildSlot) -> None:
        """Called when a canary, or a draining worker, can receive the state."""
        self.pool.send_updates(slot)

    def failed(
        self, slot: ChildSlot, *, loading: bool, reason: str, traceback: str
    ) -> None:
        """Called when a child cannot start, with the reason."""
        self._owner.failed(slot, loading=loading, reason=reason, traceback=traceback)

    def hand_over(
        self, slot: ChildSlot, connection: socket.socket, listener: str
    ) -> Deferred[bool]:
        """Transfer a connection to another worker; fires with whether one has it."""
        return self.pool.adopt(connection, listener, before=slot)

    def core_ready(self, ready: bool, *, back: bool = False) -> None:
        """Called when the core has become ready or unready: notify the workers."""
        self.core_is_ready, self.core_is_back_soon = ready, back
        self.pool.core_ready(ready, back=back)
        for slot in self._canaries:
            slot.core_ready(ready, back=back)
        self._owner.changed()

    def fatal_error(self, error: ClusterError) -> None:
        """Called when the core can never serve."""
        self._owner.fatal_error(error)

    def _all_fatal(self, ever_ready: bool) -> None:
        reasons = {slot.exit_reason for slot in self.pool.slots.values()} - {""}
        why = "; ".join(sorted(reasons)) or "no reason was given"
        if not ever_ready:
            self.fatal_error(NeverReadyError(f"no worker ever became ready ({why})"))
            return
        # Workers have served before, so the cause may be outside, and may go away.
        self._log.critical(
            "no worker can be started any more, each is tried again once a minute"
            " ({why})",
            why=why,
        )

    def _may_be_replaced(self, slot: ChildSlot) -> bool:
        """Return whether a worker's replacement may start while the worker drains."""
        # No slot has more than two processes, however often SIGTERM is sent.
        others = chain(self._canaries, self.pool.retiring)
        is_alone = all(each.number != slot.number for each in others)
        return is_alone and not slot.cluster_stops

    def _replace_terminating(self, number: int) -> None:
        """Replace the worker of a slot if it has had to wait for that since SIGTERM."""
        slot = self.pool.slots.get(number)
        if slot is None or slot.state != "running" or not slot.is_terminating:
            return
        if self._may_be_replaced(slot):
            self._log.info(
                "{label} (pid {pid}) still drains: its replacement starts now",
                label=slot.label,
                pid=slot.pid,
            )
            self.pool.replace(slot)

    def _take_out(self, number: int, tell: Tell) -> Deferred[None]:
        tell(Step("draining", number))
        gone = self.pool.take_out(number)
        return gone.addCallback(lambda _: tell(Step("gone", number)))

    def _withdraw(self, slot: ChildSlot) -> None:
        slot.watcher = self
        self.pool.let_go(slot)

    def _make_core(self, release: Release) -> Core:
        settings = release.generation.settings
        if settings.core_is_remote:
            return RemoteCore(self)
        # A core in the master would keep its old code during development.
        if settings.core == "isolated" or settings.reload:
            return IsolatedCore(self._reactor, release, self)
        return MasterCore(self._reactor, release, self)


class _Rollout:
    """The actions of a rollout in a deployment: `clusterapp.rollout_order.Effects`."""

    def __init__(self, deployment: Deployment, release: Release, tell: Tell) -> None:
        self._deployment = deployment
        self._before = deployment.release
        self._release = release
        self._tell = tell
        self.core_replaced = False

    async def replace(self, slot: int) -> None:
        """Replace the worker of a slot by one of the new release."""
        await self._deployment.replace(slot, self._release, self._tell)

    async def replace_core(self) -> None:
        """Run the core in the new release."""
        self.core_replaced = await self._deployment.replace_core(
            self._release, self._tell
        )

    async def put_back(self, slot: int) -> None:
        """Replace the worker of a slot by one of the old release again."""
        self._tell(Step(f"back to generation {self._before.number}", slot))
        await self._try(self._deployment.replace(slot, self._before, self._tell))

    async def put_back_core(self) -> None:
        """Run the core in the old release again."""
        await self._try(self._deployment.replace_core(self._before, self._tell))

    async def _try(self, going_back: Coroutine[Any, Any, object]) -> None:
        """Go back as far as possible; the first failure is what the rollout raises."""
        try:
            await going_back
        except CanaryError as error:
            self._tell(Step(f"cannot go back: {error}"))
