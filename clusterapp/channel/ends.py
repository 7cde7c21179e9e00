"""The two ends of the control channel between a master and one child."""

import socket
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from clusterapp.channel.commands import (
    Accept,
    Activate,
    Adopt,
    Broken,
    ClusterHealth,
    CoreReady,
    Drain,
    Failed,
    HandOver,
    Imported,
    Loaded,
    Ready,
    Refuse,
    ReopenLogs,
    Report,
    Terminating,
    UpdateAffinity,
)
from clusterapp.channel.fd_claims import claim_of, claimed, received_offer
from clusterapp.channel.protocol import ChannelEnd, received, sendable
from clusterapp.guards import guarded
from clusterapp.interfaces import StaticFolder

#: The interval between two reports of a child, in seconds.
REPORT_SECONDS = 1.0

#: AMP's longest value is 65,535 bytes; UTF-8 takes at most 4 for a character.
_LONGEST_TEXT = 65_535 // 4


@dataclass(frozen=True)
class WorkerStats:
    """
    The figures of a worker's report, sent every second.

    :param lag: how late its event loop was, in seconds.
    :param rss: its resident memory, in bytes.
    :param requests: the number of requests answered so far.
    :param active: the number of requests under way.
    :param connections: the number of open client connections.
    :param relayed: the number of requests forwarded to other workers so far.
    """

    lag: float
    rss: int
    requests: int = 0
    active: int = 0
    connections: int = 0
    relayed: int = 0


class ChildEvents(Protocol):
    """The callbacks for the commands of a child."""

    def imported(self, *, has_core: bool) -> None:
        """Called when a worker has imported the application."""

    def loaded(self) -> None:
        """Called when a canary waits to be activated."""

    def ready(self, static: StaticFolder | None) -> None:
        """
        Called when the child can accept connections.

        :param static: the folder of static files that it serves, if it has one.
        """

    def failed(self, *, loading: bool, reason: str, traceback: str) -> None:
        """Called when the child cannot start."""

    def reported(self, pulse: WorkerStats) -> None:
        """Called with the figures of each report: the child's event loop runs."""

    def terminating(self) -> None:
        """Called when the child has received SIGTERM: it drains from now on."""

    def hand_over(self, connection: socket.socket, listener: str) -> Deferred[bool]:
        """
        Transfer a connection to another worker; the callee has to close the socket.

        :param listener: the name of the connection's listener.
        :return: fires with whether a worker has taken it.
        """


class MasterEnd(ChannelEnd):
    """The master's end of one child's channel."""

    def __init__(self, events: ChildEvents) -> None:
        super().__init__()
        self._events = events

    @Imported.responder
    def _imported(self, has_core: bool) -> dict[str, object]:
        self._events.imported(has_core=has_core)
        return {}

    @Loaded.responder
    def _loaded(self) -> dict[str, object]:
        self._events.loaded()
        return {}

    @Ready.responder
    def _ready(
        self, static_url: str | None = None, static_folder: str | None = None
    ) -> dict[str, object]:
        if static_url is None or static_folder is None:
            self._events.ready(None)
        else:
            self._events.ready(StaticFolder(static_url, static_folder))
        return {}

    @Failed.responder
    def _failed(self, loading: bool, reason: str, traceback: str) -> dict[str, object]:
        self._events.failed(loading=loading, reason=reason, traceback=traceback)
        return {}

    @Report.responder
    def _reported(self, **figures: Any) -> dict[str, object]:
        self._events.reported(WorkerStats(**figures))
        return {}

    @Terminating.responder
    def _terminating(self) -> dict[str, object]:
        self._events.terminating()
        return {}

    @HandOver.responder
    def _hand_over(
        self, connection: int, listener: str, claim: int | None = None
    ) -> Deferred[dict[str, object]]:
        offer = received_offer(received(connection), claim)
        given = self._events.hand_over(offer, listener)
        return given.addCallback(lambda taken: {"taken": taken})

    def activate(self) -> Deferred[None]:
        """Activate a canary; fires when the child has acknowledged it."""
        return self._send(Activate)

    def drain(
        self, *, spread: float, hand_over: bool, within: float | None = None
    ) -> Deferred[None]:
        """Ask the child to drain and exit; fires when the child has acknowledged it."""
        return self._send(Drain, spread=spread, hand_over=hand_over, within=within)

    def core_ready(self, ready: bool, *, back: bool) -> Deferred[None]:
        """Send to a worker whether the core accepts requests, or is being replaced."""
        return self._send(CoreReady, ready=ready, back=back)

    def cluster_health(self, *, ready: bool, detail: str) -> Deferred[None]:
        """Send to a worker whether this cluster is ready."""
        return self._send(ClusterHealth, ready=ready, detail=detail[:_LONGEST_TEXT])

    def broken(self, why: str) -> Deferred[None]:
        """Send to a worker why the code cannot be loaded; empty if it can be."""
        return self._send(Broken, why=sendable(why)[-_LONGEST_TEXT:])

    def reopen_logs(self) -> Deferred[None]:
        """Ask a worker to reopen its logs; fires when it has done so."""
        return self._send(ReopenLogs)

    def adopt(self, connection: socket.socket, listener: str) -> Deferred[bool]:
        """
        Offer a connection to a worker.

        :param connection: remains the caller's, which keeps it open until this fires.
        :param listener: the name of the connection's listener.
        :return: fires with whether the worker has taken the connection.
        """
        asked: Deferred[dict[str, bool]] = self._ask(
            Adopt,
            connection=connection.fileno(),
            listener=listener,
            claim=claim_of(connection),
        )
        return asked.addCallback(lambda answer: answer["taken"])

    def accept(
        self, listener: str, listening: socket.socket, *, shared: bool
    ) -> Deferred[None]:
        """
        Ask a worker to accept the connections of a listener from a socket.

        :param shared: whether other workers accept from it as well.
        """
        number = listening.fileno()
        return self._send(Accept, listener=listener, listening=number, shared=shared)

    def refuse(self, listener: str) -> Deferred[None]:
        """Ask a worker to stop accepting connections of a listener."""
        return self._send(Refuse, listener=listener)

    def update_affinity(self, how: str) -> Deferred[None]:
        """Send the session affinity to a worker."""
        return self._send(UpdateAffinity, how=how)


class MasterOrders(Protocol):
    """The callbacks for the commands of a master."""

    @property
    def adopts(self) -> bool:
        """Whether the child would serve another connection."""

    def activate(self) -> None:
        """Start to serve in the predecessor's place (a canary)."""

    def drain(
        self, *, spread: float, hand_over: bool, within: float | None = None
    ) -> None:
        """Finish the open requests, then exit."""

    def core_ready(self, ready: bool, *, back: bool) -> None:
        """Called when the core has become ready, has failed, or is being replaced."""

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        """Called when the cluster has become ready or unready."""

    def broken(self, why: str) -> None:
        """Called when the code cannot be loaded; with an empty text if it can."""

    def reopen_logs(self) -> None:
        """Reopen the log files."""

    def adopt(self, connection: socket.socket, listener: str) -> None:
        """Serve a connection; the callee owns the socket from now on."""

    def accept(self, listener: str, listening: socket.socket, *, shared: bool) -> None:
        """Accept the connections of a listener from a socket, which the callee owns."""

    def refuse(self, listener: str) -> None:
        """Stop accepting connections of a listener."""

    def update_affinity(self, how: str) -> None:
        """Called when the session affinity has changed."""

    def master_gone(self) -> None:
        """Called when the master has died."""


class ChildEnd(ChannelEnd):
    """A child's end of its channel to the master."""

    def __init__(self, orders: MasterOrders) -> None:
        super().__init__()
        self._orders = orders

    @Activate.responder
    def _activate(self) -> dict[str, object]:
        self._orders.activate()
        return {}

    @Drain.responder
    def _drain(
        self, spread: float, hand_over: bool, within: float | None = None
    ) -> dict[str, object]:
        self._orders.drain(spread=spread, hand_over=hand_over, within=within)
        return {}

    @CoreReady.responder
    def _core_ready(self, ready: bool, back: bool) -> dict[str, object]:
        self._orders.core_ready(ready, back=back)
        return {}

    @ClusterHealth.responder
    def _cluster_health(self, ready: bool, detail: str) -> dict[str, object]:
        self._orders.cluster_health(ready=ready, detail=detail)
        return {}

    @Broken.responder
    def _broken(self, why: str) -> dict[str, object]:
        self._orders.broken(why)
        return {}

    @ReopenLogs.responder
    def _reopen_logs(self) -> dict[str, object]:
        self._orders.reopen_logs()
        return {}

    @Adopt.responder
    def _adopt(
        self, connection: int, listener: str, claim: int | None = None
    ) -> dict[str, object]:
        adopted = received(connection)
        if not self._orders.adopts:
            # Before the claim is read: another worker may have the connection.
            adopted.close()
            return {"taken": False}
        taken = claimed(adopted, claim)
        if taken:
            self._orders.adopt(adopted, listener)
        return {"taken": taken}

    @Accept.responder
    def _accept(self, listener: str, listening: int, shared: bool) -> dict[str, object]:
        self._orders.accept(listener, received(listening), shared=shared)
        return {}

    @Refuse.responder
    def _refuse(self, listener: str) -> dict[str, object]:
        self._orders.refuse(listener)
        return {}

    @UpdateAffinity.responder
    def _update_affinity(self, how: str) -> dict[str, object]:
        self._orders.update_affinity(how)
        return {}

    @guarded("handle the end of the channel")
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the channel is closed, which means that the master has died."""
        super().connectionLost(reason)
        self._orders.master_gone()

    def imported(self, *, has_core: bool) -> Deferred[None]:
        """Report to the master whether the application has a core."""
        return self._send(Imported, has_core=has_core)

    def loaded(self) -> Deferred[None]:
        """Report to the master that this canary waits to be activated."""
        return self._send(Loaded)

    def ready(self, static: StaticFolder | None = None) -> Deferred[None]:
        """
        Report to the master that this child can accept connections.

        :param static: the folder of static files that is served, if there is one.
        """
        if static is None:
            return self._send(Ready)
        folder = sendable(static.folder)
        return self._send(Ready, static_url=static.url, static_folder=folder)

    def report(self, pulse: WorkerStats) -> None:
        """Send a report: the event loop runs, and its figures."""
        self.callRemote(Report, **vars(pulse))

    def terminating(self) -> Deferred[None]:
        """Report to the master that this child has received SIGTERM and drains."""
        return self._send(Terminating)

    def hand_over(self, connection: socket.socket, listener: str) -> Deferred[bool]:
        """
        Ask the master to transfer a connection to another worker.

        :param connection: remains the caller's, which keeps it open until this fires.
        :param listener: the name of the connection's listener.
        :return: fires with whether another worker has taken the connection.
        """
        asked: Deferred[dict[str, bool]] = self._ask(
            HandOver,
            connection=connection.fileno(),
            listener=listener,
            claim=claim_of(connection),
        )
        return asked.addCallback(lambda answer: answer["taken"])

    def failed(self, *, loading: bool, reason: str, traceback: str) -> Deferred[None]:
        """
        Report to the master why this child cannot start.

        :param loading: whether the application could not be loaded.
        :param reason: one line.
        :param traceback: only its end is sent if it is long.
        """
        return self._send(
            Failed,
            loading=loading,
            reason=sendable(reason)[:_LONGEST_TEXT],
            traceback=sendable(traceback)[-_LONGEST_TEXT:],
        )
