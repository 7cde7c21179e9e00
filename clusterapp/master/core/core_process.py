"""The core from the master's side: in the master, in a child, or on another machine."""

import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from clusterapp.errors import ClusterError, NeverReadyError
from clusterapp.lifecycle import State
from clusterapp.master.rollout.canary import Canary, CanaryError
from clusterapp.master.rollout.release import Release
from clusterapp.master.workers.child_slot import ChildSlot, Watcher
from clusterapp.master.workers.retiring import RetiringWorkers

#: The slot number of a core, which is in no worker's slot.
CORE_SLOT = -1


class CoreWatcher(Watcher, Protocol):
    """Receives the events of a core."""

    def core_ready(self, ready: bool, *, back: bool = False) -> None:
        """
        Called when the core has become ready to serve requests, or is not any more.

        :param back: whether a core that is not ready is being replaced.
        """

    def fatal_error(self, error: ClusterError) -> None:
        """Called when the core was never ready, and can never be."""


class Core(Protocol):
    """The core of a cluster."""

    @property
    def slot(self) -> ChildSlot | None:
        """The slot of its process; None if it has no process of its own."""

    @property
    def retiring(self) -> Sequence[ChildSlot]:
        """Its former processes, which are being retired."""

    def stacks(self) -> Deferred[str] | None:
        """
        Return the Python stacks and the requests under way of its process.

        :return: fires with a text; None if this master has no such process.
        """

    def start(self) -> None:
        """Start the core; the watcher is notified when it is ready."""

    def application_imported(self, *, has_core: bool) -> None:
        """Called for each worker that has imported the application."""

    async def replace(self, release: Release) -> bool:
        """
        Run the core in another release, if this master can replace it.

        :return: False if a core in the master keeps its old code.
        :raise CanaryError: if the release fails; the core runs as before then.
        """

    async def stop(self, within: float) -> None:
        """
        Drain the core and stop it.

        :param within: the seconds after which what is not finished is aborted; a second
            later the core has ended.
        """

    def drop(self) -> None:
        """Kill its process at once, if it has one of its own."""


class RemoteCore:
    """A core on another machine, which this master does not control."""

    def __init__(self, watcher: CoreWatcher) -> None:
        self._watcher = watcher

    def start(self) -> None:
        """Report the core as ready: each worker finds out whether it is reachable."""
        self._watcher.core_ready(True)

    @property
    def slot(self) -> None:
        """Always None: this master has no process of the core."""

    @property
    def retiring(self) -> Sequence[ChildSlot]:
        """Always empty: this master has no process of the core."""
        return ()

    def stacks(self) -> None:
        """Return None: this master has no process to ask."""

    def application_imported(self, *, has_core: bool) -> None:
        """Do nothing: the core is another cluster's."""

    async def replace(self, release: Release) -> bool:  # noqa: ARG002
        """Do nothing: the core is another cluster's."""
        return True

    async def stop(self, within: float) -> None:
        """Do nothing: the core is another cluster's."""

    def drop(self) -> None:
        """Do nothing: the core is another cluster's."""


class IsolatedCore:
    """A core in a supervised child of its own; at most one serves at a time."""

    _log = Logger()

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
        """The slot of the present child, ready or not."""
        return self._slot

    @property
    def retiring(self) -> Sequence[ChildSlot]:
        """The children that are being retired."""
        return tuple(self._leaving)

    def stacks(self) -> Deferred[str] | None:
        """Return the child's stacks and requests; None if there is no child."""
        return None if self._slot.pid is None else self._slot.stacks()

    def start(self) -> None:
        """Start the child."""
        self._slot.start()

    def application_imported(self, *, has_core: bool) -> None:
        """Do nothing: the child imports the application by itself."""

    async def replace(self, release: Release) -> bool:
        """Load the release in a second child, then replace the present child by it."""
        canary = Canary(self._make(release, as_canary=True), self)
        try:
            await canary.load()
            await self._give_way(canary)
        except BaseException:
            self._leaving.let_go(canary.slot, hand_over=False)
            raise
        self._release = release
        return True

    async def _give_way(self, canary: Canary) -> None:
        self._being_replaced = True
        self._watcher.core_ready(False, back=True)
        before, self._slot = self._slot, canary.slot
        try:
            await self._leaving.let_go(before, hand_over=False)
            await canary.take_place()
        except CanaryError:
            self._slot = self._make(self._release)
            self._slot.start()
            raise
        finally:
            self._being_replaced = False

    async def stop(self, within: float) -> None:
        """Drain the child; return when all children have exited."""
        self._leaving.let_go(self._slot, hand_over=False, within=within)
        await self._leaving.all_gone()

    def drop(self) -> None:
        """Kill the children at once."""
        for slot in {self._slot, *self._leaving}:
            slot.drop()

    def entered(self, slot: ChildSlot, state: State) -> None:
        """Called when a child's state has changed: notify the watcher of readiness."""
        self._leaving.check(slot)
        if slot is not self._slot:
            return
        self._ever_ready = self._ever_ready or state == "running"
        ready = slot.accepts
        self._watcher.core_ready(ready, back=self._being_replaced and not ready)
        if state == "fatal" and not self._ever_ready:
            why = slot.exit_reason or "no reason was given"
            self._watcher.fatal_error(
                NeverReadyError(f"the core never became ready ({why})")
            )

    def terminating(self, slot: ChildSlot) -> None:
        """Called when a child drains because of SIGTERM: only one core may serve."""
        self._log.warn(
            "{label} (pid {pid}) has received SIGTERM: it drains, and is replaced then",
            label=slot.label,
            pid=slot.pid,
        )
        self.entered(slot, slot.state)

    def imported(self, *, has_core: bool) -> None:
        """Do nothing: only workers report that."""

    def loaded(self, slot: ChildSlot) -> None:
        """Do nothing: the trial that waits for this is called, too."""

    def hand_over(
        self,
        slot: ChildSlot,  # noqa: ARG002
        connection: socket.socket,
        listener: str,  # noqa: ARG002
    ) -> Deferred[bool]:
        """Close the connection: a core's connections come from workers only."""
        connection.close()
        return succeed(False)

    def failed(
        self, slot: ChildSlot, *, loading: bool, reason: str, traceback: str
    ) -> None:
        """Called when the child cannot start: notify the watcher."""
        self._watcher.failed(slot, loading=loading, reason=reason, traceback=traceback)

    def _make(self, release: Release, *, as_canary: bool = False) -> ChildSlot:
        bootstrap = replace(release.core.bootstrap, role="core", slot=CORE_SLOT)
        spec = replace(release.core, bootstrap=bootstrap)
        return ChildSlot(
            self._reactor, spec, release.timeouts, self, as_canary=as_canary
        )
