"""The cluster as an ordinary Twisted service: its master."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.errors import (
    AllFatalError,
    ApplicationLoadError,
    ClusterError,
    NeverReadyError,
    ReactorError,
)
from clusterapp.lifecycle import Patience, State
from clusterapp.master.access_log import place_access_log
from clusterapp.master.core import Core, IsolatedCore, MasterCore, RemoteCore
from clusterapp.master.pool import Pool
from clusterapp.master.reactors import check_reactor, check_signals
from clusterapp.master.slot import ChildSlot, Plan
from clusterapp.master.sockets import Sockets
from clusterapp.settings.model import Settings
from clusterapp.spawning.cpus import usable_cpus
from clusterapp.web.hosting import check_tls
from clusterapp.web.loading import DEMO

#: Seconds in which a child whose graceful timeout is over can leave by itself.
LAST_WORDS = 1.0


class ClusterService(Service):
    """
    A master: it owns the sockets and the children, and hosts the core.

    As a child of any Twisted service it starts, serves and stops with its parent;
    signals and logging are its parent's business.
    """

    name = "clusterapp"
    _log = Logger()

    def __init__(
        self,
        settings: Settings,
        *,
        reactor: Any = None,
        on_failure: Callable[[ClusterError], None] | None = None,
    ) -> None:
        """
        Make the service; it binds nothing and starts nothing yet.

        :param settings: what the operator chose.
        :param reactor: the program's reactor; None for the installed one.
        :param on_failure: called once if the cluster cannot go on after its start;
            it has then stopped itself.
        """
        self.settings = settings
        self._reactor = reactor
        self._on_failure = on_failure
        self._sockets = Sockets(settings)
        self._pool = Pool(self._all_fatal)
        self._core: Core | None = None
        self._tracebacks: set[str] = set()
        self._stopped: Deferred[None] | None = None

    @property
    def addresses(self) -> list[str]:
        """Where clients find the cluster, as URLs, once its sockets are bound."""
        return self._sockets.addresses

    def privilegedStartService(self) -> None:
        """
        Bind the sockets, while the program may still bind any.

        :raise ListenError: if one cannot be had.
        """
        super().privilegedStartService()
        self._sockets.bind()

    def startService(self) -> None:
        """
        Start the core and the workers.

        :raise ClusterError: if that cannot be done; nothing is left behind then.
        """
        if self._reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415 - it is chosen late

            self._reactor = reactor
        super().startService()
        try:
            check_reactor(self._reactor)
            check_tls(self._reactor, self.settings)
            self._sockets.bind()
            self._sockets.open_state()
            self._start()
        except BaseException:
            super().stopService()
            self._sockets.close()
            raise
        self._reactor.callWhenRunning(self._check_signals)

    def stopService(self) -> Deferred[None]:
        """Stop gracefully; fires when the last process is gone."""
        super().stopService()
        if self._stopped is None:
            self._stopped = Deferred.fromCoroutine(self._stop())
        fired: Deferred[None] = Deferred()
        self._stopped.chainDeferred(fired)
        return fired

    def drop_children(self) -> None:
        """End all children at once; what they were doing is lost."""
        self._pool.drop()
        if self._core is not None:
            self._core.drop()

    def reopen_logs(self) -> None:
        """Have the workers open the file of the access log anew: it was renamed."""
        self._pool.reopen_logs()

    # What the children and the core report.

    def entered(self, slot: ChildSlot, state: State) -> None:
        """Hear of a worker's state."""
        self._pool.entered(slot, state)

    def core_ready(self, ready: bool) -> None:
        """Hear whether the core takes requests, and tell the workers."""
        self._pool.core_ready(ready)

    def failed(
        self, slot: ChildSlot, *, loading: bool, reason: str, traceback: str
    ) -> None:
        """Hear why a child cannot start; a traceback is logged once, not by each."""
        if self._stopped is not None:
            return  # the first one has said it, and all of them are let go
        if traceback and traceback not in self._tracebacks:
            self._tracebacks.add(traceback)
            self._log.error("{traceback}", traceback=traceback.rstrip())
        self._log.error(
            "{label} cannot start: {reason}", label=slot.label, reason=reason
        )
        if loading and not self._pool.ever_ready:
            self.hopeless(ApplicationLoadError(self.settings.app or DEMO, reason))

    def hopeless(self, error: ClusterError) -> None:
        """Hear that the cluster cannot go on: say so and stop."""
        if self._stopped is not None:
            return
        self._log.critical("{error}", error=error)
        stopped = self.stopService()
        if not self._pool.ever_ready:
            self.drop_children()  # nobody is served yet, so nothing is to be finished
        stopped.addErrback(lambda why: self._log.failure("while stopping", failure=why))
        if self._on_failure is not None:
            tell = self._on_failure
            stopped.addCallback(lambda _: tell(error))

    def _all_fatal(self, ever_ready: bool) -> None:
        if ever_ready:
            self.hopeless(AllFatalError("every worker crashes when it is started"))
        else:
            self.hopeless(NeverReadyError("no worker ever became ready"))

    def _check_signals(self) -> None:
        try:
            check_signals()
        except ReactorError as error:
            self.hopeless(error)

    # The steps of a start and of a stop.

    def _start(self) -> None:
        self._stopped = None
        self._tracebacks.clear()
        self._pool = Pool(self._all_fatal)
        plan = self._make_plan()
        workers = place_access_log(plan, self.settings.access_log)
        settings = self.settings
        patience = Patience(
            boot=settings.boot_timeout, drain=settings.graceful_timeout + LAST_WORDS
        )
        self._core = self._make_core(plan, patience)
        slots = [self._worker_slot(workers, n, patience) for n in range(self._size())]
        for address in self.addresses:
            self._log.info("listening at {address}", address=address)
        self._core.start()
        if self._stopped is None:  # else a start hook of the core failed at once
            self._pool.start(slots)

    def _make_plan(self) -> Plan:
        """Say what children are to be; what is special to a slot is still missing."""
        bootstrap = Bootstrap(
            role="worker",
            slot=0,
            generation=1,
            settings=self.settings.as_mapping(),
            core_socket=self._sockets.core_path,
            cache=self._sockets.cache,
        )
        return Plan(bootstrap, self._sockets.public)

    def _make_core(self, plan: Plan, patience: Patience) -> Core:
        plan = replace(plan, sockets=self._sockets.core)
        match self.settings.core:
            case "master":
                return MasterCore(self._reactor, self.settings, plan, self)
            case "isolated":
                return IsolatedCore(self._reactor, plan, patience, self)
            case _:
                return RemoteCore(self)

    def _worker_slot(self, plan: Plan, number: int, patience: Patience) -> ChildSlot:
        bootstrap = replace(plan.bootstrap, slot=number)
        return ChildSlot(
            self._reactor, replace(plan, bootstrap=bootstrap), patience, self
        )

    def _size(self) -> int:
        wanted, cpus = self.settings.workers, usable_cpus()
        if wanted == "auto":
            self._log.info(
                "starting {size} workers: {why}", size=cpus.count, why=cpus.reason
            )
            return cpus.count
        self._log.info("starting {size} workers", size=wanted)
        if wanted > cpus.count:
            self._log.warn("{size} workers share {why}", size=wanted, why=cpus.reason)
        return wanted

    async def _stop(self) -> None:
        """Stop the workers first: what they still answer may need the core."""
        self._log.info("stopping")
        try:
            await self._pool.drain()
            if self._core is not None:
                await self._core.stop()
                self._core = None
        finally:
            self._sockets.close()
        self._log.info("stopped")
