"""One slot's life, on a clock that only the test moves."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.lifecycle import Slot, SlotTimeouts, State, new_lifecycle

#: Round figures, so that a test can say when something happens.
TIMEOUT = SlotTimeouts(
    boot=10,
    drain=5,
    pause=1,
    growth=2,
    longest_pause=8,
    spread=0.5,
    steady=30,
    most_crashes=5,
    crash_window=60,
    fatal_pause=100,
)


class Recorder:
    """A world that writes down what a lifecycle does to it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.did: list[str] = []
        self.state: State = "stopped"
        self.pauses: list[float] = []
        self.on_spawn: Callable[[], None] = lambda: None

    def entered(self, state: State) -> None:
        self.state = state
        self.did.append(state)

    def spawn(self) -> None:
        self.did.append("spawn!")
        self.on_spawn()

    def ask_to_drain(self) -> None:
        self.did.append("drain!")

    def kill(self) -> None:
        self.did.append("kill!")

    def now(self) -> float:
        return self.clock.seconds()

    def after(self, seconds: float, then: Callable[[], None]) -> IDelayedCall:
        return self.clock.callLater(seconds, then)

    def pause(self, seconds: float, then: Callable[[], None]) -> IDelayedCall:
        self.pauses.append(seconds)
        return self.after(seconds, then)

    def timers(self) -> list[float]:
        """In how many seconds something is to happen."""
        return [
            call.getTime() - self.clock.seconds()
            for call in self.clock.getDelayedCalls()
        ]


class LifecycleCase(SynchronousTestCase):
    """A slot, and no timer left when the test ends."""

    timeouts = TIMEOUT

    def setUp(self) -> None:
        self.world = Recorder()
        self.chance = 0.0
        self.slot = Slot(self.world, self.timeouts, lambda: self.chance)
        self.life = new_lifecycle(self.slot)

    def begin(self, *inputs: str) -> None:
        """Apply these inputs to the lifecycle, and clear the recorded effects."""
        for each in inputs:
            getattr(self.life, each)()
        self.world.did.clear()

    def finish(self) -> None:
        """Empty the slot; then no timer may be left."""
        self.life.drain()
        if self.world.state == "draining":
            self.life.exited()
        self.assertEqual(self.world.state, "stopped")
        self.assertEqual(self.world.timers(), [])

    def crash(self, after: float = 0.0, *, ready: bool = True) -> None:
        """
        Start a process, if that is to be done now, and let it die.

        :param after: for how many seconds it has run, or has been starting.
        :param ready: whether it is ready at once, or never is.
        """
        if self.world.state == "backoff":
            self.world.clock.advance(self.world.timers()[0])
        if ready:
            self.life.ready()
        self.world.clock.advance(after)
        self.life.exited()
