"""What an operator can ask of a master, done one thing at a time."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from traceback import format_exc
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.logger import Logger

from clusterapp.errors import BusyError, ClusterError, OperationError, UnknownSlotError
from clusterapp.master.deployment import Deployment
from clusterapp.master.distribution import Distribution
from clusterapp.master.generation import Surroundings
from clusterapp.master.release import Release, make_release
from clusterapp.master.sockets import Sockets
from clusterapp.master.status import (
    Phase,
    health_of,
    imbalance_of,
    static_of,
    workers_of,
)
from clusterapp.master.trial import TrialError
from clusterapp.operations import Dispatch, Health, Step, Tell, Verdict
from clusterapp.settings.model import SETTINGS
from clusterapp.settings.sources import Chosen

#: Settings that a reload cannot change, since they are the master's own.
_FIXED = frozenset(
    {
        *("listen", "core", "core_app", "core_listen", "core_ca", "core_cert"),
        *("core_key", "state", "control", "reload", "worker_ports"),
        "agent_check",
    }
)

#: What a master does by itself.
_RECYCLE = "recycle"

Work = Coroutine[Any, Any, str]


class Master(Protocol):
    """What operations ask of the master."""

    @property
    def phase(self) -> Phase:
        """Where it is between its start and its end."""

    def identity(self) -> Mapping[str, Any]:
        """Tell its name, its pid, its version, and for how long it has run."""

    @property
    def deployment(self) -> Deployment:
        """What it runs."""

    @property
    def sockets(self) -> Sockets:
        """What it holds open."""

    @property
    def distribution(self) -> Distribution:
        """Who gets which connections."""

    @property
    def surroundings(self) -> Surroundings:
        """Where it was started."""

    @property
    def chosen(self) -> Chosen:
        """The settings that hold, and their sources."""

    def choose_anew(self) -> Chosen:
        """
        Read the settings again.

        :raise SettingsError: if something is wrong with them.
        """

    def adopt_settings(self, chosen: Chosen) -> None:
        """Let other settings hold from now on."""

    def changed(self) -> None:
        """Look at what has changed, and tell whom it concerns."""

    def end(self, *, quick: bool) -> Deferred[None]:
        """Stop; fires when the last child is gone."""

    def take_over(self, tell: Tell) -> Work:
        """
        Start a new master that takes everything over.

        :raise OperationError: if this master cannot be followed by another.
        """


class MasterOperations:
    """
    The operations of a master; see `clusterapp.operations.Operations`.

    :param master: the master.
    """

    _log = Logger()

    def __init__(self, master: Master) -> None:
        self._master = master
        #: What is being done, in a word; None if nothing is.
        self.under_way: str | None = None
        #: Fires when that has ended.
        self._work: Deferred[None] | None = None
        self._doing: Deferred[Verdict] | None = None
        self._next_generation = 2

    # What takes no time.

    def status(self) -> Mapping[str, Any]:
        """Tell the state of the cluster and of each worker."""
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
            "core": _core(settings.core_is_remote, deployment.core_is_ready),
            "operation": self.under_way,
            "folder": deployment.release.generation.folder,
            "static": static_of(pool.running()),
            "workers": workers_of(tuple(pool.slots.values())),
            "leaving": workers_of(tuple(pool.leaving)),
        }

    def config(self) -> Mapping[str, Any]:
        """Tell the value of each setting, and where it came from."""
        chosen = self._master.chosen
        return {
            setting.name: {
                "value": getattr(chosen.settings, setting.name),
                "origin": chosen.origins[setting.name],
            }
            for setting in SETTINGS
        }

    def health(self) -> Health:
        """Tell whether the cluster can serve."""
        master = self._master
        wanted = master.chosen.settings.min_ready
        return health_of(master.deployment.pool, master.phase, wanted)

    # What takes a while.

    def reload(self, tell: Tell) -> Deferred[Verdict]:
        """Replace all workers, one after the other, by ones with new code."""
        return self._begin("reload", self._reload(self._noting(tell)))

    def upgrade(self, tell: Tell) -> Deferred[Verdict]:
        """Replace the master and all that it runs."""
        return self._begin("upgrade", self._master.take_over(self._noting(tell)))

    def scale(self, workers: int, tell: Tell) -> Deferred[Verdict]:
        """Change the number of workers."""
        if workers < 1:
            raise OperationError("there must be at least 1 worker")
        return self._begin("scale", self._scale(workers, self._noting(tell)))

    def scale_by(self, more: int, tell: Tell) -> Deferred[Verdict]:
        """Have some workers more, or less."""
        return self.scale(len(self._master.deployment.pool.slots) + more, tell)

    def dispatch(self, wanted: Dispatch, tell: Tell) -> Deferred[Verdict]:
        """Distribute connections in another way."""
        return self._begin("dispatch", self._dispatch(wanted, self._noting(tell)))

    def restart(self, slot: int, tell: Tell) -> Deferred[Verdict]:
        """Replace the worker of one slot, or fill the slot again."""
        self._check(slot)
        return self._begin("restart", self._restart(slot, self._noting(tell)))

    def drain(self, slot: int, tell: Tell) -> Deferred[Verdict]:
        """Empty one slot, gracefully; it stays empty."""
        self._check(slot)
        return self._begin("drain", self._drain(slot, self._noting(tell)))

    def recycle(self, slot: int, why: str) -> Deferred[Verdict]:
        """
        Replace a worker that has served its time.

        :param why: what it has reached, as in ``"1,000 requests"``.
        """
        self._log.info("worker {slot} is replaced: {why}", slot=slot, why=why)
        return self._begin(_RECYCLE, self._restart(slot, self._note))

    def stacks(self, slot: int | None) -> Deferred[Mapping[int, str]]:
        """Get the Python stacks of one worker, or of all."""
        slots = self._master.deployment.pool.slots
        if slot is not None:
            self._check(slot)
        asked = {
            number: each.stacks()
            for number, each in sorted(slots.items())
            if slot in (None, number) and each.pid is not None
        }
        said = gatherResults(asked.values())
        return said.addCallback(lambda texts: dict(zip(asked, texts, strict=True)))

    def stop(self, *, quick: bool, tell: Tell) -> Deferred[Verdict]:
        """Stop the cluster; whatever else is being done is given up."""
        tell(Step("stopping quickly" if quick else "stopping"))
        ended = self._master.end(quick=quick)
        return ended.addCallback(lambda _: Verdict(True, "stopped"))

    def give_up(self) -> None:
        """Stop what is being done: the master is stopping."""
        if self._doing is not None:
            self._doing.cancel()

    def by_signal(self, name: str, begin: Callable[[Tell], Deferred[Verdict]]) -> None:
        """
        Do what a signal asks for; the log has what a terminal would show.

        :param name: the signal's name.
        :param begin: begins the operation.
        """
        self._log.info("{name} received", name=name)
        try:
            begin(lambda _: None)
        except OperationError as error:
            self._log.error("{name}: {error}", name=name, error=error)

    # How it is done.

    async def _reload(self, tell: Tell) -> str:
        master = self._master
        deployment, before = master.deployment, master.chosen
        wanted = master.choose_anew()
        chosen = _as_far_as_can_be(before, wanted)
        master.distribution.check(chosen.settings)
        release = self._release(chosen)
        tell(Step(f"generation {release.number} in {release.generation.folder}"))
        with_core = await deployment.reload(release, tell)
        master.sockets.forget_caches(release.number)
        master.adopt_settings(chosen)
        workers = chosen.settings.workers
        if workers not in (before.settings.workers, "auto"):
            await deployment.scale(int(workers), tell)
        master.distribution.settings_changed(before.settings, chosen.settings)
        size = len(deployment.pool.slots)
        text = f"generation {release.number} serves in {size} workers"
        if not with_core:
            text += (
                "; the core runs in the master and keeps its code: an upgrade"
                " (clusterctl upgrade, or SIGUSR2) replaces both"
            )
        return text + _not_applied(before, wanted)

    def _release(self, chosen: Chosen) -> Release:
        master = self._master
        number, self._next_generation = self._next_generation, self._next_generation + 1
        generation = master.surroundings.take(number, chosen.settings)
        return make_release(generation, master.sockets, master.distribution.supplies)

    async def _scale(self, workers: int, tell: Tell) -> str:
        await self._master.deployment.scale(workers, tell)
        return f"{workers} workers"

    async def _dispatch(self, wanted: Dispatch, tell: Tell) -> str:
        key = f" by {wanted.sticky}" if wanted.sticky else ""
        tell(Step(f"dispatch {wanted.policy}{key}"))
        return self._master.distribution.set_policy(wanted)

    async def _restart(self, slot: int, tell: Tell) -> str:
        await self._master.deployment.restart(slot, tell)
        return f"worker {slot} is replaced"

    async def _drain(self, slot: int, tell: Tell) -> str:
        await self._master.deployment.empty(slot, tell)
        return f"slot {slot} is empty; restart fills it again"

    def _check(self, slot: int) -> None:
        slots = self._master.deployment.pool.slots
        if slot not in slots:
            known = ", ".join(map(str, sorted(slots)))
            raise UnknownSlotError(f"there is no slot {slot}; there are {known}")

    def _begin(self, name: str, work: Work) -> Deferred[Verdict]:
        """
        Do something, unless something else is being done.

        :raise BusyError: if something is.
        """
        why = self._cannot_begin(name)
        if why:
            work.close()
            raise BusyError(f"cannot {name}: {why}")
        before, self.under_way = self._work, name
        self._master.changed()
        self._work = Deferred()
        verdict: Deferred[Verdict] = Deferred()
        self._doing = Deferred.fromCoroutine(self._do(name, work, before))
        self._doing.chainDeferred(verdict)
        return verdict

    def _cannot_begin(self, name: str) -> str:
        phase = self._master.phase
        if phase != "running":
            return f"the cluster is {phase}"
        # Nobody has asked for a recycling, so nobody is refused for its sake.
        if self.under_way is None or (self.under_way == _RECYCLE and name != _RECYCLE):
            return ""
        return f"a {self.under_way} is under way"

    async def _do(
        self, name: str, work: Work, before: Deferred[None] | None
    ) -> Verdict:
        """Do something when what comes before it has ended, and judge it."""
        ended = self._work
        try:
            if before is not None:
                await before
            verdict = Verdict(True, await work)
        except TrialError as error:
            verdict = Verdict(False, str(error), error.traceback)
        except ClusterError as error:
            verdict = Verdict(False, str(error))
        except CancelledError:
            verdict = Verdict(False, "given up: the cluster is stopping")
        except Exception as error:  # noqa: BLE001 - it is told, and logged
            self._log.failure("an operation failed")
            verdict = Verdict(False, f"{type(error).__name__}: {error}", format_exc())
        finally:
            work.close()
            if self._work is ended:
                self.under_way = self._work = None
                self._master.changed()
            if ended is not None:
                ended.callback(None)
        self._note_verdict(verdict, name)
        return verdict

    def _noting(self, tell: Tell) -> Tell:
        """Have each step in the log as well."""

        def both(step: Step) -> None:
            self._note(step)
            tell(step)

        return both

    def _note(self, step: Step) -> None:
        where = "" if step.slot is None else f"worker {step.slot}: "
        self._log.info("{where}{text}", where=where, text=step.text)

    def _note_verdict(self, verdict: Verdict, name: str) -> None:
        if verdict.ok:
            self._log.info("{name} done: {text}", name=name, text=verdict.text)
            return
        if verdict.traceback:
            self._log.error("{traceback}", traceback=verdict.traceback.rstrip())
        self._log.error("{name} failed: {text}", name=name, text=verdict.text)


def _core(remote: bool, ready: bool) -> str:
    if remote:
        return "remote"
    return "ready" if ready else "not ready"


def _as_far_as_can_be(before: Chosen, after: Chosen) -> Chosen:
    """Let a reload change what it can, and leave the rest as the master has it."""
    kept = {name: getattr(before.settings, name) for name in _FIXED}
    origins = {name: before.origins[name] for name in _FIXED}
    return Chosen(replace(after.settings, **kept), {**after.origins, **origins})


def _not_applied(before: Chosen, after: Chosen) -> str:
    """Name the settings that have other values, which only an upgrade brings."""
    changed = [
        f"--{setting.flag}"
        for setting in SETTINGS
        if setting.name in _FIXED
        and getattr(before.settings, setting.name)
        != getattr(after.settings, setting.name)
    ]
    if not changed:
        return ""
    return f"; not applied before an upgrade: {', '.join(changed)}"
