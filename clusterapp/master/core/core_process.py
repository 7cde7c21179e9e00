"""The core as its master sees it: in the master, in a child, or elsewhere."""

import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed

from clusterapp.errors import ClusterError, NeverReadyError
from clusterapp.lifecycle import State
from clusterapp.master.rollout.canary import Trial, TrialError
from clusterapp.master.rollout.release import Release
from clusterapp.master.workers.child_slot import ChildSlot, Watcher
from clusterapp.master.workers.retiring import RetiringWorkers

#: The slot number of a core, which fills no worker's slot.
CORE_SLOT = -1


class CoreWatcher(Watcher, Protocol):
    """Who hears of a core."""

    def core_ready(self, ready: bool, *, back: bool = False) -> None:
        """
        Hear that the core takes requests from now on, or does not.

        :param back: whether one that does not is being replaced.
        """

    def fatal_error(self, error: ClusterError) -> None:
        """Hear that the core never served, and will not."""


class Core(Protocol):
    """The core of a cluster."""

    @property
    def slot(self) -> ChildSlot | None:
        """The slot of its process; None if it has none of its own."""

    @property
    def leaving(self) -> Sequence[ChildSlot]:
        """Processes that it had, and that are being retired."""

    def stacks(self) -> Deferred[str] | None:
        """
        Get the Python stacks and the requests under way of its process.

        :return: fires with a text; None if that process is none of this master's, or
            is not there.
        """

    def start(self) -> None:
        """Start it; the watcher hears when it is ready."""

    def application_imported(self, *, has_core: bool) -> None:
        """Called for each worker that has imported the application."""

    async def replace(self, release: Release) -> bool:
        """
        Run it in another release, if that can be done.

        :return: whether it was done.
        :raise TrialError: if it was not, because the release is no good; the core
            runs as before.
        """

    async def stop(self) -> None:
        """Finish what it has and stop it."""

    def drop(self) -> None:
        """End its process at once, if it has one of its own."""


class RemoteCore:
    """A core on another machine: nothing of it is this master's to run."""

    def __init__(self, watcher: CoreWatcher) -> None:
        self._watcher = watcher

    def start(self) -> None:
        """Let the workers try: each sees for itself whether it is there."""
        self._watcher.core_ready(True)

    @property
    def slot(self) -> None:
        """No process of this master's."""

    @property
    def leaving(self) -> Sequence[ChildSlot]:
        """No process of this master's."""
        return ()

    def stacks(self) -> None:
        """Say that there is nothing to be asked."""

    def application_imported(self, *, has_core: bool) -> None:
        """Leave it alone."""

    async def replace(self, release: Release) -> bool:  # noqa: ARG002
        """Leave it alone."""
        return True

    async def stop(self) -> None:
        """Leave it alone."""

    def drop(self) -> None:
        """Leave it alone."""


class IsolatedCore:
    """A core in a supervised child of its own; there is only ever one that serves."""

    def __init__(self, reactor: Any, release: Release, watcher: CoreWatcher) -> None:
        self._reactor = reactor
        self._release = release
        self._watcher = watcher
        self._ever_ready = False
        self._being_replaced = False
        self._leaving = RetiringWorkers()
        self._slot = self._make(release)

    @property
    def slot(self) -> ChildSlot:
        """The slot of the child that serves, or is to."""
        return self._slot

    @property
    def leaving(self) -> Sequence[ChildSlot]:
        """Children that are being retired."""
        return tuple(self._leaving)

    def stacks(self) -> Deferred[str] | None:
        """Ask the child."""
        return None if self._slot.pid is None else self._slot.stacks()

    def start(self) -> None:
        """Start the child."""
        self._slot.start()

    def application_imported(self, *, has_core: bool) -> None:
        """Do nothing: the child imports the application by itself."""

    async def replace(self, release: Release) -> bool:
        """Load the other release beside this one, and let it take over."""
        trial = Trial(self._make(release, on_trial=True), self)
        try:
            await trial.load()
            await self._give_way(trial)
        except BaseException:
            self._leaving.let_go(trial.slot, hand_over=False)
            raise
        self._release = release
        return True

    async def _give_way(self, trial: Trial) -> None:
        self._being_replaced = True
        self._watcher.core_ready(False, back=True)
        before, self._slot = self._slot, trial.slot
        try:
            await self._leaving.let_go(before, hand_over=False)
            await trial.take_place()
        except TrialError:
            self._slot = self._make(self._release)
            self._slot.start()
            raise
        finally:
            self._being_replaced = False

    async def stop(self) -> None:
        """Empty the slot; return when the child is gone."""
        self._leaving.let_go(self._slot, hand_over=False)
        await self._leaving.all_gone()

    def drop(self) -> None:
        """End the child at once."""
        for slot in {self._slot, *self._leaving}:
            slot.drop()

    def entered(self, slot: ChildSlot, state: State) -> None:
        """Hear of a child's state; the core is ready while its child is running."""
        self._leaving.check(slot)
        if slot is not self._slot:
            return
        self._ever_ready = self._ever_ready or state == "running"
        ready = slot.accepts
        self._watcher.core_ready(ready, back=self._being_replaced and not ready)
        if state == "fatal" and not self._ever_ready:
            self._watcher.fatal_error(NeverReadyError("the core never became ready"))

    def imported(self, *, has_core: bool) -> None:
        """Do nothing: only workers tell."""

    def loaded(self, slot: ChildSlot) -> None:
        """Hear that a child waits to be let go on: whoever tries it hears it, too."""

    def hand_over(
        self,
        slot: ChildSlot,  # noqa: ARG002
        connection: socket.socket,
        door: str,  # noqa: ARG002
    ) -> Deferred[bool]:
        """Take nothing: a core's connections are its workers'."""
        connection.close()
        return succeed(False)

    def failed(
        self, slot: ChildSlot, *, loading: bool, reason: str, traceback: str
    ) -> None:
        """Hear why the child cannot start, and pass it on."""
        self._watcher.failed(slot, loading=loading, reason=reason, traceback=traceback)

    def _make(self, release: Release, *, on_trial: bool = False) -> ChildSlot:
        bootstrap = replace(release.core.bootstrap, role="core", slot=CORE_SLOT)
        plan = replace(release.core, bootstrap=bootstrap)
        return ChildSlot(self._reactor, plan, release.patience, self, on_trial=on_trial)
