"""The operations that a master offers to operators, run one at a time."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from clusterapp.channel.upgrade_state import OperatorChanges
from clusterapp.errors import BusyError, OperationError, UnknownSlotError
from clusterapp.master.cluster_status import (
    Phase,
    core_of,
    core_word,
    health_of,
    imbalance_of,
    master_of,
    static_of,
    workers_of,
)
from clusterapp.master.distribution.distribution import Distribution
from clusterapp.master.master_sockets import Sockets
from clusterapp.master.operation_lock import RECYCLE, OperationLock, Work, note, noting
from clusterapp.master.pending_signals import RememberedSignals
from clusterapp.master.resource_usage import Monitor
from clusterapp.master.rollout.deployment import Deployment
from clusterapp.master.rollout.generation import LaunchContext
from clusterapp.master.rollout.release import Release, make_release
from clusterapp.master.rollout.reloadable_settings import as_far_as_can_be, not_applied
from clusterapp.master.workers.worker_count import MOST_PER_CPU, most_workers, tell_size
from clusterapp.operations import (
    CORE,
    Dispatch,
    Health,
    OperationResult,
    Slot,
    Step,
    Tell,
)
from clusterapp.settings.model import OPTIONS
from clusterapp.settings.resolution import ResolvedSettings
from clusterapp.wording import counted

_CORE_ELSEWHERE = "the core runs on another machine: ask its own cluster"


class OperatedMaster(Protocol):
    """The part of the master that operations use."""

    @property
    def phase(self) -> Phase:
        """The phase of the master's life: starting, running or stopping."""

    def identity(self) -> Mapping[str, Any]:
        """Return the name, pid, version and uptime (in seconds) of the master."""

    @property
    def deployment(self) -> Deployment:
        """The core and the workers."""

    @property
    def monitor(self) -> Monitor:
        """The resource usage of the cluster's processes."""

    @property
    def sockets(self) -> Sockets:
        """The listening sockets and the state folder."""

    @property
    def distribution(self) -> Distribution:
        """The distribution of connections to workers."""

    @property
    def launch_context(self) -> LaunchContext:
        """The folder, environment and import path that the master was started with."""

    @property
    def chosen(self) -> ResolvedSettings:
        """The settings in force, and their sources."""

    def choose_anew(self) -> ResolvedSettings:
        """
        Resolve the settings again, without adopting them.

        :raise SettingsError: if they are invalid.
        """

    def adopt_settings(self, chosen: ResolvedSettings) -> None:
        """Put other settings in force."""

    def changed(self) -> None:
        """Called when any state has changed: notify the workers and the watchers."""

    def end(self, *, quick: bool) -> Deferred[None]:
        """Stop; fires when the last child has exited."""

    def take_over(self, tell: Tell) -> Work:
        """
        Start a new master that takes over sockets and connections from this one.

        :raise OperationError: if this master cannot start another.
        """


class MasterOperations:
    """
    The operations of a master; implements `clusterapp.operations.Operations`.

    :param master: the master.
    """

    _log = Logger()

    def __init__(self, master: OperatedMaster) -> None:
        self._master = master
        self._one = OperationLock(master)
        self._signals = RememberedSignals(self._can_begin)
        self._next_generation = 2
        #: The number of workers set by an operator; None if the settings decide.
        self._scaled_to: int | None = None

    @property
    def under_way(self) -> str | None:
        """The name of the operation under way; None if there is none."""
        return self._one.under_way

    def restore_changes(self, operator_changes: OperatorChanges) -> int:
        """
        Adopt what operators have set in the older master; return the number of slots.

        :param operator_changes: what operators have set in the older master.
        """
        settings = self._master.chosen.settings
        self._next_generation = operator_changes.generation + 1
        self._scaled_to = None
        if operator_changes.workers is not None and operator_changes.holds(
            "workers", settings.workers
        ):
            self._scaled_to = operator_changes.workers
        return tell_size(settings, self._scaled_to)

    def operator_changes(self) -> OperatorChanges:
        """Return what operators have set in this master, for the next one."""
        slots = self._master.deployment.pool.slots
        overrides = self._master.distribution.overrides
        return OperatorChanges(
            generation=self._next_generation,
            workers=self._scaled_to,
            empty=tuple(n for n in sorted(slots) if slots[n].state == "stopped"),
            policies=overrides.policies,
            sticky=overrides.sticky,
            settings=self._master.chosen.settings.as_mapping(),
        )

    # Queries, which are answered at once.

    def status(self) -> Mapping[str, Any]:
        """Return the state of the cluster and of each worker."""
        master, deployment = self._master, self._master.deployment
        health, pool = self.health(), deployment.pool
        settings = master.chosen.settings
        return {
            **master.identity(),
            "generation": deployment.release.number,
            "state": master.phase,
            "ready": health.ready,
            "why": health.detail["why"],
            "listeners": master.sockets.addresses,
            "distribution": {
                **master.distribution.describe(),
                "imbalance": imbalance_of(pool.running()),
            },
            "master": master_of(master.monitor),
            "core": core_word(deployment, settings),
            "core_process": core_of(deployment.core, settings, master.monitor),
            "operation": self.under_way,
            "folder": deployment.release.generation.folder,
            "named_folder": master.launch_context.named_folder(settings),
            "started_in": master.launch_context.started_in,
            "twistd": master.launch_context.twistd,
            "static": static_of(pool.running()),
            "workers": workers_of(tuple(pool.slots.values()), master.monitor),
            "retiring": workers_of(
                (*pool.retiring, *deployment.core.retiring), master.monitor
            ),
        }

    def config(self) -> Mapping[str, Any]:
        """Return the value of each setting and its source."""
        chosen = self._master.chosen
        return {
            option.name: {
                "value": getattr(chosen.settings, option.name),
                "origin": chosen.origins[option.name],
            }
            for option in OPTIONS
        }

    def health(self) -> Health:
        """Return whether the cluster can serve."""
        master = self._master
        return health_of(
            master.deployment,
            master.phase,
            master.chosen.settings,
            master.sockets.state_problem,
        )

    # Operations that take time.

    def reload(self, tell: Tell) -> Deferred[OperationResult]:
        """Replace all workers with processes of a new generation, in batches."""
        return self._one.begin("reload", self._reload(noting(tell)))

    def upgrade(self, tell: Tell) -> Deferred[OperationResult]:
        """Replace the master and all its processes."""
        work = self._master.take_over(noting(tell))
        try:
            return self._one.begin("upgrade", self._upgrade(work))
        except BusyError:
            work.close()
            raise

    def scale(
        self, workers: int, tell: Tell, *, force: bool = False
    ) -> Deferred[OperationResult]:
        """Change the number of workers."""
        if workers < 1:
            raise OperationError("there must be at least 1 worker")
        most = max(most_workers(), len(self._master.deployment.pool.slots))
        if workers > most and not force:
            raise OperationError(
                f"{workers} workers are more than {MOST_PER_CPU} for each CPU;"
                " --force starts them all the same"
            )
        return self._one.begin("scale", self._scale(workers, noting(tell)))

    def scale_by(self, more: int, tell: Tell) -> Deferred[OperationResult]:
        """Change the number of workers by a difference, which may be negative."""
        return self.scale(len(self._master.deployment.pool.slots) + more, tell)

    def dispatch(self, wanted: Dispatch, tell: Tell) -> Deferred[OperationResult]:
        """Change the policy by which connections are distributed."""
        self._master.distribution.check_dispatch(wanted)
        return self._one.begin("dispatch", self._dispatch(wanted, noting(tell)))

    def restart(self, slot: Slot, tell: Tell) -> Deferred[OperationResult]:
        """Replace the worker of one slot, or the core; an empty slot is filled."""
        if slot == CORE:
            self._check_core()
            return self._one.begin("restart", self._restart_core(noting(tell)))
        self._check(slot)
        return self._one.begin("restart", self._restart(slot, noting(tell)))

    def drain(self, slot: int, tell: Tell) -> Deferred[OperationResult]:
        """Drain the worker of one slot; the slot stays empty."""
        self._check(slot)
        return self._one.begin("drain", self._drain(slot, noting(tell)))

    def recycle(self, slot: int, why: str) -> Deferred[OperationResult]:
        """
        Replace a worker that has reached a limit of its lifetime.

        :param why: the limit that it has reached, as in ``"1,000 requests"``.
        """
        self._log.info("worker {slot} is replaced: {why}", slot=slot, why=why)
        return self._one.begin(RECYCLE, self._restart(slot, note))

    def stacks(self, slot: Slot | None) -> Deferred[Mapping[Slot, str]]:
        """Return the Python stacks of one worker, of the core, or of all of them."""
        deployment = self._master.deployment
        slots, core = deployment.pool.slots, deployment.core
        if slot not in {None, CORE}:
            self._check(cast("int", slot))
        asked: dict[Slot, Deferred[str]] = {
            number: each.stacks()
            for number, each in sorted(slots.items())
            if slot in (None, number) and each.pid is not None
        }
        of_core = core.stacks() if slot in {None, CORE} else None
        if of_core is not None:
            asked[CORE] = of_core
        elif slot == CORE and core.slot is None:
            raise OperationError(_CORE_ELSEWHERE)
        gathered = gatherResults(asked.values())
        return gathered.addCallback(lambda texts: dict(zip(asked, texts, strict=True)))

    def stop(self, *, quick: bool, tell: Tell) -> Deferred[OperationResult]:
        """Stop the cluster; any other operation under way is cancelled."""
        tell(Step("stopping quickly" if quick else "stopping"))
        ended = self._master.end(quick=quick)
        return ended.addCallback(lambda _: OperationResult(True, "stopped"))

    def give_up(self) -> None:
        """Cancel the operation under way: the master is stopping."""
        self._signals.forget()
        self._one.give_up()

    def by_signal(
        self, name: str, begin: Callable[[Tell], Deferred[OperationResult]]
    ) -> None:
        """
        Run the operation of a signal, at once or when the one under way has ended.

        Its outcome is logged, since a signal has no terminal to answer to.

        :param name: the signal's name.
        :param begin: starts the operation.
        """
        self._signals.received(name, begin)

    def changed(self) -> None:
        """Start operations of earlier signals that had to wait, if possible now."""
        self._signals.go_on()

    # The implementations.

    def _can_begin(self) -> bool:
        return self._master.phase == "running" and self.under_way is None

    async def _upgrade(self, work: Work) -> str:
        try:
            text = await work
        finally:
            work.close()
        # The new master has the newest code and settings, and receives later signals.
        self._signals.forget()
        return text

    async def _reload(self, tell: Tell) -> str:
        master = self._master
        deployment, before = master.deployment, master.chosen
        wanted = master.choose_anew()
        chosen = as_far_as_can_be(before, wanted)
        master.distribution.check(chosen.settings)
        release = self._release(chosen)
        tell(Step(f"generation {release.number} in {release.generation.folder}"))
        with_core = await deployment.reload(release, tell)
        master.sockets.forget_caches(release.number)
        master.adopt_settings(chosen)
        workers = chosen.settings.workers
        if workers != before.settings.workers:
            self._scaled_to = None
            if workers != "auto":
                await deployment.scale(int(workers), tell)
        master.distribution.settings_changed(before.settings, chosen.settings)
        size = len(deployment.pool.slots)
        text = f"generation {release.number} serves in {counted(size, 'worker')}"
        if not with_core:
            text += (
                "; the core runs in the master and keeps its code: an upgrade"
                " (clusterctl upgrade), or a start anew, replaces both"
            )
        return text + not_applied(before, wanted)

    def _release(self, chosen: ResolvedSettings) -> Release:
        master = self._master
        number, self._next_generation = self._next_generation, self._next_generation + 1
        generation = master.launch_context.take(number, chosen.settings)
        return make_release(
            generation, master.sockets, master.distribution.child_resources
        )

    async def _scale(self, workers: int, tell: Tell) -> str:
        await self._master.deployment.scale(workers, tell)
        self._scaled_to = workers
        return counted(workers, "worker")

    async def _dispatch(self, wanted: Dispatch, tell: Tell) -> str:
        key = f" by {wanted.sticky}" if wanted.sticky else ""
        tell(Step(f"dispatch {wanted.policy}{key}"))
        return self._master.distribution.set_policy(wanted)

    async def _restart(self, slot: int, tell: Tell) -> str:
        deployment = self._master.deployment
        before = deployment.pool.slots[slot].pid
        await deployment.restart(slot, tell)
        if before is None:
            return f"worker {slot} is started; there was no process in its slot"
        return f"worker {slot} is replaced"

    async def _drain(self, slot: int, tell: Tell) -> str:
        await self._master.deployment.empty(slot, tell)
        return f"slot {slot} is empty; restart fills it again"

    async def _restart_core(self, tell: Tell) -> str:
        deployment = self._master.deployment
        await deployment.replace_core(deployment.release, tell)
        return "the core is replaced"

    def _check_core(self) -> None:
        """Raise an `OperationError` if the core has no process of its own here."""
        if self._master.chosen.settings.core_is_remote:
            raise OperationError(_CORE_ELSEWHERE)
        if self._master.deployment.core.slot is None:
            raise OperationError(
                "the core runs in the master: clusterctl upgrade replaces both; with"
                " --core isolated it can be restarted alone"
            )

    def _check(self, slot: int) -> None:
        slots = self._master.deployment.pool.slots
        if slot not in slots:
            known = ", ".join(map(str, sorted(slots)))
            raise UnknownSlotError(f"there is no slot {slot}; there are {known}")
