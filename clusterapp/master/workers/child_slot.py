"""One slot of the master: the process that fills it, and its lifecycle."""

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
from clusterapp.channel.log_events import ChildEvent
from clusterapp.errors import ListenError
from clusterapp.guards import guarded
from clusterapp.interfaces import IClusterReactor, StaticFolder
from clusterapp.lifecycle import Patience, Slot, State, new_lifecycle
from clusterapp.master.workers.child_inspection import Inspector
from clusterapp.master.workers.child_log import ChildLog
from clusterapp.master.workers.spawn_spec import Plan
from clusterapp.master.workers.watchdog import Watchdog
from clusterapp.spawning.execute import Child, execute, how_it_ended

if TYPE_CHECKING:
    from clusterapp.master.workers.child_resources import ChildResources

#: How long a process may take to hear that it is to drain, in seconds, before nobody
#: waits for that: it may hang.
_HEARING_SECONDS = 1.0


class Watcher(Protocol):
    """Who hears of a slot."""

    def entered(self, slot: "ChildSlot", state: State) -> None:
        """Hear that a slot is in another state."""

    def imported(self, *, has_core: bool) -> None:
        """Called when a slot's process has imported the application."""

    def loaded(self, slot: "ChildSlot") -> None:
        """
        Called when a slot's process can serve without being the one that is to.

        It is on trial and waits to be let go on, or was told to drain while it
        started, and has taken requests before it received that.
        """

    def failed(
        self, slot: "ChildSlot", *, loading: bool, reason: str, traceback: str
    ) -> None:
        """Hear why a slot's process cannot start."""

    def hand_over(
        self, slot: "ChildSlot", connection: socket.socket, door: str
    ) -> Deferred[bool]:
        """
        Let another process serve a connection; the socket is the hearer's to close.

        :param door: the name of the listener that it has come by.
        :return: fires with whether one does.
        """


class ChildSlot:
    """
    One filling of a slot: a process, and those that replace it when it crashes.

    It drives a lifecycle, and does in the world what that decides. It is the
    lifecycle's `Effects` and the child's `ProcessEvents` at once.

    :param on_trial: whether the first process waits before it takes its place; it is
        not started again if it fails before that.
    :ivar watcher: who hears of it.
    :ivar restarts: how often its process was started again.
    :ivar pulse: what its process last said of itself, if anything.
    :ivar pulse_at: the reactor's time at which it said that.
    :ivar static: the folder of static files that it serves, if it has one.
    :ivar serves: whether its process could serve, and can be told of the world.
    :ivar last_words: why its last process has ended, or could not start.
    :ivar overdue: the seconds after which that process was killed, if it was not ready.
    :ivar is_terminating: whether its process drains since it has received SIGTERM.
    :ivar traceback: where the application of that process failed; often empty.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IClusterReactor,
        plan: Plan,
        patience: Patience,
        watcher: Watcher,
        *,
        on_trial: bool = False,
    ) -> None:
        self.state: State = "stopped"
        self.label = label = _label(plan.bootstrap)
        self.watcher = watcher
        self.restarts = -1
        self.stats: WorkerStats | None = None
        self.stats_at = 0.0
        self.overdue: float | None = None
        self.is_terminating = False
        # Ends a process that is told to drain while it starts.
        self._deadline: IDelayedCall | None = None
        self.static: StaticFolder | None = None
        self.exit_reason = self.traceback = ""
        self._reactor = reactor
        self._plan = plan
        self._child: Child | None = None
        self._supplies: ChildResources | None = None
        self._spawned_at = 0.0
        self._hand_over = False
        self._told_to_drain: Deferred[None] = succeed(None)
        self._on_trial = on_trial
        self.serves = False
        #: Whether the cluster stops. Nothing is started again then, or not for long.
        self.cluster_stops = False
        self._child_log = ChildLog(label, self.number, self.generation)
        self._inspector = Inspector(reactor)
        self._watchdog = Watchdog(reactor, patience.hang, label, self._inspector)
        facts = Slot(self, patience, lambda: random.uniform(-1, 1))  # noqa: S311
        self._life = new_lifecycle(facts)

    @property
    def number(self) -> int:
        """The number of the slot."""
        return self._plan.bootstrap.slot

    @property
    def generation(self) -> int:
        """The version of code and settings that its processes run."""
        return self._plan.bootstrap.generation

    @property
    def pid(self) -> int | None:
        """The pid of its process, if there is one."""
        return None if self._child is None else self._child.pid

    @property
    def row(self) -> int | None:
        """The number of its process's row on the scoreboard."""
        return None if self._supplies is None else self._supplies.row

    @property
    def uptime(self) -> float | None:
        """How long its process has been there, in seconds."""
        return None if self._child is None else self.now() - self._spawned_at

    @property
    def silence(self) -> float:
        """The seconds since its process last reported."""
        return self.now() - self.stats_at

    @property
    def lag(self) -> float | None:
        """How late its event loop is: as reported, or as its next report is by now."""
        if self.stats is None:
            return None
        return max(self.stats.lag, self.silence - REPORT_SECONDS)

    @property
    def accepts(self) -> bool:
        """Whether its process takes connections."""
        return self.state == "running" and not self.is_terminating

    def start(self) -> None:
        """Fill the slot."""
        self._life.start()

    def activate(self) -> None:
        """Let a process on trial take the slot."""
        if self._child is not None:
            self._child.activate()

    def drain(self, *, hand_over: bool = False) -> None:
        """
        Empty the slot, gracefully.

        :param hand_over: whether idle connections can be given to other workers.
        """
        self._hand_over = hand_over
        self._life.drain()

    def accepts_nothing(self) -> Deferred[None]:
        """
        Wait until the slot's process, which is draining, accepts nothing any more.

        :return: fires when it has heard that, is gone, or does not hear.
        """
        heard = self._told_to_drain.addTimeout(_HEARING_SECONDS, self._reactor)
        return heard.addErrback(_trap_timeout)

    def drop(self) -> None:
        """Empty the slot at once; what its process was doing is lost."""
        self._life.drain()
        self._end()

    def core_ready(self, ready: bool, *, back: bool) -> None:
        """Tell the slot's process whether the core takes requests."""
        if self._child is not None and self.serves:
            self._child.core_ready(ready, back=back)

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        """Tell the slot's process whether clients should be sent to the cluster."""
        if self._child is not None and self.serves:
            self._child.cluster_health(ready=ready, detail=detail)

    def broken(self, why: str) -> None:
        """Tell the slot's process what is wrong with the code, if anything."""
        if self._child is not None and self.serves:
            self._child.broken(why)

    def reopen_logs(self) -> None:
        """Tell the slot's process that the files of logs have been renamed."""
        if self._child is not None:
            self._child.reopen_logs()

    def adopt(self, connection: socket.socket, door: str = "") -> Deferred[bool]:
        """
        Have the slot's process serve a connection.

        :param connection: stays the caller's, who keeps it open until this fires.
        :param door: the name of the listener that it has come by, if by any.
        :return: fires with whether the process has it.
        """
        if self._child is None:
            return succeed(False)
        return self._child.adopt(connection, door)

    def accept(self, listener: str, listening: socket.socket, *, shared: bool) -> None:
        """Have the slot's process accept a listener's connections from a socket."""
        if self._child is not None and self.serves:
            self._child.accept(listener, listening, shared=shared)

    def refuse(self, listener: str) -> None:
        """Have the slot's process accept no connections of a listener by itself."""
        if self._child is not None and self.serves:
            self._child.refuse(listener)

    def update_affinity(self, how: str) -> None:
        """Tell the slot's process whose requests belong to which worker."""
        if self._child is not None and self.serves:
            self._child.update_affinity(how)

    def stacks(self) -> Deferred[str]:
        """
        Get the stacks and the requests under way of the slot's process.

        :return: fires with a text, which is empty if there is no process.
        """
        if self._child is None:
            return succeed("")
        return self._inspector.inspect(self._child)

    # What the lifecycle decides.

    def entered(self, state: State) -> None:
        """Take note of a new state, and pass it on."""
        self.state = state
        if state == "running":
            self._on_trial = False
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
        plan = self._plan
        try:
            self._supplies = plan.supplier(self.number)
            self._child = execute(
                self._reactor,
                replace(self._supplies.tell(plan.bootstrap), on_trial=self._on_trial),
                plan.environment,
                self._supplies.descriptors,
                self,
                plan.access_log,
            )
        except (OSError, ListenError) as error:
            self._use_up()
            self._log.error(
                "{label} cannot be started: {error}", label=self.label, error=error
            )
            self.exit_reason = f"cannot be started: {error}"
            self._gone()

    def ask_to_drain(self) -> None:
        """Ask the process to finish and leave."""
        if self._child is None:
            return
        self._told_to_drain = self._child.drain(
            spread=self._plan.spread, hand_over=self._hand_over
        )
        if not self.serves:
            # It has nothing to finish, and hears nothing while it imports.
            self._deadline = self.after(_HEARING_SECONDS, self._end_start)

    def kill(self) -> None:
        """End the process at once; the log says what it was too slow for."""
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
        """Tell the reactor's time."""
        return self._reactor.seconds()

    def after(self, seconds: float, then: Callable[[], None]) -> IDelayedCall:
        """Call later."""
        return self._reactor.callLater(
            seconds, guarded(f"end the state of {self.label}")(then)
        )

    def pause(self, seconds: float, then: Callable[[], None]) -> IDelayedCall:
        """Call later, to start the slot again; the log says when."""
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

    # What the process says and does.

    def imported(self, *, has_core: bool) -> None:
        """Pass on whether the application has a core."""
        self.watcher.imported(has_core=has_core)

    def loaded(self) -> None:
        """Hear that the process, which is on trial, waits to be let go on."""
        self.serves = True
        self.watcher.loaded(self)

    def reported(self, stats: WorkerStats) -> None:
        """Hear that the process's event loop runs, and what it does."""
        self.stats, self.stats_at = stats, self.now()
        self._watchdog.reported()

    def hand_over(self, connection: socket.socket, door: str) -> Deferred[bool]:
        """Let another worker serve a connection of the process."""
        return self.watcher.hand_over(self, connection, door)

    def terminating(self) -> None:
        """Called when the process has received SIGTERM: it drains by itself."""
        if self.state != "running":
            return
        self._log.warn(
            "{label} (pid {pid}) has received SIGTERM: it drains, and is replaced then",
            label=self.label,
            pid=self.pid,
        )
        self.is_terminating = True
        self.watcher.entered(self, self.state)

    def ready(self, static: StaticFolder | None) -> None:
        """Hear that the process takes connections."""
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
        """Hear why the process cannot start."""
        self.exit_reason, self.traceback = reason, traceback
        self.watcher.failed(self, loading=loading, reason=reason, traceback=traceback)

    def exited(self, reason: Failure) -> None:
        """Hear that the process is gone."""
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
        """Log a line that the process, or a child of it, wrote to its descriptors."""
        if error:
            self._inspector.printed(line)
        self._child_log.printed(line, error=error)

    def logged(self, event: ChildEvent) -> None:
        """Log an event of the process."""
        self._child_log.logged(event)

    def _use_up(self) -> None:
        supplies, self._supplies = self._supplies, None
        if supplies is not None:
            supplies.gone()

    def _gone(self) -> None:
        if self._on_trial:
            self._life.drain()  # so that it is not started again
        self._life.exited()

    def _end(self) -> None:
        self._watchdog.stop()
        if self._child is not None:
            self._child.signal("KILL")


def _label(bootstrap: Bootstrap) -> str:
    return "core" if bootstrap.role == "core" else f"worker {bootstrap.slot}"


def _trap_timeout(why: Failure) -> None:
    why.trap(defer.TimeoutError)
