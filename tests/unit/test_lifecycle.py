"""One slot's life, on a clock that only the test moves."""

from collections.abc import Callable
from itertools import product
from typing import ClassVar

from automat import NoTransition
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.lifecycle import Patience, Slot, State, new_lifecycle

#: Round figures, so that a test can say when something happens.
PATIENCE = Patience(
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

    patience = PATIENCE

    def setUp(self) -> None:
        self.world = Recorder()
        self.chance = 0.0
        self.slot = Slot(self.world, self.patience, lambda: self.chance)
        self.life = new_lifecycle(self.slot)

    def begin(self, *inputs: str) -> None:
        """Let these happen, and forget what they did."""
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

    def crash(self, after: float = 0.0) -> None:
        """Start a process, if that is to be done now, and let it die."""
        if self.world.state == "backoff":
            self.world.clock.advance(self.world.timers()[0])
        self.life.ready()
        self.world.clock.advance(after)
        self.life.exited()


class TableTests(LifecycleCase):
    """Every input in every state."""

    #: How a slot gets into each state, and the seconds until that state is late.
    WAYS: ClassVar[dict[str, tuple[tuple[str, ...], float | None]]] = {
        "never started": ((), None),
        "starting": (("start",), 10),
        "running": (("start", "ready"), None),
        "draining": (("start", "ready", "drain"), 5),
        "backoff": (("start", "exited"), 1),
        "emptied": (("start", "drain", "exited"), None),
    }
    INPUTS = ("start", "ready", "exited", "drain")

    #: What each input does in each state; None if it cannot happen there.
    TABLE: ClassVar[dict[tuple[str, str], list[str] | None]] = {
        ("never started", "start"): ["starting", "spawn!"],
        ("never started", "ready"): None,
        ("never started", "exited"): None,
        ("never started", "drain"): [],
        ("starting", "start"): None,
        ("starting", "ready"): ["running"],
        ("starting", "exited"): ["backoff"],
        ("starting", "drain"): ["draining", "drain!"],
        ("running", "start"): None,
        ("running", "ready"): None,
        ("running", "exited"): ["backoff"],
        ("running", "drain"): ["draining", "drain!"],
        ("draining", "start"): None,
        ("draining", "ready"): [],
        ("draining", "exited"): ["stopped"],
        ("draining", "drain"): [],
        ("backoff", "start"): None,
        ("backoff", "ready"): None,
        ("backoff", "exited"): None,
        ("backoff", "drain"): ["stopped"],
        ("emptied", "start"): ["starting", "spawn!"],
        ("emptied", "ready"): None,
        ("emptied", "exited"): None,
        ("emptied", "drain"): [],
        ("fatal", "start"): None,
        ("fatal", "ready"): None,
        ("fatal", "exited"): None,
        ("fatal", "drain"): ["stopped"],
    }

    def make_fatal(self) -> None:
        self.life.start()
        for _ in range(PATIENCE.most_crashes):
            self.crash()
        self.world.clock.advance(0)
        self.assertEqual(self.world.state, "fatal")
        self.world.did.clear()

    def go_to(self, state: str) -> None:
        self.setUp()
        if state == "fatal":
            self.make_fatal()
        else:
            self.begin(*self.WAYS[state][0])

    def test_table_is_whole(self) -> None:
        self.assertEqual(
            set(self.TABLE), set(product([*self.WAYS, "fatal"], self.INPUTS))
        )

    def test_every_input_in_every_state(self) -> None:
        """What cannot happen is an error; all else does just what the table says."""
        for (state, name), did in self.TABLE.items():
            self.go_to(state)
            happen = getattr(self.life, name)
            if did is None:
                self.assertRaises(NoTransition, happen)
                self.assertEqual(self.world.did, [], (state, name))
            else:
                happen()
                self.assertEqual(self.world.did, did, (state, name))

    def test_no_state_keeps_the_timer_of_another(self) -> None:
        """A state has its own deadline, or none."""
        deadlines = {state: late for state, (_, late) in self.WAYS.items()}
        deadlines |= {"stopped": None, "fatal": PATIENCE.fatal_pause}
        for (state, name), did in self.TABLE.items():
            if not did:
                continue
            self.go_to(state)
            self.world.clock.advance(0.25)
            getattr(self.life, name)()
            late = deadlines[self.world.state]
            self.assertEqual(
                self.world.timers(), [] if late is None else [late], (state, name)
            )

    def test_slow_boot_is_killed_once(self) -> None:
        """A process that is not ready in time is killed, and then replaced."""
        self.go_to("starting")
        self.world.clock.advance(9.9)
        self.assertEqual(self.world.did, [])
        self.world.clock.advance(0.1)
        self.assertEqual(self.world.did, ["kill!"])
        self.world.clock.advance(1000)
        self.assertEqual(self.world.did, ["kill!"])
        self.life.exited()
        self.assertEqual(self.world.did, ["kill!", "backoff"])
        self.finish()

    def test_killed_boot_may_be_drained(self) -> None:
        """The exit has not been seen yet when the order to stop comes."""
        self.go_to("starting")
        self.world.clock.advance(10)
        self.life.drain()
        self.assertEqual(self.world.did, ["kill!", "draining", "drain!"])
        self.finish()

    def test_ready_just_before_the_kill(self) -> None:
        """A kill that was too late is a crash like any other."""
        self.go_to("starting")
        self.world.clock.advance(10)
        self.life.ready()
        self.life.exited()
        self.assertEqual(self.world.did, ["kill!", "running", "backoff"])
        self.finish()

    def test_slow_drain_is_killed_once(self) -> None:
        self.go_to("draining")
        self.world.clock.advance(4.9)
        self.assertEqual(self.world.did, [])
        self.world.clock.advance(1000)
        self.assertEqual(self.world.did, ["kill!"])
        self.life.exited()
        self.assertEqual(self.world.did, ["kill!", "stopped"])
        self.finish()

    def test_second_drain_grants_no_more_time(self) -> None:
        self.go_to("draining")
        self.world.clock.advance(4)
        self.life.drain()
        self.world.clock.advance(1)
        self.assertEqual(self.world.did, ["kill!"])
        self.life.exited()

    def test_pause_ends_with_a_start(self) -> None:
        """A worker that dies is replaced, but not at once."""
        self.go_to("backoff")
        self.world.clock.advance(0.9)
        self.assertEqual(self.world.did, [])
        self.world.clock.advance(0.1)
        self.assertEqual(self.world.did, ["starting", "spawn!"])
        self.finish()

    def test_process_that_cannot_be_spawned(self) -> None:
        """Its exit is told while the machine is still about to start it."""
        self.world.on_spawn = self.life.exited
        self.begin()
        self.life.start()
        self.assertEqual(self.world.did, ["starting", "spawn!", "backoff"])
        self.assertEqual(self.world.timers(), [1])
        self.finish()

    def test_restart_of_a_slot(self) -> None:
        """A slot that was emptied can be filled again."""
        self.go_to("emptied")
        self.life.start()
        self.life.ready()
        self.assertEqual(self.world.did, ["starting", "spawn!", "running"])
        self.finish()


class PauseTests(LifecycleCase):
    """How long a slot waits after a crash."""

    patience = Patience(
        pause=1.0,
        growth=2.0,
        longest_pause=8.0,
        spread=0.5,
        steady=30,
        most_crashes=10_000,
    )

    def test_pauses_grow_up_to_the_longest(self) -> None:
        self.begin("start")
        for _ in range(6):
            self.crash()
        self.assertEqual(self.world.pauses, [1, 2, 4, 8, 8, 8])
        self.finish()

    def test_pauses_are_spread(self) -> None:
        """So that slots that died together do not start together."""
        self.begin("start")
        for self.chance in (-1.0, 1.0, 0.5, 1.0):
            self.crash()
        self.assertEqual(self.world.pauses, [0.5, 3.0, 5.0, 12.0])
        self.finish()

    def test_steady_run_starts_over(self) -> None:
        self.begin("start")
        for _ in range(3):
            self.crash()
        self.crash(after=29.9)
        self.crash(after=30)
        self.crash()
        self.assertEqual(self.world.pauses, [1, 2, 4, 8, 1, 2])
        self.finish()

    def test_time_in_boot_is_no_steady_run(self) -> None:
        """Only a process that serves shows that all is well."""
        self.begin("start", "exited")
        self.world.clock.advance(1)
        self.world.clock.advance(50)
        self.life.exited()
        self.assertEqual(self.world.pauses, [1, 2])
        self.finish()

    def test_earlier_run_does_not_count_for_the_next(self) -> None:
        """A slot that was emptied and filled again has to prove itself anew."""
        self.begin("start", "exited")
        self.world.clock.advance(1)
        self.begin("ready", "drain", "exited", "start")
        self.world.clock.advance(40)
        self.life.exited()
        self.assertEqual(self.world.pauses, [1, 2])
        self.finish()

    def test_growth_never_overflows(self) -> None:
        """A slot may go on crashing for years."""
        self.begin("start")
        for _ in range(3000):
            self.slot.next_pause()
        self.crash()
        self.assertEqual(self.world.pauses, [8])
        self.finish()

    def test_usual_figures(self) -> None:
        """0.1 s, half as much again each time, up to 15 s."""
        slot = Slot(self.world, Patience(), lambda: 0.0)
        pauses = [slot.next_pause() for _ in range(20)]
        for n, seconds in enumerate(pauses):
            self.assertAlmostEqual(seconds, min(0.1 * 1.5**n, 15))
        self.assertEqual(pauses[-1], 15)


class FatalTests(LifecycleCase):
    """A slot whose processes crash all the time."""

    def crashes(self, *ages: float) -> None:
        """Let processes die after serving for so many seconds."""
        for age in ages:
            self.crash(after=age)

    def test_many_crashes_in_a_short_time(self) -> None:
        """Five within a minute are too many."""
        self.begin("start")
        self.crashes(0, 0, 0, 0)
        self.assertEqual(self.world.state, "backoff")
        self.crashes(0)
        self.world.clock.advance(0)
        self.assertEqual(self.world.did[-2:], ["backoff", "fatal"])
        self.finish()

    def test_only_the_real_pauses_are_announced(self) -> None:
        """The last crash is not followed by the pause that it would have had."""
        self.begin("start")
        self.crashes(0, 0, 0, 0, 0)
        self.world.clock.advance(0)
        self.assertEqual(self.world.pauses, [1, 2, 4, 8, 100])
        self.finish()

    def test_crashes_far_apart(self) -> None:
        """The window slides: five within 61 seconds are not too many."""
        self.begin("start")
        self.crashes(0)  # at 0 s; the pauses take 1 + 2 + 4 + 8 = 15 s
        self.crashes(0, 0, 0, 45.1)
        self.world.clock.advance(0)
        self.assertEqual(self.world.state, "backoff")
        self.finish()

    def test_window_is_inclusive(self) -> None:
        self.begin("start")
        self.crashes(0, 29, 16, 0, 0)  # with the pauses, 60 s
        self.assertEqual(self.world.clock.seconds(), 60)
        self.world.clock.advance(0)
        self.assertEqual(self.world.state, "fatal")
        self.finish()

    def test_fatal_slot_is_tried_again(self) -> None:
        """Every so often, and one more crash makes it fatal at once."""
        self.begin("start")
        self.crashes(0, 0, 0, 0, 0)
        self.world.clock.advance(0)
        for _ in range(3):
            self.world.did.clear()
            self.world.clock.advance(99.9)
            self.assertEqual(self.world.did, [])
            self.world.clock.advance(0.1)
            self.assertEqual(self.world.did, ["starting", "spawn!"])
            self.crash(after=20)
            self.world.clock.advance(0)
            self.assertEqual(self.world.state, "fatal")
        self.finish()

    def test_steady_run_makes_good(self) -> None:
        """A process that served for long is given all its chances back."""
        self.begin("start")
        self.crashes(0, 0, 0, 0, 0)
        self.world.clock.advance(0)
        self.world.clock.advance(100)
        self.crashes(30, 0, 0, 0)
        self.world.clock.advance(0)
        self.assertEqual(self.world.state, "backoff")
        self.assertEqual(self.world.pauses[-4:], [1, 2, 4, 8])
        self.finish()

    def test_drain_comes_before_giving_up(self) -> None:
        """The order to stop may come in the very moment of the last crash."""
        self.begin("start")
        self.crashes(0, 0, 0, 0, 0)
        self.assertEqual(self.world.state, "backoff")
        self.finish()
        self.world.clock.advance(1000)
        self.assertEqual(self.world.state, "stopped")


class AnyLife(RuleBasedStateMachine):
    """Processes that start, die and stop in any order, and a clock."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Recorder()
        self.world.on_spawn = self.spawned
        slot = Slot(self.world, PATIENCE, lambda: 0.0)
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
