"""The cluster as an ordinary Twisted service: its master."""

import json
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from clusterapp import __version__
from clusterapp.channel.bootstrap import DEMO
from clusterapp.errors import (
    ApplicationLoadError,
    ClusterError,
    OperationError,
)
from clusterapp.master.cluster_status import Phase, text_of
from clusterapp.master.distribution.agent_check import AgentCheck
from clusterapp.master.distribution.distribution import Distribution
from clusterapp.master.master_sockets import Sockets
from clusterapp.master.operator_actions import MasterOperations
from clusterapp.master.reactors import check_process, check_signals
from clusterapp.master.resource_usage import Monitor
from clusterapp.master.rollout.deployment import Deployment
from clusterapp.master.rollout.generation import Surroundings
from clusterapp.master.rollout.release import make_release
from clusterapp.master.state_folder_check import StateCheck
from clusterapp.master.systemd_notify import ServiceStatus
from clusterapp.master.upgrade.upgrade import Succession, Upgrading
from clusterapp.master.workers.boot_failures import BootFailures
from clusterapp.master.workers.child_slot import ChildSlot
from clusterapp.master.workers.recycling import Recycling
from clusterapp.master.workers.worker_count import check_size
from clusterapp.operations import Tell
from clusterapp.settings.model import OPTIONS, Settings
from clusterapp.settings.resolution import ResolvedSettings
from clusterapp.web.hosting import check_tls
from clusterapp.web.trusted_proxies import EVERYONE


class ClusterService(Service):
    """
    A master: it owns the sockets and the children, and hosts the core.

    As a child of any Twisted service it starts, serves and stops with its parent;
    signals and logging are its parent's business.

    :ivar operations: what can be asked of it while it runs.
    """

    name = "clusterapp"
    _log = Logger()

    def __init__(  # noqa: PLR0913 - one for each thing that a program may give it
        self,
        settings: Settings,
        *,
        reactor: Any = None,
        on_failure: Callable[[ClusterError], None] | None = None,
        origins: Mapping[str, str] | None = None,
        choose: Callable[[], ResolvedSettings] | None = None,
        stop: Callable[[], None] | None = None,
        upgrading: Upgrading | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """
        Make the service; it binds nothing and starts nothing yet.

        :param settings: what the operator chose.
        :param reactor: the program's reactor; None for the installed one.
        :param on_failure: called once if the cluster cannot go on after its start;
            it has then stopped itself.
        :param origins: where each setting came from.
        :param choose: reads the settings again, for a reload; it raises a
            `SettingsError` if something is wrong with them. None if they stay.
        :param stop: stops the program, and with it this service, when an operator
            asks for that; None to stop nothing but the service.
        :param upgrading: what it takes to be upgraded; None if it cannot be.
        :param environ: the environment that every generation begins with; None for
            that of the moment when the service is first started.
        """
        in_code = {option.name: "the program" for option in OPTIONS}
        self.chosen = ResolvedSettings(settings, origins or in_code)
        #: Where the program was started: twistd goes to its --rundir before that.
        self.surroundings = Surroundings(environ)
        self._environ = environ
        self._ever_started = False
        inheritance = None if upgrading is None else upgrading.inheritance
        self.sockets = Sockets(settings, inheritance)
        self.operations = MasterOperations(self)
        self.monitor = Monitor(
            lambda: self._deployment.pids() if self._deployment else ()
        )
        self.reactor = reactor
        self._on_failure = on_failure
        self._choose = choose
        self._stop_program = stop
        self._succession = Succession(self, upgrading)
        self._deployment: Deployment | None = None
        self._distribution: Distribution | None = None
        self._recycling: Recycling | None = None
        self._watchers: list[Callable[[], None]] = []
        self._boot_failures = BootFailures()
        self._stopped: Deferred[None] | None = None
        self._delay: Deferred[None] | None = None
        self._ended: list[Deferred[None]] = []
        self._started_at = 0.0
        self.watch(AgentCheck(self, self._succession).changed)

    @property
    def settings(self) -> Settings:
        """The settings that hold."""
        return self.chosen.settings

    @property
    def addresses(self) -> list[str]:
        """Where clients find the cluster, as URLs, once its sockets are bound."""
        return self.sockets.addresses

    def privilegedStartService(self) -> None:
        """
        Bind the sockets, while the program may still bind any.

        :raise ListenError: if one cannot be had.
        :raise SettingsError: if there are to be too many workers.
        """
        super().privilegedStartService()
        check_size(self.settings)
        self.sockets.bind()

    def startService(self) -> None:
        """
        Start the core and the workers.

        :raise ClusterError: if that cannot be done; nothing is left behind then.
        """
        if self.reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415 - it is chosen late

            self.reactor = reactor
        super().startService()
        try:
            check_process(self.reactor)
            check_size(self.settings)
            check_tls(self.reactor, self.settings)
            self.sockets.bind()
            self.sockets.open_state()
            self._start()
        except BaseException:
            super().stopService()
            self._deployment = None
            self._end_distribution()
            self.sockets.close()
            raise
        self.reactor.callWhenRunning(check_signals, self.fatal_error)

    def stopService(self) -> Deferred[None]:
        """Stop gracefully; fires when the last process is gone."""
        super().stopService()
        if self._stopped is None:
            # Before it is begun: whoever is told of it may ask how far it is.
            self._stopped = Deferred()
            Deferred.fromCoroutine(self._stop()).chainDeferred(self._stopped)
        fired: Deferred[None] = Deferred()
        self._stopped.chainDeferred(fired)
        return fired

    def drop_children(self) -> None:
        """End all children at once; what they were doing is lost."""
        if self._delay is not None:
            self._delay.cancel()
        if self._distribution is not None:
            self._distribution.stop()
        if self._deployment is not None:
            self._deployment.drop()

    def reopen_logs(self) -> None:
        """Have the workers open the file of the access log anew: it was renamed."""
        if self._deployment is not None:
            self._deployment.pool.reopen_logs()

    def standing(self) -> ServiceStatus:
        """Tell how the cluster stands, for systemd."""
        if self._deployment is None:
            return ServiceStatus("stopped", ready=False, operation=None, text="stopped")
        operations = self.operations
        return ServiceStatus(
            self.phase,
            ready=operations.health().ready,
            operation=operations.under_way,
            text=text_of(self._deployment, self.phase, operations.under_way),
        )

    def watch(self, changed: Callable[[], None]) -> None:
        """
        Be told whenever anything is in another state.

        :param changed: called then; `standing` and `operations` tell what there is
            to know.
        """
        self._watchers.append(changed)

    # For the operations: this is their `Master`.

    @property
    def phase(self) -> Phase:
        """Where the cluster is between its start and its end."""
        if self._stopped is not None:
            return "stopping"
        return "running" if self._ever_ready else "starting"

    @property
    def deployment(self) -> Deployment:
        """
        What it runs.

        :raise OperationError: if it does not run.
        """
        if self._deployment is None:
            raise OperationError("the cluster does not run")
        return self._deployment

    @property
    def distribution(self) -> Distribution:
        """
        Who gets which connections.

        :raise OperationError: if it does not run.
        """
        if self._distribution is None:
            raise OperationError("the cluster does not run")
        return self._distribution

    def identity(self) -> Mapping[str, Any]:
        """Tell its name, its pid, its version, and for how long it has run."""
        return {
            "name": self.settings.app or DEMO,
            "pid": os.getpid(),
            "version": __version__,
            "uptime": self.reactor.seconds() - self._started_at,
        }

    def choose_anew(self) -> ResolvedSettings:
        """
        Read the settings again.

        :raise SettingsError: if something is wrong with them.
        """
        chosen = self.chosen if self._choose is None else self._choose()
        check_size(chosen.settings)
        check_tls(self.reactor, chosen.settings)
        return chosen

    def adopt_settings(self, chosen: ResolvedSettings) -> None:
        """Let other settings hold from now on."""
        self.chosen = chosen

    def changed(self) -> None:
        """Tell the workers and the watchers what has changed."""
        if self._deployment is not None and not self._succession.is_followed:
            self._succession.check(self._deployment)
            self.distribution.changed()
            health = self.operations.health()
            detail = json.dumps(health.detail)
            self._deployment.pool.cluster_health(ready=health.ready, detail=detail)
        for changed in self._watchers:
            changed()
        self.operations.changed()  # last: it may begin something, which changes more

    def take_over(self, tell: Tell) -> Coroutine[Any, Any, str]:
        """
        Start a new master that takes everything over.

        :raise OperationError: if this master cannot be followed by another.
        """
        return self._succession.begin(tell)

    def end(self, *, quick: bool) -> Deferred[None]:
        """Stop, with the program; fires when the last child is gone."""
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        if self._stop_program is None:
            self.stopService()
        else:
            self._stop_program()
        if quick:
            self.drop_children()
        return ended

    def failed(
        self, slot: ChildSlot, *, loading: bool, reason: str, traceback: str
    ) -> None:
        """Hear why a child cannot start; a traceback is logged once, not by each."""
        if self._stopped is not None:
            return  # the first one has said it, and all of them are let go
        self._boot_failures.log(slot.label, reason, traceback)
        if loading and not self.deployment.pool.ever_ready:
            app = self.settings.app or DEMO
            self.fatal_error(ApplicationLoadError(app, reason, traceback))

    def fatal_error(self, error: ClusterError) -> None:
        """Hear that the cluster cannot go on: say so and stop."""
        if self._stopped is not None:
            return
        self._log.critical("{error}", error=error)
        self._succession.unfit(error)
        stopped = self.stopService()
        if not self._ever_ready:
            self.drop_children()  # nobody is served yet, so nothing is to be finished
        stopped.addErrback(lambda why: self._log.failure("while stopping", failure=why))
        if self._on_failure is not None:
            tell = self._on_failure
            stopped.addCallback(lambda _: tell(error))

    # The steps of a start and of a stop.

    def _start(self) -> None:
        self._stopped = None
        self._started_at = self.reactor.seconds()
        self._boot_failures.forget()
        if not self._ever_started:  # else an application may have changed what it is in
            self.surroundings, self._ever_started = Surroundings(self._environ), True
        kept = self._succession.kept
        generation = self.surroundings.take(kept.generation, self.settings)
        size = self.operations.keep(kept)
        distribution = self._distribution = Distribution(
            self.reactor,
            self.sockets,
            self.settings,
            self._succession.secret,
            size,
            kept,
        )
        if self.settings.working_folder is not None:
            sys.path.insert(0, generation.folder)  # the core may be in the master
        release = make_release(generation, self.sockets, distribution.supplies)
        self._deployment = Deployment(
            self.reactor, release, self, distribution.tell_news
        )
        distribution.serve(self._deployment.pool)
        self._succession.connect()
        if EVERYONE in self.settings.trusted_proxies:
            self._log.warn("trusted_proxies = *: anyone may claim any client's address")
        for address in self.addresses:
            self._log.info("listening at {address}", address=address)
        self.monitor.start(self.reactor, StateCheck(self.sockets, self.changed).look)
        self._deployment.start_core()
        if self._stopped is None:  # else a start hook of the core failed at once
            self._deployment.start_workers(size, kept.empty)
            self._recycling = Recycling(self.reactor, self.operations, self._deployment)
            self._recycling.startService()

    async def _stop(self) -> None:
        self._log.info("stopping")
        self.operations.give_up()
        if self._recycling is not None:
            self._recycling.stopService()
            self._recycling = None
        self.changed()
        deployment = self._deployment
        if deployment is not None:
            deployment.expect_stop()
        try:
            if deployment is not None:
                await self._let_balancers_notice()
                await self.distribution.finish()
                await deployment.stop()
        finally:
            self._deployment = None
            self._end_distribution()
            self.sockets.close()
        self._log.info("stopped")
        self.changed()
        ended, self._ended = self._ended, []
        for each in ended:
            each.callback(None)

    def _end_distribution(self) -> None:
        self.monitor.stop()
        if self._distribution is not None:
            self._distribution.close()
            self._distribution = None

    async def _let_balancers_notice(self) -> None:
        """Serve on for a while, as a cluster that says it is not ready."""
        seconds = self.settings.drain_delay
        if not seconds or not self._ever_ready or self._succession.is_followed:
            return
        self._log.info("serving on for {seconds:g} s, not ready", seconds=seconds)
        self._delay = deferLater(self.reactor, seconds)
        with suppress(CancelledError):  # it is in a hurry
            await self._delay

    @property
    def _ever_ready(self) -> bool:
        return self._deployment is not None and self._deployment.pool.ever_ready
