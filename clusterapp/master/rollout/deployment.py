"""What a master runs, its core and its workers, and how one release follows another."""

import socket
from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from clusterapp.errors import ClusterError, NeverReadyError
from clusterapp.generations import roll_out
from clusterapp.lifecycle import State
from clusterapp.master.core.core_process import Core, IsolatedCore, RemoteCore
from clusterapp.master.core.hosted_core import MasterCore
from clusterapp.master.rollout.canary import Trial, TrialError
from clusterapp.master.rollout.release import Release
from clusterapp.master.workers.child_slot import ChildSlot
from clusterapp.master.workers.worker_pool import Pool
from clusterapp.operations import CORE, Step, Tell


class Owner(Protocol):
    """Who runs a deployment."""

    def changed(self) -> None:
        """Hear that something is in another state."""

    def failed(
        self, slot: ChildSlot, *, loading: bool, reason: str, traceback: str
    ) -> None:
        """Hear why a child cannot start."""

    def fatal_error(self, error: ClusterError) -> None:
        """Hear that the deployment cannot go on."""


class Deployment:
    """
    The core and the workers of one master, all of one release but while it changes.

    :param reactor: the master's reactor.
    :param release: what to run at first.
    :param owner: hears what becomes of it.
    :param on_arrival: called when a worker can be told what it has missed.
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
        self.pool = Pool(owner.changed, self._all_fatal, on_arrival)
        self.core_is_ready = self.core_is_back_soon = False
        self._reactor = reactor
        self._owner = owner
        self._trials: set[ChildSlot] = set()
        self.core = self._make_core(release)

    def start_core(self) -> None:
        """Start the core; its start hooks may fail at once."""
        self.core.start()

    def start_workers(self, size: int, empty: Collection[int] = ()) -> None:
        """
        Fill so many slots.

        :param empty: those that are to stay empty: an operator has drained them.
        """
        for number in range(size):
            slot = self.release.slot(self._reactor, number, self)
            if number in empty and len(empty) < size:
                self.pool.slots[number] = slot
            else:
                self.pool.fill(slot)

    def expect_stop(self) -> None:
        """Announce no restart any more: the cluster stops."""
        for slot in self._slots():
            slot.cluster_stops = True

    async def stop(self) -> None:
        """Stop the workers first: what they still answer may need the core."""
        for slot in tuple(self._trials):
            self._withdraw(slot)
        await self.pool.drain()
        await self.core.stop()

    def drop(self) -> None:
        """End all children at once; what they were doing is lost."""
        for slot in tuple(self._trials):
            slot.drop()
        self.pool.drop()
        self.core.drop()

    def pids(self) -> Iterator[int]:
        """Give the pids of all children."""
        for slot in self._slots():
            if slot.pid is not None:
                yield slot.pid

    def _slots(self) -> Iterator[ChildSlot]:
        pool, core = self.pool, self.core
        own = () if core.slot is None else (core.slot,)
        yield from (*pool.slots.values(), *pool.leaving, *own, *core.leaving)

    # Changing what runs.

    async def reload(self, release: Release, tell: Tell) -> bool:
        """
        Replace everything by another release, or nothing.

        :param tell: hears of each step.
        :return: whether the core runs in the new release, too, if there is one here.
        :raise TrialError: if the release is no good; everything is as it was then.
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
        Have so many slots.

        :raise TrialError: if one that is to be added cannot be filled.
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
        Fill a slot anew, whatever state it is in.

        :raise TrialError: if the new process is no good; the old one stays then.
        """
        await self.replace(number, self.release, tell)

    async def empty(self, number: int, tell: Tell) -> None:
        """Empty a slot; it stays empty until it is filled by `restart`."""
        slot = self.pool.slots[number]
        tell(Step("draining", number))
        await self.pool.let_go(slot)
        tell(Step("empty", number))

    async def replace(self, number: int, release: Release, tell: Tell) -> None:
        """
        Fill a slot with a process of a release, new before old.

        :raise TrialError: if it cannot take the slot; whatever had the slot stays.
        """
        slot = release.slot(self._reactor, number, self, on_trial=True)
        trial = Trial(slot, self)
        self._trials.add(slot)
        try:
            tell(Step(f"starting generation {release.number}", number))
            await trial.load()
            path = release.generation.settings.health_path
            await trial.probe(self._reactor, release.client, path)
            await trial.take_place()
        except BaseException as error:
            self._withdraw(slot)
            if isinstance(error, TrialError):
                tell(Step(error.reason, number))
            raise
        finally:
            self._trials.discard(slot)
        tell(Step(f"ready after {slot.uptime or 0:.2f} s", number))
        before = self.pool.slots.get(number)
        self.pool.put(slot)
        if before is not None:
            # Whoever asks when this is done is to be answered by the new process.
            await before.accepts_nothing()

    async def replace_core(self, release: Release, tell: Tell) -> bool:
        """
        Run the core in another release, if that can be done here.

        :return: whether it was done.
        :raise TrialError: if the release is no good; the core runs as before then.
        """
        if not isinstance(self.core, IsolatedCore):
            return await self.core.replace(release)
        tell(Step(f"starting generation {release.number}", CORE))
        await self.core.replace(release)
        tell(Step("ready", CORE))
        return True

    # What the children and the core report.

    def entered(self, slot: ChildSlot, state: State) -> None:
        """Hear of a worker's state."""
        self.pool.entered(slot, state)

    def imported(self, *, has_core: bool) -> None:
        """Let the core know whether it has anything to host."""
        self.core.application_imported(has_core=has_core)

    def loaded(self, slot: ChildSlot) -> None:
        """Called when a worker that is on trial, or drains, may be asked to serve."""
        self.pool.tell_news(slot)

    def failed(
        self, slot: ChildSlot, *, loading: bool, reason: str, traceback: str
    ) -> None:
        """Hear why a child cannot start."""
        self._owner.failed(slot, loading=loading, reason=reason, traceback=traceback)

    def hand_over(
        self, slot: ChildSlot, connection: socket.socket, door: str
    ) -> Deferred[bool]:
        """Let another worker serve a connection."""
        return self.pool.adopt(connection, door, before=slot)

    def core_ready(self, ready: bool, *, back: bool = False) -> None:
        """Hear whether the core takes requests, and tell the workers."""
        self.core_is_ready, self.core_is_back_soon = ready, back
        self.pool.core_ready(ready, back=back)
        for slot in self._trials:
            slot.core_ready(ready, back=back)
        self._owner.changed()

    def fatal_error(self, error: ClusterError) -> None:
        """Hear that the core will never serve."""
        self._owner.fatal_error(error)

    def _all_fatal(self, ever_ready: bool) -> None:
        if not ever_ready:
            self.fatal_error(NeverReadyError("no worker ever became ready"))
            return
        # It has served, so it can: what fails may be mended outside of it.
        why = {slot.exit_reason for slot in self.pool.slots.values()} - {""}
        self._log.critical(
            "no worker can be started any more, each is tried again once a minute"
            " ({why})",
            why="; ".join(sorted(why)) or "no reason was given",
        )

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
        # A core in the master would keep its old code while it is written.
        if settings.core == "isolated" or settings.reload:
            return IsolatedCore(self._reactor, release, self)
        return MasterCore(self._reactor, release, self)


class _Rollout:
    """What a rollout does in a deployment: `clusterapp.generations.Effects`."""

    def __init__(self, deployment: Deployment, release: Release, tell: Tell) -> None:
        self._deployment = deployment
        self._before = deployment.release
        self._release = release
        self._tell = tell
        self.core_replaced = False

    async def replace(self, slot: int) -> None:
        """Fill a slot with the new release."""
        await self._deployment.replace(slot, self._release, self._tell)

    async def replace_core(self) -> None:
        """Run the core in the new release."""
        self.core_replaced = await self._deployment.replace_core(
            self._release, self._tell
        )

    async def put_back(self, slot: int) -> None:
        """Fill a slot with the old release again."""
        self._tell(Step(f"back to generation {self._before.number}", slot))
        await self._try(self._deployment.replace(slot, self._before, self._tell))

    async def put_back_core(self) -> None:
        """Run the core in the old release again."""
        await self._try(self._deployment.replace_core(self._before, self._tell))

    async def _try(self, going_back: Coroutine[Any, Any, object]) -> None:
        """Go back as far as can be; the reason for it is what counts."""
        try:
            await going_back
        except TrialError as error:
            self._tell(Step(f"cannot go back: {error}"))
