"""The program of a child process: loads and serves the application, then drains."""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.channel.bootstrap import CONTROL_FD, Bootstrap
from clusterapp.channel.ends import ChildEnd
from clusterapp.channel.inspection import UnderWay
from clusterapp.channel.protocol import Adopted
from clusterapp.channel.request_record import RequestRecord
from clusterapp.channel.stickiness import Stickiness
from clusterapp.channel.unanswered import report_unanswered
from clusterapp.errors import ApplicationLoadError, StartHookError
from clusterapp.guards import guarded
from clusterapp.http.application.current_request import request_under_way
from clusterapp.logs.child import begin_child_log
from clusterapp.settings.model import Settings
from clusterapp.system.clock import make_monotonic
from clusterapp.tracebacks import format_error, summary_of
from clusterapp.web.loading import load
from clusterapp.web.static.static_files import StaticOptions
from clusterapp.worker.access_log_writer import AccessLog, open_access_log
from clusterapp.worker.health_middleware import HealthMiddleware
from clusterapp.worker.master_watch import watch_master
from clusterapp.worker.reporter import Reporter
from clusterapp.worker.worker_site import Served, serve

if TYPE_CHECKING:
    from clusterapp.web.hosting import Host

#: The exit status of a child that failed to start.
FAILED_BOOT = 3
#: The exit status of a child whose application has stopped the reactor.
STOPPED = os.EX_SOFTWARE


def run(bootstrap: Bootstrap, master: int) -> int:
    """
    Run the child until it has drained, and return its exit status.

    :param bootstrap: the role, slot, settings and sockets of this child.
    :param master: the descriptor of the pipe on which the master asks for a report;
        its end of file means that the master has died.
    """
    # The reactor was chosen before this module was imported.
    from twisted.internet import reactor  # noqa: PLC0415

    core: Any = reactor
    make_monotonic(reactor)
    later = partial(core.callFromThread, core.callLater)
    log = begin_child_log(later, request_under_way)
    try:
        record = RequestRecord.of_child()
        settings = Settings(**bootstrap.settings)
        child = ChildProgram(reactor, bootstrap, settings, record)
        watch_master(master, settings.graceful_timeout, child.under_way)
        # Not with callWhenRunning: the asyncio loop does not run yet then, and
        # applications may call asyncio.get_running_loop() in any of their code.
        asyncio.get_event_loop().call_soon(child.start)
        reactor.run()
        if not child.is_leaving:
            child.report_stopped()
    finally:
        log.close()
    if not child.is_leaving:
        # Threads, those of the reactor's pool among them, would keep the process, and
        # so the connections that nothing serves any more.
        os._exit(STOPPED)
    return child.exit_status


class ChildProgram:
    """One child process, from its first message to the master until it exits."""

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        bootstrap: Bootstrap,
        settings: Settings,
        record: RequestRecord | None = None,
    ) -> None:
        self.exit_status = 0
        self._request_record = record
        self._reactor = reactor
        self._bootstrap = bootstrap
        self._settings = settings
        self._end = ChildEnd(self)
        self._reporter = Reporter(reactor, settings.hang_timeout, self._end.report)
        self._host: Host | None = None
        self._served: Served | None = None
        self._access_log: AccessLog | None = None
        self._core_is_ready = self._core_is_back_soon = False
        self._health_middleware = HealthMiddleware(
            settings, as_canary=bootstrap.as_canary
        )
        self._draining = False
        #: Whether the child has finished, and ends by itself.
        self.is_leaving = False
        self._boot: Deferred[None] | None = None
        self._activated: Deferred[None] | None = None

    def start(self) -> None:
        """Connect the control channel, then load and serve the application."""
        # The reactor has installed its own SIGTERM handler by now, which would stop
        # the process without draining.
        signal.signal(
            signal.SIGTERM, lambda *_: self._reactor.callFromThread(self._terminated)
        )
        self._reactor.adoptStreamConnection(
            CONTROL_FD, socket.AF_UNIX, Adopted(self._end)
        )
        os.close(CONTROL_FD)
        self._reporter.start()
        self._boot = Deferred.fromCoroutine(self._load_and_serve())
        self._boot.addErrback(self._boot_failed)

    def under_way(self) -> Sequence[UnderWay]:
        """Return the open requests; called by the thread of `master_watch`."""
        host = self._host
        return () if host is None else host.site.under_way()

    def activate(self) -> None:
        """Called when the canary check has passed: continue the start of this child."""
        self._health_middleware.canary_passed()
        if self._activated is not None and not self._activated.called:
            self._activated.callback(None)

    @property
    def adopts(self) -> bool:
        """Whether this child serves and does not drain, so connections can be sent."""
        return self._served is not None and not self._draining

    def adopt(self, connection: socket.socket, listener: str) -> None:
        """
        Serve a connection that another process has accepted.

        :param connection: the socket; it is closed if this child does not serve yet.
        :param listener: the name of the listener that accepted the connection.
        """
        if self._served is None:
            connection.close()
        else:
            self._served.listeners.adopt(connection, listener)

    def accept(self, listener: str, listening: socket.socket, *, shared: bool) -> None:
        """
        Accept a listener's connections on this socket, instead of any earlier one.

        :param listener: the name of the listener.
        :param listening: the listening socket; it is closed if this child does not
            serve yet, or drains.
        :param shared: whether other workers accept on the same socket.
        """
        if self._served is None or self._draining:
            listening.close()
        else:
            self._served.listeners.accept(listener, listening, shared=shared)

    def refuse(self, listener: str) -> None:
        """Stop accepting connections of a listener."""
        if self._served is not None:
            self._served.listeners.refuse(listener)

    def update_affinity(self, how: str) -> None:
        """
        Replace the session affinity: the key of a client, and the slots.

        :param how: a `Stickiness` as JSON.
        """
        if self._served is not None:
            affinity = Stickiness.from_json(how)
            self._served.affinity.update_affinity(affinity)
            # Without affinity, as before a drain of the whole cluster, no worker will
            # succeed this one, and others may have relayed requests before they heard
            # of it.
            self._served.listeners.keeps_private = not affinity.listeners

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        """
        Called when the readiness of the cluster changes.

        :param ready: whether load balancers should send clients to this cluster.
        :param detail: the reason, as JSON.
        """
        self._health_middleware.cluster_health(ready=ready, detail=detail)

    def broken(self, why: str) -> None:
        """Called when the newest code fails to load, or loads again (empty `why`)."""
        self._health_middleware.broken(why)

    def drain(
        self, *, spread: float, hand_over: bool, within: float | None = None
    ) -> None:
        """
        Drain, then exit; called at `Drain`, at SIGTERM and when the master is gone.

        :param spread: the seconds over which connections and streams are closed.
        :param hand_over: whether idle connections are offered to other workers.
        :param within: the seconds after which what is not finished is aborted; None for
            the graceful timeout.
        """
        if self._draining:
            return
        self._draining = True
        if self._boot is not None:
            self._boot.cancel()  # a canary that drains must not start to accept
        if self._host is None:
            self._leave()
            return
        drained = Deferred.fromCoroutine(
            self._host.drain(
                spread=spread, hand_over=self._end.hand_over if hand_over else None
            )
        )
        seconds = self._settings.graceful_timeout if within is None else within
        self._reactor.callLater(seconds, drained.cancel)
        if self._served is not None:
            self._served.proxy.drain(spread)
            self._served.relay.drain(spread)
        drained.addErrback(lambda why: self._log.failure("cannot drain", failure=why))
        drained.addCallback(lambda _: self._leave())

    def core_ready(self, ready: bool, *, back: bool) -> None:
        """
        Called when the core has become ready, or is no longer.

        :param ready: whether the core accepts requests.
        :param back: whether a core that is not ready is being replaced.
        """
        self._core_is_ready, self._core_is_back_soon = ready, back
        if self._served is not None:
            self._served.proxy.core_ready(ready, back=back)

    def reopen_logs(self) -> None:
        """Reopen the access log; called after the log files have been renamed."""
        if self._access_log is not None:
            self._access_log.reopen()

    def master_gone(self) -> None:
        """Called when the control channel is closed: drain without the master."""
        self._reporter.stop()
        if self.is_leaving:
            return  # this side has closed the channel, and the master still reads logs
        # The pipes of stdout and stderr have no reader: a write would fail.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        os.close(nowhere)
        self.drain(spread=0.0, hand_over=False)

    @guarded("drain at SIGTERM")
    def _terminated(self) -> None:
        """
        Called after SIGTERM: notify the master, then drain.

        New connections then go to other workers, and idle ones are handed over.
        """
        if not (self._draining or self.is_leaving):
            self._end.terminating().addErrback(report_unanswered)
        self.drain(spread=self._settings.drain_spread, hand_over=True)

    async def _load_and_serve(self) -> None:
        settings = self._settings
        log = self._access_log = open_access_log(
            self._reactor, self._bootstrap, settings
        )
        static = StaticOptions.chosen(settings)
        loaded = load(settings.app, settings.core_app, self._reactor, static)
        if self._bootstrap.role == "worker":
            has_core = loaded.core_resource is not None
            reported = self._end.imported(has_core=has_core)
            reported.addErrback(report_unanswered)
        loaded.set_up_templates(reload=settings.reload, cache=self._bootstrap.cache)
        loaded = self._health_middleware.before(loaded)
        host, served = serve(self._reactor, self._bootstrap, settings, loaded, log)
        is_worker = self._bootstrap.role == "worker"
        if not is_worker:
            # Only one core runs at a time, so a canary core waits before its start
            # hooks, which may be what must not run twice.
            await self._wait_for_turn()
        await host.prepare()
        if loaded.templates is not None and is_worker:
            # Templates are compiled after the start hooks, which may add filters.
            loaded.templates.warm(self._reactor.seconds)
        _freeze()
        self._host, self._served = host, served
        host.site.request_record = self._request_record
        self._reporter.site, self._reporter.served = host.site, served
        self.core_ready(self._core_is_ready, back=self._core_is_back_soon)
        if is_worker:
            await self._wait_for_turn()
        # No error handling here: if the channel breaks, `master_gone` is called.
        ready = self._end.ready(loaded.static if is_worker else None)
        ready.addErrback(report_unanswered)
        host.accept()

    async def _wait_for_turn(self) -> None:
        if not self._bootstrap.as_canary:
            return
        self._activated = Deferred()
        self._end.loaded().addErrback(report_unanswered)
        await self._activated

    def _boot_failed(self, why: Failure) -> None:
        if self._draining:
            return
        error = cast("BaseException", why.value)
        loading = isinstance(error, ApplicationLoadError)
        self.exit_status = ApplicationLoadError.exit_status if loading else FAILED_BOOT
        reported = self._end.failed(
            loading=loading, reason=_one_line(error), traceback=_traceback(error)
        )
        reported.addBoth(lambda _: self._leave())

    def report_stopped(self) -> None:
        """Log that the reactor does not run any more, though the child has to serve."""
        self._log.critical(
            "the application has stopped the reactor or its event loop: this process"
            " ends, and all requests with it"
        )

    def _leave(self) -> None:
        self.is_leaving = True
        self._reporter.stop()
        if self._served is not None:
            self._served.proxy.close()
            self._served.relay.close()
        with suppress(ReactorNotRunning):  # this method may be called twice
            self._reactor.stop()


def _freeze() -> None:
    """
    Exclude all that has been loaded from later garbage collections.

    A full collection then looks at what requests have left, and not each time at all
    modules, templates and routes, which would stop the event loop for much longer.
    """
    gc.collect()
    gc.freeze()


def _one_line(error: BaseException) -> str:
    if isinstance(error, ApplicationLoadError):
        return error.reason
    if isinstance(error, StartHookError):
        return str(error)
    return summary_of(error)


def _traceback(error: BaseException) -> str:
    if isinstance(error, ApplicationLoadError):
        return error.traceback
    if isinstance(error, StartHookError) and error.__cause__ is not None:
        error = error.__cause__  # that of the application alone
    return format_error(error, error.__traceback__)
