"""The core as its master sees it: in the master, in a child, or elsewhere."""

import socket
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.channel.inspection import requests_told
from clusterapp.errors import NeverReadyError
from clusterapp.lifecycle import State
from clusterapp.master.leaving import Leaving
from clusterapp.master.release import Release
from clusterapp.master.slot import ChildSlot, Watcher
from clusterapp.master.trial import Trial, TrialError
from clusterapp.settings.model import Settings
from clusterapp.web.cluster import Membership, core_agent, core_client
from clusterapp.web.hosting import Host, Site, core_host
from clusterapp.web.loading import Loaded, load

#: The slot number of a core, which fills no worker's slot.
CORE_SLOT = -1


class CoreWatcher(Watcher, Protocol):
    """Who hears of a core."""

    def core_ready(self, ready: bool, *, back: bool = False) -> None:
        """
        Hear that the core takes requests from now on, or does not.

        :param back: whether one that does not is being replaced.
        """

    def hopeless(self, error: NeverReadyError) -> None:
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
        self._leaving = Leaving()
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
        ready = state == "running"
        self._watcher.core_ready(ready, back=self._being_replaced and not ready)
        if state == "fatal" and not self._ever_ready:
            self._watcher.hopeless(NeverReadyError("the core never became ready"))

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


class MasterCore:
    """The core in the master itself, on the master's own reactor."""

    _log = Logger()

    def __init__(self, reactor: Any, release: Release, watcher: CoreWatcher) -> None:
        """
        Load the application; nothing is served yet.

        :raise ApplicationLoadError: if it cannot be loaded.
        """
        settings, plan = release.generation.settings, release.core
        self._reactor = reactor
        self._patience = settings.graceful_timeout
        self._watcher = watcher
        loaded = load(settings.app, settings.core_app, reactor)
        loaded.set_up_templates(reload=settings.reload, cache=plan.bootstrap.cache)
        self._agent = core_agent(reactor, settings, plan.bootstrap.core_socket)
        client = core_client(self._agent)
        self.generation = plan.bootstrap.generation
        loaded.bind(Membership("core", CORE_SLOT, self.generation, client))
        self._has_routes = loaded.core_resource is not None
        self._host = _host(reactor, settings, loaded, release.core_sockets)
        self._starting: Deferred[None] | None = None
        self._draining: Deferred[None] | None = None
        self._serving = False
        self._started_at: float | None = None

    @property
    def slot(self) -> None:
        """No process of its own."""

    @property
    def leaving(self) -> Sequence[ChildSlot]:
        """No process of its own."""
        return ()

    @property
    def site(self) -> Site:
        """What it serves."""
        return self._host.site

    @property
    def state(self) -> State:
        """Where it is between its start and its end, as if it were a process."""
        if self._draining is not None:
            return "stopped" if self._draining.called else "draining"
        if self._serving:
            return "running"
        return "stopped" if self._starting is None else "starting"

    @property
    def uptime(self) -> float | None:
        """How long ago it was started, in seconds; None if it was not."""
        since = self._started_at
        return None if since is None else self._reactor.seconds() - since

    def stacks(self) -> Deferred[str]:
        """Tell the stacks of all threads of the master."""
        return succeed("\n".join((*requests_told(self.site.under_way), *_threads())))

    def start(self) -> None:
        """Run the core's start hooks, then serve."""
        self._started_at = self._reactor.seconds()
        starting = self._starting = Deferred.fromCoroutine(self._host.prepare())
        starting.addCallback(self._serve)
        starting.addErrback(self._cannot_start)

    async def replace(self, release: Release) -> bool:  # noqa: ARG002
        """Leave it: code that a process has loaded stays what it is."""
        return not self._has_routes

    async def stop(self) -> None:
        """Finish what the core has, for no longer than the graceful timeout."""
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()
        if self._serving:
            self._serving = False
            self._draining = Deferred.fromCoroutine(self._host.drain())
            self._draining.addTimeout(self._patience, self._reactor)
            self._draining.addErrback(self._not_drained)
            await self._draining
        else:
            self._host.refuse()
        await self._agent.close()

    def drop(self) -> None:
        """Wait no longer for what the core still has."""
        self._patience = 0.0
        if self._draining is not None:
            self._draining.cancel()

    def _serve(self, _: None) -> None:
        if self._starting is None:
            return  # it was stopped, and its start hooks paid no heed
        self._host.accept()
        self._serving = True
        self._starting = None
        self._watcher.core_ready(True)

    def _cannot_start(self, why: Failure) -> None:
        if self._starting is None:
            return  # it was stopped, which cancels the start hooks
        self._starting = None
        self._log.failure("the core cannot start", failure=why)
        self._watcher.hopeless(
            NeverReadyError(f"the core's start hooks failed: {why.getErrorMessage()}")
        )

    def _not_drained(self, why: Failure) -> None:
        self._log.failure("the core did not stop as it should", failure=why)


def _threads() -> Iterator[str]:
    """Tell the stacks of this process's threads, as faulthandler writes them."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented
        yield f"\nthread {names.get(ident, ident)} (most recent call last):"
        yield "".join(traceback.format_stack(frame)).rstrip()


def _host(
    reactor: Any,
    settings: Settings,
    loaded: Loaded,
    sockets: Mapping[str, socket.socket],
) -> Host:
    # The host closes what it serves on; the listeners stay the master's.
    own = {name: each.dup() for name, each in sockets.items()}
    try:
        return core_host(reactor, loaded, settings, own)
    except BaseException:
        for each in own.values():
            each.close()
        raise
