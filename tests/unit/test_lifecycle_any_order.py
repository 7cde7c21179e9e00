"""What holds of a slot's life in whatever order its events come."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.lifecycle import Slot, new_lifecycle
from tests.unit.living import TIMEOUT, Recorder


class AnyLife(RuleBasedStateMachine):
    """Processes that start, die and stop in any order, and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Recorder()
        self.world.on_spawn = self.spawned
        slot = Slot(self.world, TIMEOUT, lambda: 0.0)
        self.life = new_lifecycle(slot)
        self.processes = 0
        self.asked_ready = False

    def spawned(self) -> None:
        self.processes += 1
        self.asked_ready = False

    @rule()
    @precondition(lambda self: self.world.state == "stopped")
    def start(self) -> None:
        self.life.start()

    @rule()
    def drain(self) -> None:
        self.life.drain()

    @rule()
    @precondition(lambda self: self.processes and not self.asked_ready)
    def ready(self) -> None:
        self.asked_ready = True
        self.life.ready()

    @rule()
    @precondition(lambda self: self.processes)
    def exited(self) -> None:
        self.processes -= 1
        self.life.exited()

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 5.0, 10.0, 31.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @invariant()
    def never_two_processes(self) -> None:
        assert self.processes in (0, 1)

    @invariant()
    def a_process_in_just_these_states(self) -> None:
        with_process = self.world.state in {"starting", "running", "draining"}
        assert bool(self.processes) == with_process

    @invariant()
    def at_most_one_timer_and_none_when_stopped(self) -> None:
        timers = self.world.timers()
        assert len(timers) <= 1
        if self.world.state in {"stopped", "running"}:
            assert not timers
        if self.world.state in {"backoff", "fatal"}:
            assert timers

    def teardown(self) -> None:
        """Whatever happened: a drain ends, once the process has gone."""
        self.life.drain()
        if self.processes:
            self.exited()
        assert self.world.state == "stopped"
        assert not self.world.timers()


class AnyOrderTests(SynchronousTestCase):
    """What holds whatever happens."""

    def test_any_order_of_events(self) -> None:
        """Never two processes at once, never a timer too many, always an end."""
        run_state_machine_as_test(
            AnyLife, settings=settings(max_examples=50, deadline=None)
        )
