"""One slot of the master: the process that fills it, and its lifecycle."""

import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.channel.ends import Pulse
from clusterapp.interfaces import IClusterReactor
from clusterapp.lifecycle import Patience, Slot, State, new_lifecycle
from clusterapp.spawning.execute import Child, execute


@dataclass(frozen=True)
class Plan:
    """
    What a slot is filled with.

    :param bootstrap: what the child is told.
    :param sockets: the listening sockets that it inherits, by name.
    :param access_log: a descriptor of the access log that it inherits; None if the
        bootstrap says all that there is to say of one.
    """

    bootstrap: Bootstrap
    sockets: Mapping[str, socket.socket]
    access_log: int | None = None


class Watcher(Protocol):
    """Who hears of a slot."""

    def entered(self, slot: "ChildSlot", state: State) -> None:
        """Hear that a slot is in another state."""

    def failed(
        self, slot: "ChildSlot", *, loading: bool, reason: str, traceback: str
    ) -> None:
        """Hear why a slot's process cannot start."""


class ChildSlot:
    """
    A slot: it drives a lifecycle, and does in the world what that decides.

    It is the lifecycle's `Effects` and the child's `ProcessEvents` at once.
    """

    _log = Logger()

    def __init__(
        self, reactor: IClusterReactor, plan: Plan, patience: Patience, watcher: Watcher
    ) -> None:
        self.state: State = "stopped"
        self.label = _label(plan.bootstrap)
        self._reactor = reactor
        self._plan = plan
        self._watcher = watcher
        self._child: Child | None = None
        self._spawned_at = 0.0
        facts = Slot(self, patience, lambda: random.uniform(-1, 1))  # noqa: S311
        self._life = new_lifecycle(facts)

    def start(self) -> None:
        """Fill the slot."""
        self._life.start()

    def drain(self) -> None:
        """Empty the slot, gracefully."""
        self._life.drain()

    def drop(self) -> None:
        """Empty the slot at once; what its process was doing is lost."""
        self._life.drain()
        self._signal("KILL")

    def core_ready(self, ready: bool, *, back: bool = False) -> None:
        """Tell the slot's process whether the core takes requests."""
        if self.state == "running" and self._child is not None:
            self._child.core_ready(ready, back=back)

    def reopen_logs(self) -> None:
        """Tell the slot's process that the files of logs have been renamed."""
        if self._child is not None:
            self._child.reopen_logs()

    # What the lifecycle decides.

    def entered(self, state: State) -> None:
        """Take note of a new state, and pass it on."""
        self.state = state
        self._watcher.entered(self, state)

    def spawn(self) -> None:
        """Start a process for the slot."""
        self._spawned_at = self.now()
        try:
            self._child = execute(
                self._reactor,
                self._plan.bootstrap,
                self._plan.sockets,
                self,
                self._plan.access_log,
            )
        except OSError as error:
            self._log.error(
                "{label} cannot be started: {error}", label=self.label, error=error
            )
            self._life.exited()

    def ask_to_drain(self) -> None:
        """Ask the process to finish and leave."""
        if self._child is not None:
            self._child.drain(spread=0.0, hand_over=False)

    def kill(self) -> None:
        """End the process at once; the log says what it was too slow for."""
        self._log.error(
            "{label} (pid {pid}) takes too long in state {state!r}: killing it",
            label=self.label,
            pid=self._child and self._child.pid,
            state=self.state,
        )
        self._signal("KILL")

    def now(self) -> float:
        """Tell the reactor's time."""
        return self._reactor.seconds()

    def after(self, seconds: float, then: Callable[[], None]) -> IDelayedCall:
        """Call later."""
        return self._reactor.callLater(seconds, then)

    def pause(self, seconds: float, then: Callable[[], None]) -> IDelayedCall:
        """Call later, to start the slot again; the log says when."""
        why = "crashes too often and " if self.state == "fatal" else ""
        self._log.info(
            "{label} {why}is started again in {seconds:.2f} s",
            label=self.label,
            why=why,
            seconds=seconds,
        )
        return self.after(seconds, then)

    # What the process says and does.

    def loaded(self) -> None:
        """Hear that the process, which is on trial, waits to be let go on."""

    def reported(self, pulse: Pulse) -> None:
        """Hear that the process's event loop runs, and what it does."""

    def hand_over(self, connection: socket.socket) -> Deferred[bool]:
        """Let another worker serve a connection of the process."""
        connection.close()
        return succeed(False)

    def ready(self) -> None:
        """Hear that the process takes connections."""
        self._log.info(
            "{label} is ready after {seconds:.2f} s (pid {pid})",
            label=self.label,
            seconds=self.now() - self._spawned_at,
            pid=self._child and self._child.pid,
        )
        self._life.ready()

    def failed(self, *, loading: bool, reason: str, traceback: str) -> None:
        """Hear why the process cannot start."""
        self._watcher.failed(self, loading=loading, reason=reason, traceback=traceback)

    def exited(self, reason: Failure) -> None:
        """Hear that the process is gone."""
        pid = self._child and self._child.pid
        if self._child is not None:
            self._child.close()
            self._child = None
        log = self._log.info if self.state == "draining" else self._log.error
        log(
            "{label} (pid {pid}) left with {how}",
            label=self.label,
            pid=pid,
            how=_how(reason),
        )
        self._life.exited()

    def printed(self, line: str, *, error: bool) -> None:
        """Put a line that the process wrote into the master's log."""
        log = self._log.warn if error else self._log.info
        log(
            "[{label} generation {generation}] {line}",
            label=self.label,
            slot=self._plan.bootstrap.slot,
            generation=self._plan.bootstrap.generation,
            line=line,
        )

    def _signal(self, name: str) -> None:
        if self._child is not None:
            self._child.signal(name)


def _label(bootstrap: Bootstrap) -> str:
    return "core" if bootstrap.role == "core" else f"worker {bootstrap.slot}"


def _how(reason: Failure) -> str:
    if isinstance(reason.value, ProcessTerminated) and reason.value.signal is not None:
        return f"signal {reason.value.signal}"
    return f"status {getattr(reason.value, 'exitCode', None)}"
