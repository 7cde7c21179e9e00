"""
The life of one slot, as a state machine that does no I/O.

A slot is stopped, starting, running, draining, in backoff or fatal. Actions go
through `SlotEffects`; events come back as inputs of `Lifecycle`. Inputs return nothing,
so that effects may call them while a transition is under way: Automat then
processes them when it has ended.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from automat import TypeMachineBuilder
from twisted.internet.interfaces import IDelayedCall

State = Literal["stopped", "starting", "running", "draining", "backoff", "fatal"]


class SlotEffects(Protocol):
    """The actions of a lifecycle."""

    def entered(self, state: State) -> None:
        """Called when the slot has entered a state."""

    def spawn(self) -> None:
        """Start a process in the slot."""

    def ask_to_drain(self) -> None:
        """Ask the slot's process to drain and exit."""

    def kill(self) -> None:
        """Kill the slot's process at once."""

    def now(self) -> float:
        """Return a monotonic time in seconds."""

    def after(self, seconds: float, then: Callable[[], None]) -> IDelayedCall:
        """Schedule a call; it can be cancelled."""

    def pause(self, seconds: float, then: Callable[[], None]) -> IDelayedCall:
        """Schedule the next start of the slot, as `after` does."""


@dataclass(frozen=True, kw_only=True)
class SlotTimeouts:
    """
    Timeouts, and the backoff after crashes; times are in seconds.

    `hang` is how long a running process may go without a report; the watchdog uses it,
    not the lifecycle. After a crash the slot waits: from `pause`, growing by `growth`
    up to `longest_pause`, varied by `spread` of it at random, and back at `pause`
    after a run of `steady`. When `most_crashes` of processes that were not ready yet
    fall within `crash_window`, the slot is fatal and only retried every `fatal_pause`.
    Crashes of processes that have served do not count for that: a certain request may
    crash any worker.
    """

    boot: float = 60.0
    drain: float = 30.0
    hang: float = 30.0
    pause: float = 0.1
    growth: float = 1.5
    longest_pause: float = 15.0
    spread: float = 0.2
    steady: float = 30.0
    most_crashes: int = 5
    crash_window: float = 60.0
    fatal_pause: float = 60.0


@dataclass
class Slot:
    """
    The state that a slot keeps from one process to the next.

    `chance` returns a random number from -1 to 1, by which pauses are spread.
    """

    effects: SlotEffects
    timeouts: SlotTimeouts
    chance: Callable[[], float]
    crashes: deque[float] = field(default_factory=deque)
    pauses: int = 0
    running_since: float | None = None
    given_up: bool = False

    def note_crash(self) -> None:
        """
        Record the crash of a process, if it was not ready yet.

        The crash of a ready one clears the record: processes can be started.
        """
        now = self.effects.now()
        since, self.running_since = self.running_since, None
        if since is not None:
            self.given_up = False
            self.crashes.clear()
            if now - since >= self.timeouts.steady:
                self.pauses = 0
            return
        self.crashes.append(now)
        while now - self.crashes[0] > self.timeouts.crash_window:
            self.crashes.popleft()

    def inherit(self, before: "Slot") -> None:
        """Continue the record of a slot whose process leaves it."""
        self.crashes, self.pauses = deque(before.crashes), before.pauses
        self.running_since, self.given_up = before.running_since, before.given_up

    def is_fatal(self) -> bool:
        """
        Return whether too many crashes at the start fell within the crash window.

        A slot that is fatal once stays so until a process has become ready.
        """
        return self.given_up or len(self.crashes) >= self.timeouts.most_crashes

    def next_pause(self) -> float:
        """Return the seconds to wait before the next start; each pause is longer."""
        p = self.timeouts
        seconds = p.pause * p.growth**self.pauses
        if seconds < p.longest_pause:
            self.pauses += 1  # no further: growth to a high power overflows a float
        return min(seconds, p.longest_pause) * (1 + p.spread * self.chance())


class Lifecycle(Protocol):
    """The inputs of the state machine of a slot."""

    def start(self) -> None:
        """Fill the slot, as requested by an operator or the program."""

    def resume(self) -> None:
        """Fill the slot as after an exit of its process, which leaves by itself."""

    def ready(self) -> None:
        """Called when the slot's process accepts connections."""

    def exited(self) -> None:
        """Called when the slot's process has exited."""

    def drain(self) -> None:
        """Drain the slot and leave it empty."""

    def _late(self) -> None:
        """Called when the timeout of the state, or its pause, is over."""

    def _give_up(self) -> None:
        """Called when too many crashes fell within the crash window."""


def _starting_up(life: Lifecycle, slot: Slot) -> IDelayedCall:
    slot.running_since = None
    slot.effects.entered("starting")
    slot.effects.spawn()
    return slot.effects.after(slot.timeouts.boot, life._late)


def _serving(life: Lifecycle, slot: Slot) -> None:
    slot.running_since = slot.effects.now()
    slot.effects.entered("running")


def _draining_off(life: Lifecycle, slot: Slot) -> IDelayedCall:
    slot.effects.entered("draining")
    slot.effects.ask_to_drain()
    return slot.effects.after(slot.timeouts.drain, life._late)


def _backing_off(life: Lifecycle, slot: Slot) -> IDelayedCall:
    slot.note_crash()
    slot.effects.entered("backoff")
    if slot.is_fatal():
        return slot.effects.after(0.0, life._give_up)
    return slot.effects.pause(slot.next_pause(), life._late)


def _giving_up(life: Lifecycle, slot: Slot) -> IDelayedCall:
    slot.given_up = True
    slot.effects.entered("fatal")
    return slot.effects.pause(slot.timeouts.fatal_pause, life._late)


def _empty(life: Lifecycle, slot: Slot) -> None:
    slot.effects.entered("stopped")


def _build() -> Callable[[Slot], Lifecycle]:
    builder = TypeMachineBuilder(Lifecycle, Slot)
    stopped = builder.state("stopped")
    emptied = builder.state("emptied", _empty)
    starting = builder.state("starting", _starting_up)
    running = builder.state("running", _serving)
    draining = builder.state("draining", _draining_off)
    backoff = builder.state("backoff", _backing_off)
    fatal = builder.state("fatal", _giving_up)

    stopped.upon(Lifecycle.start).to(starting).returns(None)
    stopped.upon(Lifecycle.resume).to(backoff).returns(None)
    emptied.upon(Lifecycle.start, nodata=True).to(starting).returns(None)
    running.upon(Lifecycle.drain, nodata=True).to(draining).returns(None)
    running.upon(Lifecycle.exited, nodata=True).to(backoff).returns(None)
    backoff.upon(Lifecycle._late, nodata=True).to(starting).returns(None)
    fatal.upon(Lifecycle._late, nodata=True).to(starting).returns(None)

    @starting.upon(Lifecycle.ready).to(running)
    @starting.upon(Lifecycle.exited).to(backoff)
    @starting.upon(Lifecycle.drain).to(draining)
    @draining.upon(Lifecycle.exited).to(emptied)
    @backoff.upon(Lifecycle.drain).to(emptied)
    @backoff.upon(Lifecycle._give_up).to(fatal)
    @fatal.upon(Lifecycle.drain).to(emptied)
    def in_time(life: Lifecycle, slot: Slot, deadline: IDelayedCall) -> None:
        if deadline.active():
            deadline.cancel()

    @starting.upon(Lifecycle._late).loop()
    @draining.upon(Lifecycle._late).loop()
    def too_late(life: Lifecycle, slot: Slot, deadline: IDelayedCall) -> None:
        slot.effects.kill()

    # Inputs that change nothing in a state are accepted and ignored there.
    for state, inputs in (
        (stopped, (Lifecycle.drain,)),
        (emptied, (Lifecycle.drain,)),
        (draining, (Lifecycle.drain, Lifecycle.ready)),
    ):
        for each in inputs:
            state.upon(each).loop().returns(None)
    return builder.build()


#: Creates the state machine of one slot, in state stopped.
new_lifecycle: Callable[[Slot], Lifecycle] = _build()
