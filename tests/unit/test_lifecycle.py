"""What each input does in each state of a slot's life, and when a state is late."""

from itertools import product
from typing import ClassVar

from automat import NoTransition

from tests.unit.living import TIMEOUT, LifecycleCase


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
    INPUTS = ("start", "resume", "ready", "exited", "drain")

    #: What each input does in each state; None if it cannot happen there.
    TABLE: ClassVar[dict[tuple[str, str], list[str] | None]] = {
        ("never started", "start"): ["starting", "spawn!"],
        ("never started", "resume"): ["backoff"],
        ("never started", "ready"): None,
        ("never started", "exited"): None,
        ("never started", "drain"): [],
        ("starting", "start"): None,
        ("starting", "resume"): None,
        ("starting", "ready"): ["running"],
        ("starting", "exited"): ["backoff"],
        ("starting", "drain"): ["draining", "drain!"],
        ("running", "start"): None,
        ("running", "resume"): None,
        ("running", "ready"): None,
        ("running", "exited"): ["backoff"],
        ("running", "drain"): ["draining", "drain!"],
        ("draining", "start"): None,
        ("draining", "resume"): None,
        ("draining", "ready"): [],
        ("draining", "exited"): ["stopped"],
        ("draining", "drain"): [],
        ("backoff", "start"): None,
        ("backoff", "resume"): None,
        ("backoff", "ready"): None,
        ("backoff", "exited"): None,
        ("backoff", "drain"): ["stopped"],
        ("emptied", "start"): ["starting", "spawn!"],
        ("emptied", "resume"): None,
        ("emptied", "ready"): None,
        ("emptied", "exited"): None,
        ("emptied", "drain"): [],
        ("fatal", "start"): None,
        ("fatal", "resume"): None,
        ("fatal", "ready"): None,
        ("fatal", "exited"): None,
        ("fatal", "drain"): ["stopped"],
    }

    def make_fatal(self) -> None:
        self.life.start()
        for _ in range(TIMEOUT.most_crashes):
            self.crash(ready=False)
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
        deadlines |= {"stopped": None, "fatal": TIMEOUT.fatal_pause}
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
