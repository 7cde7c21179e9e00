"""The core in the master itself, on the master's own reactor."""

import socket
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.channel.inspection import describe_requests
from clusterapp.errors import (
    ApplicationLoadError,
    ClusterError,
    NeverReadyError,
    StartHookError,
)
from clusterapp.guards import guarded
from clusterapp.lifecycle import State
from clusterapp.master.core.core_process import CORE_SLOT, CoreWatcher
from clusterapp.master.core.kept_signal_handlers import kept_signal_handlers
from clusterapp.master.core.no_asyncio import refuse_asyncio
from clusterapp.master.rollout.release import Release
from clusterapp.master.workers.child_slot import ChildSlot
from clusterapp.settings.model import Settings
from clusterapp.settings.stop_time import LAST_WORDS
from clusterapp.system.forks import clean_up_forks
from clusterapp.web.cluster_membership import Membership, core_agent, core_client
from clusterapp.web.hosting import DrainableSite, Host, core_host
from clusterapp.web.loading import LoadedApplication, load

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall


class MasterCore:
    """
    The core in the master itself, on the master's own reactor.

    The application is imported when the first worker has reported that it has a core,
    and not at all if it has none: its effects on its process stay in the workers then.
    """

    _log = Logger()

    def __init__(self, reactor: Any, release: Release, watcher: CoreWatcher) -> None:
        settings, spec = release.generation.settings, release.core
        self._reactor = reactor
        self._release = release
        self._watcher = watcher
        self._agent = core_agent(reactor, settings, spec.bootstrap.core_socket)
        self._has_core = False
        self._host: Host | None = None
        self._is_stopped = False
        self._starting: Deferred[None] | None = None
        self._draining: Deferred[None] | None = None
        # The timer after which the master no longer waits for the drain.
        self._given_up: IDelayedCall | None = None
        self._is_dropped = False
        self._serving = False
        self._started_at: float | None = None
        self.generation = spec.bootstrap.generation

    @property
    def slot(self) -> None:
        """Always None: this core has no process of its own."""

    @property
    def retiring(self) -> Sequence[ChildSlot]:
        """Always empty: this core has no process of its own."""
        return ()

    @property
    def site(self) -> DrainableSite | None:
        """The site that it serves; None until the application has been imported."""
        return None if self._host is None else self._host.site

    @property
    def state(self) -> State:
        """The state of the core, as if it were a process."""
        if self._draining is not None:
            return "stopped" if self._draining.called else "draining"
        if self._serving:
            return "running"
        return "stopped" if self._is_stopped else "starting"

    @property
    def uptime(self) -> float | None:
        """The seconds since its start; None if it was not started."""
        since = self._started_at
        return None if since is None else self._reactor.seconds() - since

    def stacks(self) -> Deferred[str]:
        """Return the requests under way and the stacks of all threads of the master."""
        under_way = () if self.site is None else describe_requests(self.site.under_way)
        return succeed("\n".join((*under_way, *_threads())))

    def start(self) -> None:
        """Record the time of the start; a worker must import the application first."""
        self._started_at = self._reactor.seconds()

    def application_imported(self, *, has_core: bool) -> None:
        """Import the application if it has a core; run the start hooks, then serve."""
        # A later generation may add a core, which only an upgrade can host.
        self._has_core = self._has_core or has_core
        if self._host is not None or self._is_stopped:
            return
        try:
            host = self._make_host(has_core=has_core)
        except ClusterError as error:
            self._is_stopped = True
            self._cannot_load(error)
            return
        self._host = host
        starting = self._starting = Deferred.fromCoroutine(host.prepare())
        starting.addCallback(self._serve, host)
        starting.addErrback(self._cannot_start)

    async def replace(self, release: Release) -> bool:  # noqa: ARG002
        """Do nothing: a process cannot replace code that it has loaded."""
        return not self._has_core

    async def stop(self, within: float) -> None:
        """
        Drain the core.

        :param within: the seconds after which what is not finished is aborted; the stop
            hooks have a second more.
        """
        self._is_stopped = True
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()
        if self._serving and self._host is not None:
            self._serving = False
            await self._drain(self._host, 0.0 if self._is_dropped else within)
        elif self._host is not None:
            self._host.refuse()
        await self._agent.close()

    def drop(self) -> None:
        """End a drain under way at once; the stop hooks have a second."""
        self._is_dropped = True
        if self._draining is not None:
            self._draining.cancel()
        if self._given_up is not None:
            self._given_up.reset(LAST_WORDS)

    def _drain(self, host: Host, within: float) -> Deferred[None]:
        """Drain; fires when that is done, or when the time for it is over."""
        ended: Deferred[None] = Deferred()
        draining = self._draining = Deferred.fromCoroutine(host.drain())
        draining.addTimeout(within, self._reactor)
        draining.addErrback(self._not_drained)

        # Stop hooks run after a cancellation, too, and may never be done.
        @guarded("give up the core's stop hooks")
        def give_up() -> None:
            self._given_up = None
            self._log.error("the core's stop hooks are not done in time: given up")
            ended.callback(None)

        def drained(_: None) -> None:
            given_up, self._given_up = self._given_up, None
            if given_up is not None:
                given_up.cancel()
                ended.callback(None)

        self._given_up = self._reactor.callLater(within + LAST_WORDS, give_up)
        draining.addCallback(drained)
        return ended

    def _make_host(self, *, has_core: bool) -> Host:
        settings = self._release.generation.settings
        loaded = self._load(settings) if has_core else None
        return _host(self._reactor, settings, loaded, self._release.core_sockets)

    def _load(self, settings: Settings) -> LoadedApplication:
        clean_up_forks()
        refuse_asyncio(self._reactor)
        bootstrap = self._release.core.bootstrap
        with kept_signal_handlers():
            loaded = load(settings.app, settings.core_app, self._reactor)
        loaded.set_up_templates(reload=settings.reload, cache=bootstrap.cache)
        client = core_client(self._agent)
        loaded.bind(Membership("core", CORE_SLOT, bootstrap.generation, client))
        return loaded

    def _serve(self, _: None, host: Host) -> None:
        if self._starting is None:
            return  # it was stopped, but its start hooks ignored the cancellation
        host.accept()
        self._serving = True
        self._starting = None
        self._watcher.core_ready(True)

    def _cannot_load(self, error: ClusterError) -> None:
        if isinstance(error, ApplicationLoadError) and error.traceback:
            self._log.error("{traceback}", traceback=error.traceback.rstrip())
        self._watcher.fatal_error(error)

    def _cannot_start(self, why: Failure) -> None:
        if self._starting is None:
            return  # it was stopped, which cancels the start hooks
        self._starting = None
        reason = why.getErrorMessage()
        if isinstance(why.value, StartHookError) and why.value.__cause__ is not None:
            why = Failure(why.value.__cause__)  # that of the application alone
        self._log.failure("the core cannot start", failure=why)
        self._watcher.fatal_error(NeverReadyError(f"the core cannot start: {reason}"))

    def _not_drained(self, why: Failure) -> None:
        self._log.failure("the core did not stop as it should", failure=why)


def _threads() -> Iterator[str]:
    """Yield the stacks of this process's threads, in the format of faulthandler."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented
        yield f"\nthread {names.get(ident, ident)} (most recent call last):"
        yield "".join(traceback.format_stack(frame)).rstrip()


def _host(
    reactor: Any,
    settings: Settings,
    loaded: LoadedApplication | None,
    sockets: Mapping[str, socket.socket],
) -> Host:
    # The host closes its sockets; the listeners themselves stay open in the master.
    own = {name: each.dup() for name, each in sockets.items()}
    try:
        return core_host(reactor, loaded, settings, own)
    except BaseException:
        for each in own.values():
            each.close()
        raise
