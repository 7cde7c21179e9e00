"""Notifications to systemd about the state of a cluster (sd_notify(3))."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from clusterapp.guards import guarded
from clusterapp.systemd import Notifier

#: The state that systemd was notified of last.
NotifiedState = Literal["starting", "ready", "reloading", "stopping"]


@dataclass(frozen=True)
class ServiceStatus:
    """
    The state of a cluster.

    :param state: the phase of the whole cluster; ``"stopped"`` if it was never
        started.
    :param ready: whether clients should be sent to it.
    :param operation: the name of the operation under way, such as ``"reload"``.
    :param text: all of that in one line for people.
    """

    state: Literal["starting", "running", "stopping", "stopped"]
    ready: bool
    operation: str | None
    text: str


class WatchedService(Protocol):
    """A cluster that calls its watchers whenever its state may have changed."""

    def service_status(self) -> ServiceStatus:
        """Return the state of the cluster."""

    def watch(self, changed: Callable[[], None]) -> None:
        """Register a function, for good, to call when the state may have changed."""


class Notifying(Service):
    """
    Notifies systemd of a cluster's state: a sibling of the cluster's own service.

    It stops only when the cluster has, since systemd goes on watching a service that
    stops.

    :param reactor: the clock of the watchdog notifications.
    :param notifier: sends the notifications.
    :param cluster: the cluster.
    :param interval: seconds between two watchdog notifications; None for none.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        notifier: Notifier,
        cluster: WatchedService,
        interval: float | None = None,
    ) -> None:
        self._cluster = cluster
        self._notifier = notifier
        self._interval = interval
        self._watchdog = LoopingCall(guarded("notify systemd")(notifier.watchdog))
        self._watchdog.clock = reactor
        self._notified: NotifiedState = "starting"
        self._text = ""
        self._stopped: Deferred[None] | None = None
        cluster.watch(self._look)

    def startService(self) -> None:
        """Start the notifications."""
        super().startService()
        self._notified, self._stopped = "starting", None
        if self._interval is not None:
            self._watchdog.start(self._interval)
        self._look()

    def stopService(self) -> Deferred[None]:
        """Notify systemd of the stop; fires when the cluster has stopped."""
        stopped = self._stopped = Deferred()
        self._notify("stopping")
        self._look()
        return stopped

    def _look(self) -> None:
        """Called when the cluster's state may have changed: send what is new."""
        if not self.running:
            return
        now = self._cluster.service_status()
        if now.text != self._text:
            self._text = now.text
            self._notifier.status(now.text)
        self._notify(_due(self._notified, now))
        if self._stopped is not None and now.state == "stopped":
            self._finish(self._stopped)

    def _notify(self, due: NotifiedState) -> None:
        if due == self._notified:
            return
        self._notified = due
        match due:
            case "ready":
                self._notifier.ready()
            case "reloading":
                self._notifier.reloading()
            case "stopping":
                self._notifier.stopping()

    def _finish(self, stopped: Deferred[None]) -> None:
        super().stopService()
        if self._watchdog.running:
            self._watchdog.stop()
        stopped.callback(None)


def _due(notified: NotifiedState, now: ServiceStatus) -> NotifiedState:
    """Return the state to report; a start ends only when the cluster is ready."""
    if notified == "stopping" or now.state == "stopping":
        return "stopping"
    if notified == "starting":
        return "ready" if now.ready else "starting"
    if now.state == "stopped":
        return "stopping"
    return "reloading" if now.operation == "reload" else "ready"
