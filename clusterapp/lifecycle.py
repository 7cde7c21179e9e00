"""
The life of one slot, as a state machine that does no I/O.

A slot is stopped, starting, running, draining, in backoff or fatal. What is to
happen in the world goes through `Effects`; what has happened comes back as an
input of `Lifecycle`. Inputs return nothing, so that effects may call them while
a transition is under way: Automat then does them when it has ended.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from automat import TypeMachineBuilder
from twisted.internet.interfaces import IDelayedCall

State = Literal["stopped", "starting", "running", "draining", "backoff", "fatal"]


class Effects(Protocol):
    """What a lifecycle may do to the world."""

    def entered(self, state: State) -> None:
        """Take note that the slot is now in this state."""

    def spawn(self) -> None:
        """Start a process for the slot."""

    def ask_to_drain(self) -> None:
        """Ask the slot's process to finish what it has and to leave."""

    def kill(self) -> None:
        """End the slot's process at once."""

    def now(self) -> float:
        """Tell a time in seconds that never goes backwards."""

    def after(self, seconds: float, then: Callable[[], None]) -> IDelayedCall:
        """Call later; the call can be cancelled."""

    def pause(self, seconds: float, then: Callable[[], None]) -> IDelayedCall:
        """Call later, as `after` does, to start the slot again."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """
    How long to wait for what, in seconds.

    `hang` is how long a process that runs may say nothing; it is not the lifecycle's.
    Crashes are answered by a pause that grows from `pause` by `growth` up to
    `longest_pause`, `spread` of it up or down by chance, and is `pause` again
    after a run of `steady`. When `most_crashes` of processes that were not ready yet
    fall within `crash_window`, the slot is fatal and tried again every `fatal_pause`
    only. Crashes of processes that have served are no reason for that: they may be
    what some request does to any worker.
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
    The facts that a slot keeps from one process to the next.

    `chance` gives a number from -1 to 1, by which pauses are spread.
    """

    effects: Effects
    patience: Patience
    chance: Callable[[], float]
    crashes: deque[float] = field(default_factory=deque)
    pauses: int = 0
    running_since: float | None = None
    given_up: bool = False

    def note_crash(self) -> None:
        """
        Remember the crash of a process that was not ready yet.

        One that was ready shows that processes can be started.
        """
        now = self.effects.now()
        since, self.running_since = self.running_since, None
        if since is not None:
            self.given_up = False
            self.crashes.clear()
            if now - since >= self.patience.steady:
                self.pauses = 0
            return
        self.crashes.append(now)
        while now - self.crashes[0] > self.patience.crash_window:
            self.crashes.popleft()

    def is_fatal(self) -> bool:
        """
        Tell whether the last crashes at the start came too close to each other.

        A slot that was given up once stays so until a process is ready.
        """
        return self.given_up or len(self.crashes) >= self.patience.most_crashes

    def next_pause(self) -> float:
        """Tell how many seconds to wait before the next start."""
        p = self.patience
        seconds = p.pause * p.growth**self.pauses
        if seconds < p.longest_pause:
            self.pauses += 1  # no further: growth to a high power is no float
        return min(seconds, p.longest_pause) * (1 + p.spread * self.chance())


class Lifecycle(Protocol):
    """What can happen to a slot."""

    def start(self) -> None:
        """Fill the slot: the operator or the program asks for it."""

    def ready(self) -> None:
        """Hear that the process can take connections."""

    def exited(self) -> None:
        """Hear that the process is gone."""

    def drain(self) -> None:
        """Empty the slot, gracefully."""

    def _late(self) -> None:
        """The state has lasted as long as it may."""

    def _give_up(self) -> None:
        """The crashes have come too close to each other."""


def _starting_up(life: Lifecycle, slot: Slot) -> IDelayedCall:
    slot.running_since = None
    slot.effects.entered("starting")
    slot.effects.spawn()
    return slot.effects.after(slot.patience.boot, life._late)


def _serving(life: Lifecycle, slot: Slot) -> None:
    slot.running_since = slot.effects.now()
    slot.effects.entered("running")


def _draining_off(life: Lifecycle, slot: Slot) -> IDelayedCall:
    slot.effects.entered("draining")
    slot.effects.ask_to_drain()
    return slot.effects.after(slot.patience.drain, life._late)


def _backing_off(life: Lifecycle, slot: Slot) -> IDelayedCall:
    slot.note_crash()
    slot.effects.entered("backoff")
    if slot.is_fatal():
        return slot.effects.after(0.0, life._give_up)
    return slot.effects.pause(slot.next_pause(), life._late)


def _giving_up(life: Lifecycle, slot: Slot) -> IDelayedCall:
    slot.given_up = True
    slot.effects.entered("fatal")
    return slot.effects.pause(slot.patience.fatal_pause, life._late)


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

    # What cannot change anything any more is heard and let pass.
    for state, inputs in (
        (stopped, (Lifecycle.drain,)),
        (emptied, (Lifecycle.drain,)),
        (draining, (Lifecycle.drain, Lifecycle.ready)),
    ):
        for each in inputs:
            state.upon(each).loop().returns(None)
    return builder.build()


#: Make the machine of one slot; it is stopped until it is told to start.
new_lifecycle: Callable[[Slot], Lifecycle] = _build()
