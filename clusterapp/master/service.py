"""The master: a cluster as an ordinary Twisted service."""

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
from clusterapp.master.reactor_check import check_process, check_signals
from clusterapp.master.resource_usage import Monitor
from clusterapp.master.rollout.deployment import Deployment
from clusterapp.master.rollout.generation import LaunchContext
from clusterapp.master.rollout.release import make_release
from clusterapp.master.state_folder_check import StateCheck
from clusterapp.master.systemd_notify import ServiceStatus
from clusterapp.master.upgrade.upgrade import UpgradeRole, Upgrading
from clusterapp.master.workers.boot_failures import BootFailures
from clusterapp.master.workers.child_slot import ChildSlot
from clusterapp.master.workers.recycling import Recycling
from clusterapp.master.workers.worker_count import check_size
from clusterapp.operations import Tell
from clusterapp.settings.model import OPTIONS, Settings
from clusterapp.settings.resolution import ResolvedSettings
from clusterapp.settings.stop_time import LEAST
from clusterapp.web.clients.trusted_proxies import EVERYONE
from clusterapp.web.hosting import check_tls


class ClusterService(Service):
    """
    A master: owns the sockets, supervises the children, and hosts the core.

    As a child of any Twisted service it starts, serves and stops with its parent;
    signals and logging are left to the program that embeds it.

    :ivar operations: the operations that can be requested while it runs.
    """

    name = "clusterapp"
    _log = Logger()

    def __init__(  # noqa: PLR0913 - one for each thing that a program may pass
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
        Create the service; nothing is bound or started yet.

        :param settings: the operator's settings.
        :param reactor: the program's reactor; None for the installed one.
        :param on_failure: called once if the cluster cannot go on after its start; the
            service has stopped itself by then.
        :param origins: the source of each setting.
        :param choose: resolves the settings again for a reload; raises a
            `SettingsError` if they are invalid. None if they never change.
        :param stop: stops the program, and this service with it, when an operator
            requests a stop; None to stop only the service.
        :param upgrading: what an upgrade needs; None if the master cannot be upgraded.
        :param environ: the environment that every generation starts with; None for
            that at the time of the service's first start.
        """
        in_code = {option.name: "the program" for option in OPTIONS}
        self.chosen = ResolvedSettings(settings, origins or in_code)
        #: Replaced at the first start: twistd changes to its --rundir before that.
        self.launch_context = LaunchContext(environ)
        self._environ = environ
        self._ever_started = False
        inherited = None if upgrading is None else upgrading.inherited
        self.sockets = Sockets(settings, inherited)
        self.operations = MasterOperations(self)
        self.monitor = Monitor(
            lambda: self._deployment.pids() if self._deployment else ()
        )
        self.reactor = reactor
        self._on_failure = on_failure
        self._choose = choose
        self._stop_program = stop
        self._upgrade_role = UpgradeRole(self, upgrading)
        self._deployment: Deployment | None = None
        self._distribution: Distribution | None = None
        self._recycling: Recycling | None = None
        self._watchers: list[Callable[[], None]] = []
        self._boot_failures = BootFailures()
        self._stopped: Deferred[None] | None = None
        self._delay: Deferred[None] | None = None
        self._ended: list[Deferred[None]] = []
        self._started_at = self._stop_at = 0.0
        self.watch(AgentCheck(self, self._upgrade_role).changed)

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.chosen.settings

    @property
    def addresses(self) -> list[str]:
        """The URLs that clients connect to, once the sockets are bound."""
        return self.sockets.addresses

    def privilegedStartService(self) -> None:
        """
        Bind the sockets, while the process still has the privileges to bind any port.

        :raise ListenError: if a socket cannot be bound.
        :raise SettingsError: if the settings ask for too many workers.
        """
        super().privilegedStartService()
        check_size(self.settings)
        self.sockets.bind()

    def startService(self) -> None:
        """
        Start the core and the workers.

        :raise ClusterError: if they cannot be started; everything is closed again.
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
        """Stop gracefully; fires when the last process has exited."""
        super().stopService()
        if self._stopped is None:
            # Set before the stop begins: a notified watcher may query the phase.
            self._stopped = Deferred()
            Deferred.fromCoroutine(self._stop()).chainDeferred(self._stopped)
        fired: Deferred[None] = Deferred()
        self._stopped.chainDeferred(fired)
        return fired

    def drop_children(self) -> None:
        """Kill all children at once; their requests under way are lost."""
        self._stop_at = 0.0
        if self._delay is not None:
            self._delay.cancel()
        if self._distribution is not None:
            self._distribution.stop()
        if self._deployment is not None:
            self._deployment.drop()

    @property
    def exit_seconds(self) -> float:
        """The seconds that the program has to exit, once the cluster has stopped."""
        now: float = self.reactor.seconds()
        return max(LEAST, self._stop_at - now)

    def reopen_logs(self) -> None:
        """Send the workers the command to reopen the access log file."""
        if self._deployment is not None:
            self._deployment.pool.reopen_logs()

    def service_status(self) -> ServiceStatus:
        """Return the status of the cluster, for systemd."""
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
        Register a function to be called whenever any state has changed.

        :param changed: called then; `service_status` and `operations` return the new
            state.
        """
        self._watchers.append(changed)

    # The `OperatedMaster` and `LockedMaster` protocols of the operations.

    @property
    def phase(self) -> Phase:
        """The phase of the cluster's life: starting, running or stopping."""
        if self._stopped is not None:
            return "stopping"
        return "running" if self._ever_ready else "starting"

    @property
    def deployment(self) -> Deployment:
        """
        The core and the workers.

        :raise OperationError: if the cluster is not running.
        """
        if self._deployment is None:
            raise OperationError("the cluster does not run")
        return self._deployment

    @property
    def distribution(self) -> Distribution:
        """
        The distribution of connections to workers.

        :raise OperationError: if the cluster is not running.
        """
        if self._distribution is None:
            raise OperationError("the cluster does not run")
        return self._distribution

    def identity(self) -> Mapping[str, Any]:
        """Return the name, pid, version and uptime (in seconds) of the master."""
        return {
            "name": self.settings.app or DEMO,
            "pid": os.getpid(),
            "version": __version__,
            "uptime": self.reactor.seconds() - self._started_at,
        }

    def choose_anew(self) -> ResolvedSettings:
        """
        Resolve the settings again, without adopting them.

        :raise SettingsError: if they are invalid.
        """
        chosen = self.chosen if self._choose is None else self._choose()
        check_size(chosen.settings)
        check_tls(self.reactor, chosen.settings)
        return chosen

    def adopt_settings(self, chosen: ResolvedSettings) -> None:
        """Put other settings in force."""
        self.chosen = chosen

    def changed(self) -> None:
        """Called when any state has changed: notify the workers and the watchers."""
        if self._deployment is not None and not self._upgrade_role.is_superseded:
            self._upgrade_role.check(self._deployment)
            self.distribution.changed()
            health = self.operations.health()
            detail = json.dumps(health.detail)
            self._deployment.pool.cluster_health(ready=health.ready, detail=detail)
        for changed in self._watchers:
            changed()
        self.operations.changed()  # last: it may begin an operation, which changes more

    def take_over(self, tell: Tell) -> Coroutine[Any, Any, str]:
        """
        Start a new master that takes over sockets and connections from this one.

        :raise OperationError: if this master cannot start another.
        """
        return self._upgrade_role.begin(tell)

    def end(self, *, quick: bool) -> Deferred[None]:
        """Stop the service and the program; fires when the last child has exited."""
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
        """Called when a child cannot start; a traceback is logged once for all."""
        if self._stopped is not None:
            return  # the first failure was logged already, all children are stopping
        self._boot_failures.log(slot.label, reason, traceback)
        if loading and not self.deployment.pool.ever_ready:
            app = self.settings.app or DEMO
            self.fatal_error(ApplicationLoadError(app, reason, traceback))

    def fatal_error(self, error: ClusterError) -> None:
        """Called when the cluster cannot go on: log the error and stop."""
        if self._stopped is not None:
            return
        self._log.critical("{error}", error=error)
        self._upgrade_role.upgrade_failed(error)
        stopped = self.stopService()
        if not self._ever_ready:
            self.drop_children()  # no client was served yet: there is nothing to drain
        stopped.addErrback(lambda why: self._log.failure("while stopping", failure=why))
        if self._on_failure is not None:
            tell = self._on_failure
            stopped.addCallback(lambda _: tell(error))

    # The steps of starting and stopping.

    def _start(self) -> None:
        self._stopped = None
        self._started_at = self.reactor.seconds()
        self._boot_failures.forget()
        if not self._ever_started:  # else an application may have changed the process
            self.launch_context, self._ever_started = LaunchContext(self._environ), True
        operator_changes = self._upgrade_role.operator_changes
        generation = self.launch_context.take(
            operator_changes.generation, self.settings
        )
        size = self.operations.restore_changes(operator_changes)
        distribution = self._distribution = Distribution(
            self.reactor,
            self.sockets,
            self.settings,
            self._upgrade_role.secret,
            size,
            operator_changes,
        )
        if self.settings.working_folder is not None:
            sys.path.insert(0, generation.folder)  # the core may run in the master
        release = make_release(generation, self.sockets, distribution.child_resources)
        self._deployment = Deployment(
            self.reactor, release, self, distribution.send_updates
        )
        distribution.serve(self._deployment.pool)
        self._upgrade_role.connect()
        if EVERYONE in self.settings.trusted_proxies:
            self._log.warn("trusted_proxies = *: anyone may claim any client's address")
        for address in self.addresses:
            self._log.info("listening at {address}", address=address)
        self.monitor.start(self.reactor, StateCheck(self.sockets, self.changed).look)
        self._deployment.start_core()
        if self._stopped is None:  # else a start hook of the core has failed already
            self._deployment.start_workers(size, operator_changes.empty)
            self._recycling = Recycling(self.reactor, self.operations, self._deployment)
            self._recycling.startService()

    async def _stop(self) -> None:
        self._log.info("stopping")
        allowed = self.settings.drain_delay + self.settings.graceful_timeout
        self._stop_at = self.reactor.seconds() + allowed
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
                await deployment.stop(self._stop_at)
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
        """Keep serving for the drain delay, while health checks report not ready."""
        seconds = self.settings.drain_delay
        if not seconds or not self._ever_ready or self._upgrade_role.is_superseded:
            return
        self._log.info("serving on for {seconds:g} s, not ready", seconds=seconds)
        self._delay = deferLater(self.reactor, seconds)
        with suppress(CancelledError):  # by `drop_children`: a quick stop
            await self._delay

    @property
    def _ever_ready(self) -> bool:
        return self._deployment is not None and self._deployment.pool.ever_ready
