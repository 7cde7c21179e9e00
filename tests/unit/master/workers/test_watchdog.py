"""The watchdog of a slot, with processes that exist in memory only."""

from twisted.logger import LogLevel

from clusterapp.channel.inspection import END
from clusterapp.spawning import execute
from tests.unit.fakes import FakeChild
from tests.unit.master.workers.test_child_slot import TIMEOUT, SlotCase

HANG = TIMEOUT.hang


class WatchdogCase(SlotCase):
    """A slot whose process runs, and answers when it is asked."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(execute, "_catches", lambda *_: True)
        self.child = self.running()

    def reports(self, seconds: float) -> None:
        """Send a report of the process every second, for some seconds."""
        for _ in range(int(seconds)):
            self.reactor.advance(1)
            self.child.report()

    def let_hang(self) -> None:
        """Advance the clock beyond the hang timeout, without a report."""
        self.passes(HANG)
        self.reactor.advance(0.25)

    def passes(self, seconds: float) -> None:
        """Advance the clock in steps of half a second."""
        self.reactor.pump([0.5] * int(2 * seconds))

    def answer(self, child: FakeChild) -> None:
        """Say on stderr what the process is doing."""
        child.prints(f"  GET /block\n{END}\n".encode(), fd=2)

    def errors(self) -> list[str]:
        return self.log.lines(LogLevel.error)


class HangTests(WatchdogCase):
    """A process that says nothing any more."""

    def test_it_is_found(self) -> None:
        """The log says so, and the process is asked what it does."""
        self.reports(3)
        self.let_hang()
        [line] = self.errors()
        self.assertEqual(
            line,
            "worker 3 (pid 1000) hangs: its event loop has not turned for 30.2 s;"
            " what it does follows, then it is aborted",
        )
        self.assertEqual((self.child.signals, self.child.asked), (["CONT"], b"?"))

    def test_it_is_aborted_when_it_has_answered(self) -> None:
        self.let_hang()
        self.answer(self.child)
        self.assertEqual(self.child.signals, ["CONT", "ABRT"])
        self.child.exit(signal=6)
        self.assertEqual(self.slot.state, "backoff")
        self.reactor.advance(1)
        self.reactor.children[-1].say_ready()
        self.assertEqual(self.slot.state, "running")
        self.assertIn("[worker 3 generation 7]   GET /block", self.log.text())

    def test_silent_one(self) -> None:
        """Its stacks are asked for in another way; it is killed within two seconds."""
        self.let_hang()
        self.reactor.pump([0.05] * 35)
        self.assertEqual(self.child.signals, ["CONT", "USR2", "ABRT", "KILL"])
        self.assertEqual(
            self.errors()[-1], "worker 3 (pid 1000) does not abort: killing it"
        )
        self.child.exit(signal=9)
        self.slot.drain()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_talkative_one(self) -> None:
        """What it writes all the time does not keep it alive."""
        self.let_hang()
        for _ in range(35):
            self.child.prints(b"still here\n", fd=2)
            self.reactor.advance(0.05)
        self.assertEqual(self.child.signals, ["CONT", "ABRT", "KILL"])

    def test_it_wakes_up_too_late(self) -> None:
        """What was found to hang is replaced, even if it could go on."""
        self.let_hang()
        self.child.report()
        self.answer(self.child)
        self.child.report()
        self.reactor.advance(1)
        self.assertEqual(self.child.signals, ["CONT", "ABRT", "KILL"])

    def test_it_dies_while_it_is_asked(self) -> None:
        """Its successor gets none of the signals."""
        self.let_hang()
        self.child.exit(signal=9)
        self.reactor.advance(1)
        successor = self.reactor.children[-1]
        successor.say_ready()
        self.reactor.advance(3)
        self.assertEqual((self.child.signals, successor.signals), (["CONT"], []))

    def test_while_it_drains(self) -> None:
        """Whichever time is over first."""
        slot = self.slot = self.make("worker", 4, drain=100)
        self.child = self.running()
        slot.drain()
        self.reports(50)
        self.assertEqual(self.child.signals, [])
        self.let_hang()
        self.assertEqual(self.child.signals, ["CONT"])

    def test_it_is_being_killed(self) -> None:
        """Nothing is sent after SIGKILL, and nothing is said."""
        self.slot.drop()
        self.let_hang()
        self.assertEqual(self.child.signals[0], "KILL")
        self.assertNotIn("hangs", self.log.text())

    def test_it_is_killed_while_it_is_asked(self) -> None:
        self.let_hang()
        self.slot.drop()
        self.answer(self.child)
        self.reactor.advance(2)
        self.assertEqual(self.child.signals, ["CONT", "KILL"])

    def test_it_is_killed_while_it_aborts(self) -> None:
        self.let_hang()
        self.answer(self.child)
        self.slot.drop()
        self.reactor.advance(2)
        self.assertEqual(self.child.signals, ["CONT", "ABRT", "KILL"])


class InnocentTests(WatchdogCase):
    """Processes that no one should accuse."""

    def assert_spared(self) -> None:
        self.assertEqual((self.child.signals, self.errors()), ([], []))

    def test_it_reports(self) -> None:
        self.reports(100)
        self.assert_spared()

    def test_it_was_silent_for_less(self) -> None:
        for _ in range(5):
            self.reactor.advance(HANG - 0.1)
            self.child.report()
        self.assert_spared()

    def test_silence_counts_from_the_last_report(self) -> None:
        self.reports(29)
        self.passes(HANG - 0.5)
        self.assert_spared()
        self.reactor.advance(0.5)
        self.reactor.advance(0.25)
        self.assertEqual(self.child.signals, ["CONT"])

    def test_boot(self) -> None:
        """A process that starts has the boot timeout, and no other."""
        self.slot = self.make("worker", 4, boot=100)
        self.child = self.started()
        self.child.report()
        self.reactor.advance(99)
        self.assert_spared()
        self.child.say_ready()
        self.reactor.advance(HANG - 1)
        self.assert_spared()

    def test_report_that_was_not_read_yet(self) -> None:
        """The time was over before the master came to read it."""
        self.reactor.advance(HANG + 0.9)
        self.child.report()
        self.reactor.advance(0.25)
        self.reactor.advance(HANG - 1)
        self.assert_spared()

    def test_second_report_that_was_not_read_yet(self) -> None:
        """The first does not count against it."""
        for _ in range(2):
            self.passes(HANG)
            self.child.report()
            self.reactor.advance(0.25)
        self.assert_spared()

    def test_master_stood_still(self) -> None:
        """Everyone gets a whole new period."""
        self.reactor.advance(HANG + 1.1)
        self.reactor.advance(HANG - 0.1)
        self.assert_spared()
        self.reactor.advance(0.1)
        self.reactor.advance(0.25)
        self.assertEqual(self.child.signals, ["CONT"])

    def test_master_stood_still_when_the_time_was_over(self) -> None:
        self.reactor.advance(HANG)
        self.reactor.advance(60)
        self.reactor.advance(HANG - 0.1)
        self.assert_spared()

    def test_exit(self) -> None:
        """No timer of it is left, nor what it said of itself."""
        self.child.report()
        self.child.exit(status=1)
        self.assertIsNone(self.slot.stats)
        self.slot.drain()
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class PulseTests(WatchdogCase):
    """What is known of a process."""

    def test_last_report(self) -> None:
        self.assertIsNone(self.slot.stats)
        self.reports(2)
        self.child.report(requests=5)
        self.reactor.advance(0.5)
        assert self.slot.stats is not None
        self.assertEqual((self.slot.stats.requests, self.slot.stats_at), (5, 2.0))
