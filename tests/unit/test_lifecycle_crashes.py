"""How long a slot waits after a crash, and when it is given up."""

from dataclasses import replace

from clusterapp.lifecycle import Slot, SlotTimeouts
from tests.unit.living import TIMEOUT, LifecycleCase


class PauseTests(LifecycleCase):
    """How long a slot waits after a crash."""

    timeouts = SlotTimeouts(
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
        slot = Slot(self.world, SlotTimeouts(), lambda: 0.0)
        pauses = [slot.next_pause() for _ in range(20)]
        for n, seconds in enumerate(pauses):
            self.assertAlmostEqual(seconds, min(0.1 * 1.5**n, 15))
        self.assertEqual(pauses[-1], 15)


class FatalTests(LifecycleCase):
    """A slot whose processes crash whenever they are started."""

    timeouts = replace(TIMEOUT, boot=100)

    def crashes(self, *ages: float) -> None:
        """Crash processes that have been starting for so many seconds."""
        for age in ages:
            self.crash(after=age, ready=False)

    def test_crashes_of_processes_that_were_ready(self) -> None:
        """They do not count: requests may be what ends them, not the start."""
        self.begin("start")
        for _ in range(20):
            self.crash()
            self.world.clock.advance(0)
            self.assertEqual(self.world.state, "backoff")
        self.assertEqual(self.world.pauses[-1], 8)
        self.finish()

    def test_ready_once(self) -> None:
        """A process that is ready makes the slot's crashes at the start forgotten."""
        self.begin("start")
        self.crashes(0, 0, 0, 0)
        self.crash()
        self.crashes(0, 0, 0, 0)
        self.world.clock.advance(0)
        self.assertEqual(self.world.state, "backoff")
        self.finish()

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
            self.crash(after=20, ready=False)
            self.world.clock.advance(0)
            self.assertEqual(self.world.state, "fatal")
        self.finish()

    def test_steady_run_makes_good(self) -> None:
        """A process that served for long is given all its chances back."""
        self.begin("start")
        self.crashes(0, 0, 0, 0, 0)
        self.world.clock.advance(0)
        self.world.clock.advance(100)
        self.crash(after=30)
        self.crashes(0, 0, 0)
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
