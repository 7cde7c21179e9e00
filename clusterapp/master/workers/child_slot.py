"""One slot of the master: its process, its supervision, and its lifecycle."""

import random
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from twisted.internet import defer
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.channel.ends import REPORT_SECONDS, WorkerStats
from clusterapp.channel.log_pipe.log_events import ChildEvent
from clusterapp.errors import ListenError
from clusterapp.guards import guarded
from clusterapp.interfaces import IClusterReactor, StaticFolder
from clusterapp.lifecycle import Slot, SlotTimeouts, State, new_lifecycle
from clusterapp.master.workers.child_inspection import Inspector
from clusterapp.master.workers.child_log import ChildLogWriter
from clusterapp.master.workers.spawn_spec import SpawnSpec
from clusterapp.master.workers.watchdog import Watchdog
from clusterapp.settings.stop_time import LAST_WORDS
from clusterapp.spawning.execute import Child, execute, how_it_ended

if TYPE_CHECKING:
    from clusterapp.master.workers.child_resources import ChildResources

#: Seconds to wait for a process to confirm that it drains; it may hang.
_HEARING_SECONDS = 1.0


class Watcher(Protocol):
    """Receives the events of a slot."""

    def entered(self, slot: "ChildSlot", state: State) -> None:
        """Called when the state of a slot has changed."""

    def imported(self, *, has_core: bool) -> None:
        """Called when a slot's process has imported the application."""

    def terminating(self, slot: "ChildSlot") -> None:
        """Called when a slot's process, which served, drains because of SIGTERM."""

    def loaded(self, slot: "ChildSlot") -> None:
        """
        Called when a slot's process can serve but has not taken the slot.

        It is a canary that waits to be activated, or was sent `Drain` while it
        started, and has accepted requests before it received that.
        """

    def failed(
        self, slot: "ChildSlot", *, loading: bool, reason: str, traceback: str
    ) -> None:
        """Called when a slot's process cannot start, with the reason."""

    def hand_over(
        self, slot: "ChildSlot", connection: socket.socket, listener: str
    ) -> Deferred[bool]:
        """
        Called when the child offers a connection; the callee closes the socket.

        :param listener: the name of the listener that the connection was accepted from.
        :return: fires with whether another process serves it.
        """


class ChildSlot:
    """
    A supervised child in a slot: a process, and those that replace it after crashes.

    It drives a lifecycle and performs its actions: it implements both the
    lifecycle's `Effects` and the child's `ProcessEvents`.

    :param as_canary: whether the first process waits before it takes the slot; it is
        not restarted if it fails before that.
    :ivar watcher: receives the events of this slot.
    :ivar restarts: the number of restarts of its process.
    :ivar stats: the last report of its process; None if there was none.
    :ivar stats_at: the reactor's time of that report.
    :ivar static: the folder of static files that it serves; None if it has none.
    :ivar serves: whether its process was able to serve, and can receive state.
    :ivar exit_reason: why its last process has exited, or could not start.
    :ivar overdue: the seconds after which that process was killed for not being ready.
    :ivar is_terminating: whether its process drains because it received SIGTERM.
    :ivar traceback: the traceback of that process's application; often empty.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IClusterReactor,
        spec: SpawnSpec,
        timeouts: SlotTimeouts,
        watcher: Watcher,
        *,
        as_canary: bool = False,
    ) -> None:
        self.state: State = "stopped"
        self.label = label = _label(spec.bootstrap)
        self.watcher = watcher
        self.restarts = -1
        self.stats: WorkerStats | None = None
        self.stats_at = 0.0
        self.overdue: float | None = None
        self.is_terminating = False
        # The timer that kills a process to which `Drain` was sent while it starts.
        self._deadline: IDelayedCall | None = None
        self.static: StaticFolder | None = None
        self.exit_reason = self.traceback = ""
        self._reactor = reactor
        self._spec = spec
        self._child: Child | None = None
        self._resources: ChildResources | None = None
        self._spawned_at = 0.0
        self._hand_over = False
        self._within: float | None = None
        self._drain_sent: Deferred[None] = succeed(None)
        self._as_canary = as_canary
        self.serves = False
        #: Whether the cluster stops: restarts are not logged then, nor do they last.
        self.cluster_stops = False
        self._child_log = ChildLogWriter(label, self.number, self.generation)
        self._inspector = Inspector(reactor)
        self._watchdog = Watchdog(reactor, timeouts.hang, label, self._inspector)
        self._facts = Slot(self, timeouts, lambda: random.uniform(-1, 1))  # noqa: S311
        self._life = new_lifecycle(self._facts)

    @property
    def number(self) -> int:
        """The slot number; that of a core is `CORE_SLOT`."""
        return self._spec.bootstrap.slot

    @property
    def generation(self) -> int:
        """The generation that its processes run."""
        return self._spec.bootstrap.generation

    @property
    def pid(self) -> int | None:
        """The pid of its process; None if there is none."""
        return None if self._child is None else self._child.pid

    @property
    def row(self) -> int | None:
        """The number of its process's row on the scoreboard; None if there is none."""
        return None if self._resources is None else self._resources.row

    @property
    def uptime(self) -> float | None:
        """The age of its process in seconds; None if there is none."""
        return None if self._child is None else self.now() - self._spawned_at

    @property
    def silence(self) -> float:
        """The seconds since the last report of its process."""
        return self.now() - self.stats_at

    @property
    def lag(self) -> float | None:
        """The lag of its event loop: as reported, or the delay of its next report."""
        if self.stats is None:
            return None
        return max(self.stats.lag, self.silence - REPORT_SECONDS)

    @property
    def accepts(self) -> bool:
        """Whether its process accepts connections."""
        return self.state == "running" and not self.is_terminating

    def start(self) -> None:
        """Start a process in the slot."""
        self._life.start()

    def replacement(self) -> "ChildSlot":
        """
        Create the slot that replaces this one, whose process drains by itself.

        It continues the count of restarts and the record of crashes: its first process
        starts as after an exit of this one's.
        """
        new = ChildSlot(self._reactor, self._spec, self._facts.timeouts, self.watcher)
        new.continue_record(self.restarts, self._facts)
        return new

    def continue_record(self, restarts: int, facts: Slot) -> None:
        """Continue the count of restarts and the record of a replaced slot."""
        self.restarts = restarts
        self._facts.inherit(facts)

    def resume(self) -> None:
        """Start a process in the slot as after an exit: after a pause."""
        self._life.resume()

    def activate(self) -> None:
        """Send `Activate` to a canary: it takes the slot."""
        if self._child is not None:
            self._child.activate()

    def drain(self, *, hand_over: bool = False, within: float | None = None) -> None:
        """
        Drain the slot and leave it empty.

        :param hand_over: whether idle connections may be handed over to other workers.
        :param within: the seconds after which its process aborts what is not finished;
            None for the graceful timeout.
        """
        self._hand_over, self._within = hand_over, within
        if within is not None:
            self._facts.timeouts = replace(
                self._facts.timeouts, drain=within + LAST_WORDS
            )
        self._life.drain()

    def accepts_nothing(self) -> Deferred[None]:
        """
        Wait until the slot's process, which is draining, has stopped accepting.

        :return: fires when the process has confirmed, has exited, or does not reply.
        """
        drained = self._drain_sent.addTimeout(_HEARING_SECONDS, self._reactor)
        return drained.addErrback(_trap_timeout)

    def drop(self) -> None:
        """Kill the slot's process at once; its requests under way are lost."""
        self._life.drain()
        self._end()

    def core_ready(self, ready: bool, *, back: bool) -> None:
        """Notify the slot's process whether the core accepts requests."""
        if self._child is not None and self.serves:
            self._child.core_ready(ready, back=back)

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        """Notify the slot's process whether clients should be sent to the cluster."""
        if self._child is not None and self.serves:
            self._child.cluster_health(ready=ready, detail=detail)

    def broken(self, why: str) -> None:
        """Notify the slot's process of an error in the code; empty if there is none."""
        if self._child is not None and self.serves:
            self._child.broken(why)

    def reopen_logs(self) -> None:
        """Send the slot's process the command to reopen its log files."""
        if self._child is not None:
            self._child.reopen_logs()

    def adopt(self, connection: socket.socket, listener: str = "") -> Deferred[bool]:
        """
        Send `Adopt`: the slot's process is to serve a connection.

        :param connection: the socket; the caller keeps it open until this fires.
        :param listener: the name of the listener that accepted it; empty if none.
        :return: fires with whether the process has adopted it.
        """
        if self._child is None:
            return succeed(False)
        return self._child.adopt(connection, listener)

    def accept(self, listener: str, listening: socket.socket, *, shared: bool) -> None:
        """Send `Accept`: the process is to accept connections from this socket."""
        if self._child is not None and self.serves:
            self._child.accept(listener, listening, shared=shared)

    def refuse(self, listener: str) -> None:
        """Send `Refuse`: the process stops accepting connections of a listener."""
        if self._child is not None and self.serves:
            self._child.refuse(listener)

    def update_affinity(self, how: str) -> None:
        """Send the slot's process the rules of session affinity."""
        if self._child is not None and self.serves:
            self._child.update_affinity(how)

    def stacks(self) -> Deferred[str]:
        """
        Return the stacks and the requests under way of the slot's process.

        :return: fires with a text, which is empty if there is no process.
        """
        if self._child is None:
            return succeed("")
        return self._inspector.inspect(self._child)

    # The lifecycle's `Effects`.

    def entered(self, state: State) -> None:
        """Called when the slot has entered a state: store it and notify the watcher."""
        self.state = state
        if state == "running":
            self._as_canary = False
            self.serves = True
            if self._child is not None:
                self._watchdog.watch(self._child)
        self.watcher.entered(self, state)

    def spawn(self) -> None:
        """Start a process for the slot."""
        self._spawned_at = self.now()
        self.restarts += 1
        self.serves = self.is_terminating = False
        self.stats = self.overdue = None
        self.exit_reason = self.traceback = ""
        spec = self._spec
        try:
            self._resources = spec.resources_of(self.number)
            self._child = execute(
                self._reactor,
                replace(
                    self._resources.tell(spec.bootstrap), as_canary=self._as_canary
                ),
                spec.environment,
                self._resources.descriptors,
                self,
                spec.access_log,
            )
        except (OSError, ListenError) as error:
            self._use_up()
            self._log.error(
                "{label} cannot be started: {error}", label=self.label, error=error
            )
            self.exit_reason = f"cannot be started: {error}"
            self._gone()

    def ask_to_drain(self) -> None:
        """Ask the process to drain and exit."""
        if self._child is None:
            return
        self._drain_sent = self._child.drain(
            spread=self._spec.spread, hand_over=self._hand_over, within=self._within
        )
        if not self.serves:
            # It has nothing to drain, and reads no message while it imports.
            self._deadline = self.after(_HEARING_SECONDS, self._end_start)

    def kill(self) -> None:
        """Kill the process, which has exceeded the timeout of its state; log that."""
        self._log.error(
            "{label} (pid {pid}) takes too long in state {state!r}: killing it",
            label=self.label,
            pid=self._child and self._child.pid,
            state=self.state,
        )
        if self.state == "starting":
            self.overdue = round(self.now() - self._spawned_at, 1)
            self.exit_reason = f"is not ready within {self.overdue:g} s of its start"
        self._end()

    def _end_start(self) -> None:
        self._deadline = None
        self._log.info(
            "{label} (pid {pid}) is still starting: it is killed",
            label=self.label,
            pid=self.pid,
        )
        self._end()

    def now(self) -> float:
        """Return the reactor's time in seconds."""
        return self._reactor.seconds()

    def after(self, seconds: float, then: Callable[[], None]) -> IDelayedCall:
        """Schedule a call; it can be cancelled."""
        return self._reactor.callLater(
            seconds, guarded(f"end the state of {self.label}")(then)
        )

    def pause(self, seconds: float, then: Callable[[], None]) -> IDelayedCall:
        """Schedule the next start of the slot, and log when it is due."""
        if self.cluster_stops:
            return self.after(seconds, then)
        why = "crashes too often and " if self.state == "fatal" else ""
        self._log.info(
            "{label} {why}is started again in {seconds:.2f} s",
            label=self.label,
            why=why,
            seconds=seconds,
        )
        return self.after(seconds, then)

    # The child's `ProcessEvents`.

    def imported(self, *, has_core: bool) -> None:
        """Called when the process has imported the application."""
        self.watcher.imported(has_core=has_core)

    def loaded(self) -> None:
        """Called when the process, which is a canary, waits to be activated."""
        self.serves = True
        self.watcher.loaded(self)

    def reported(self, stats: WorkerStats) -> None:
        """Called with each report of the process, a sign that its event loop runs."""
        self.stats, self.stats_at = stats, self.now()
        self._watchdog.reported()

    def hand_over(self, connection: socket.socket, listener: str) -> Deferred[bool]:
        """Transfer a connection of the process to another worker."""
        return self.watcher.hand_over(self, connection, listener)

    def terminating(self) -> None:
        """Called when the process has received SIGTERM: it drains by itself."""
        if self.state != "running":
            return
        self.is_terminating = True
        self.watcher.terminating(self)

    def ready(self, static: StaticFolder | None) -> None:
        """Called when the process accepts connections."""
        self.static = static
        self._log.info(
            "{label} is ready after {seconds:.2f} s (pid {pid})",
            label=self.label,
            seconds=self.now() - self._spawned_at,
            pid=self._child and self._child.pid,
        )
        self._life.ready()
        if self.state == "draining" and not self.serves:
            self.serves = True
            self.watcher.loaded(self)

    def failed(self, *, loading: bool, reason: str, traceback: str) -> None:
        """Called when the process cannot start, with the reason."""
        self.exit_reason, self.traceback = reason, traceback
        self.watcher.failed(self, loading=loading, reason=reason, traceback=traceback)

    def exited(self, reason: Failure) -> None:
        """Called when the process has exited."""
        pid = self._child and self._child.pid
        self.stats = None
        self._watchdog.stop()
        self._inspector.exited()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._use_up()
        how = how_it_ended(reason)
        if self._child is not None:
            how = self._child.how_it_ended(reason)
            self._child.close()
            self._child = None
        expected = self.state == "draining" or self.is_terminating
        log = self._log.info if expected else self._log.error
        log(
            "{label} (pid {pid}) left with {how}",
            label=self.label,
            pid=pid,
            how=how,
        )
        self.exit_reason = self.exit_reason or f"left with {how}"
        self._gone()

    def printed(self, line: str, *, error: bool) -> None:
        """Log a line that the process, or a child of it, wrote to stdout or stderr."""
        if error:
            self._inspector.printed(line)
        self._child_log.printed(line, error=error)

    def logged(self, event: ChildEvent) -> None:
        """Log a log event of the process."""
        self._child_log.logged(event)

    def _use_up(self) -> None:
        child_resources, self._resources = self._resources, None
        if child_resources is not None:
            child_resources.gone()

    def _gone(self) -> None:
        if self._as_canary:
            self._life.drain()  # a canary is not restarted
        self._life.exited()

    def _end(self) -> None:
        self._watchdog.stop()
        if self._child is not None:
            self._child.signal("KILL")


def _label(bootstrap: Bootstrap) -> str:
    return "core" if bootstrap.role == "core" else f"worker {bootstrap.slot}"


def _trap_timeout(why: Failure) -> None:
    why.trap(defer.TimeoutError)
