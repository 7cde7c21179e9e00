"""What systemd hears of a cluster, from its start until it has stopped."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from clusterapp.guards import guarded
from clusterapp.systemd import Notifier

#: What systemd was told last.
Told = Literal["starting", "ready", "reloading", "stopping"]


@dataclass(frozen=True)
class ServiceStatus:
    """
    How a cluster stands.

    :param state: what it does as a whole; a cluster that was never started is
        ``"stopped"``.
    :param ready: whether clients should be sent to it.
    :param operation: the name of the operation under way, such as ``"reload"``.
    :param text: all of that for people, in one line.
    """

    state: Literal["starting", "running", "stopping", "stopped"]
    ready: bool
    operation: str | None
    text: str


class Followed(Protocol):
    """A cluster that tells whenever it stands otherwise."""

    def standing(self) -> ServiceStatus:
        """Tell how the cluster stands."""

    def watch(self, changed: Callable[[], None]) -> None:
        """Call a function whenever it may stand otherwise, for ever."""


class Notifying(Service):
    """
    Follow a cluster, and tell systemd: a sibling of the cluster's own service.

    It stops only when the cluster has, since systemd goes on watching a service that
    stops.

    :param reactor: keeps the time.
    :param notifier: talks to systemd.
    :param cluster: the cluster.
    :param interval: how often to say that the reactor runs, in seconds; None for
        never.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        notifier: Notifier,
        cluster: Followed,
        interval: float | None = None,
    ) -> None:
        self._cluster = cluster
        self._notifier = notifier
        self._interval = interval
        self._watchdog = LoopingCall(guarded("tell systemd")(notifier.watchdog))
        self._watchdog.clock = reactor
        self._told: Told = "starting"
        self._text = ""
        self._stopped: Deferred[None] | None = None
        cluster.watch(self._look)

    def startService(self) -> None:
        """Begin to tell."""
        super().startService()
        self._told, self._stopped = "starting", None
        if self._interval is not None:
            self._watchdog.start(self._interval)
        self._look()

    def stopService(self) -> Deferred[None]:
        """Say that the service stops; fires when the cluster has stopped."""
        stopped = self._stopped = Deferred()
        self._tell("stopping")
        self._look()
        return stopped

    def _look(self) -> None:
        """Tell what is new."""
        if not self.running:
            return
        now = self._cluster.standing()
        if now.text != self._text:
            self._text = now.text
            self._notifier.status(now.text)
        self._tell(_due(self._told, now))
        if self._stopped is not None and now.state == "stopped":
            self._finish(self._stopped)

    def _tell(self, due: Told) -> None:
        if due == self._told:
            return
        self._told = due
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


def _due(told: Told, now: ServiceStatus) -> Told:
    """Tell what systemd should believe; a start ends only when there are workers."""
    if told == "stopping" or now.state == "stopping":
        return "stopping"
    if told == "starting":
        return "ready" if now.ready else "starting"
    if now.state == "stopped":
        return "stopping"
    return "reloading" if now.operation == "reload" else "ready"
