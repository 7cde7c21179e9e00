"""Workers that receive SIGTERM from somebody else, and what takes their slots."""

from twisted.logger import LogLevel

from clusterapp.lifecycle import Slot, new_lifecycle
from tests.unit.fakes import FakeChild
from tests.unit.living import LifecycleCase
from tests.unit.master.masters import OperationCase

NOW = (
    "worker {} (pid {}) has received SIGTERM: it drains, and its replacement starts now"
)
THEN = "{} (pid {}) has received SIGTERM: it drains, and is replaced then"

#: More than the first pause before a restart, in seconds.
SOON = 0.15


class SigtermCase(OperationCase):
    """What the tests below do and look at."""

    def terminate(self, *children: FakeChild) -> None:
        """Send `Terminating` from children, as after SIGTERM."""
        for child in children:
            child.end.terminating()
            child.flush()

    def started_after(self, number: int, seconds: float = SOON) -> list[FakeChild]:
        """Advance the clock; return the children started after so many others."""
        self.reactor.advance(seconds)
        return self.reactor.children[number:]

    def pids(self, group: str = "workers") -> list[object]:
        return [each["pid"] for each in self.operations.status()[group]]


class ReplacementTests(SigtermCase):
    """The slot has another process before the old one has left."""

    def test_replaced_while_it_drains(self) -> None:
        old, other = self.run_master()
        self.terminate(old)
        [new] = self.started_after(2)
        self.assertTrue(old.alive)
        self.assertEqual(new.bootstrap["slot"], 0)
        self.assertIs(new.bootstrap["as_canary"], False)
        self.assertEqual(old.drains, [(5.0, True)])
        self.assertEqual(self.pids(), [new.pid, other.pid])
        self.assertEqual(self.pids("retiring"), [old.pid])
        [retiring] = self.operations.status()["retiring"]
        self.assertEqual(retiring["state"], "draining")
        new.say_ready()
        status = self.operations.status()["workers"][0]
        self.assertEqual((status["state"], status["restarts"]), ("running", 1))
        old.exit()
        self.assertEqual(self.pids("retiring"), [])
        self.assertEqual(self.started_after(3, 20), [])
        self.assertIn(NOW.format(0, old.pid), self.log.lines(LogLevel.warn))
        self.assertEqual(self.log.lines(LogLevel.error), [])
        self.finish()

    def test_all_at_once(self) -> None:
        old = self.run_master()
        self.terminate(*old)
        new = self.started_after(2)
        # In any order: their pauses are spread at random.
        self.assertEqual({each.bootstrap["slot"] for each in new}, {0, 1})
        self.assertEqual(self.pids("retiring"), [each.pid for each in old])
        self.assertFalse(self.operations.health().ready)
        for child in new:
            child.say_ready()
        self.assertTrue(self.operations.health().ready)
        self.finish()

    def test_replacement_crashes(self) -> None:
        """It is started again, whether the old one still drains or not."""
        [old] = self.run_master(workers=1)
        self.terminate(old)
        [new] = self.started_after(1)
        new.exit(status=1)
        [again] = self.started_after(2, 0.3)
        self.assertTrue(old.alive)
        again.say_ready()
        self.assertTrue(self.operations.health().ready)
        self.finish()

    def test_killed_at_the_graceful_timeout(self) -> None:
        """One that does not leave, as after a drain."""
        [old] = self.run_master(workers=1, graceful_timeout=5)
        self.terminate(old)
        [new] = self.started_after(1)
        new.say_ready()
        self.reactor.advance(6)
        self.assertEqual(old.signals, ["KILL"])
        self.assertEqual(new.signals, [])
        self.finish()

    def test_again_and_again(self) -> None:
        """The pauses grow as after exits; the slot is never given up."""
        [child] = self.run_master(workers=1)
        for count in range(1, 21):
            self.terminate(child)
            child.exit()
            self.reactor.advance(20)
            child = self.child_in(0)
            self.assertEqual(len(self.reactor.children), count + 1)
            child.say_ready()
        lines = [line for line in self.log.lines() if "is started again" in line]
        pauses = [float(line.split()[-2]) for line in lines]
        self.assertEqual(len(pauses), 20)
        self.assertLess(pauses[0], SOON)
        self.assertGreater(pauses[-1], 10)
        self.assertNotIn("crashes too often", "".join(lines))
        [worker] = self.operations.status()["workers"]
        self.assertEqual(worker["restarts"], 20)
        self.finish()


class LaterTests(SigtermCase):
    """What has to wait for something else."""

    def test_twice(self) -> None:
        """No slot has three processes: a replacement waits for who drains."""
        [first] = self.run_master(workers=1)
        self.terminate(first)
        [second] = self.started_after(1)
        second.say_ready()
        self.terminate(second)
        self.assertIn(THEN.format("worker 0", second.pid), self.log.lines())
        self.assertEqual(self.started_after(2, 1), [])
        first.exit()
        [third] = self.started_after(2, 0.3)
        self.assertIn(
            f"worker 0 (pid {second.pid}) still drains: its replacement starts now",
            self.log.lines(),
        )
        self.assertEqual(self.pids("retiring"), [second.pid])
        third.say_ready()
        second.exit()
        self.assertEqual(self.started_after(3, 20), [])
        self.finish()

    def test_leaves_before_its_turn(self) -> None:
        """Then it is replaced as after any exit, once."""
        [first] = self.run_master(workers=1)
        self.terminate(first)
        [second] = self.started_after(1)
        second.say_ready()
        self.terminate(second)
        second.exit()
        [third] = self.started_after(2, 0.3)
        first.exit()
        self.assertEqual(self.started_after(3, 1), [])
        third.say_ready()
        self.finish()

    def test_while_it_is_replaced(self) -> None:
        """What is on trial takes the slot, and nothing else is started."""
        [old] = self.run_master(workers=1)
        judged = self.operations.restart(0, self.tell)
        self.terminate(old)
        self.assertEqual(self.started_after(2, 1), [])
        new = self.pass_trial()
        self.assertTrue(self.verdict(judged).ok)
        self.assertFalse(old.alive)
        self.assertEqual(self.pids(), [new.pid])
        self.assertEqual(self.started_after(2, 20), [])
        self.finish()

    def test_while_its_successor_fails(self) -> None:
        """Then it is replaced as if nothing had been tried."""
        [old] = self.run_master(workers=1)
        judged = self.operations.restart(0, self.tell)
        self.terminate(old)
        self.newest().exit(status=1)
        self.assertFalse(self.verdict(judged).ok)
        [_, new] = self.started_after(1)
        self.assertTrue(old.alive)
        new.say_ready()
        self.assertEqual(self.pids(), [new.pid])
        self.assertEqual(self.pids("retiring"), [old.pid])
        self.finish()

    def test_while_its_successor_fails_and_drains(self) -> None:
        """The one that has failed its trial leaves first."""
        [old] = self.run_master(workers=1)
        judged = self.operations.restart(0, self.tell)
        self.terminate(old)
        failed = self.newest()
        failed.say_loaded()
        self.answer_probe(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        self.assertFalse(self.verdict(judged).ok)
        self.assertEqual(self.started_after(2, 0.5), [])
        failed.exit()
        [new] = self.started_after(2)
        self.assertTrue(old.alive)
        new.say_ready()
        self.finish()

    def test_on_trial(self) -> None:
        """A canary fails its trial when it exits; the running worker keeps the slot."""
        [old] = self.run_master(workers=1)
        judged = self.operations.restart(0, self.tell)
        new = self.newest()
        self.terminate(new)
        self.assertNoResult(judged)
        new.exit()
        self.assertFalse(self.verdict(judged).ok)
        self.assertEqual(self.pids(), [old.pid])
        self.assertEqual(self.started_after(2, 1), [])
        self.finish()

    def test_restart_of_a_replaced_one(self) -> None:
        """A replacement that still starts makes way, as anything in the slot does."""
        [old] = self.run_master(workers=1)
        self.terminate(old)
        [first] = self.started_after(1)
        judged = self.operations.restart(0, self.tell)
        new = self.newest()
        new.say_loaded()
        self.answer_probe()
        new.say_ready()
        self.reactor.advance(1.5)
        self.assertEqual(first.signals, ["KILL"])
        first.exit(signal=9)
        self.assertTrue(self.verdict(judged).ok)
        self.assertEqual(self.pids(), [new.pid])
        self.finish()

    def test_drained_by_an_operator(self) -> None:
        """The slot stays empty."""
        old, _ = self.run_master()
        judged = self.operations.drain(0, self.tell)
        self.terminate(old)
        old.exit()
        self.assertTrue(self.verdict(judged).ok)
        self.assertEqual(self.started_after(2, 20), [])
        self.finish()

    def test_drained_while_it_waits(self) -> None:
        """An operator drains the slot of one that has not been replaced yet."""
        first, _ = self.run_master()
        self.terminate(first)
        [second] = self.started_after(2)
        second.say_ready()
        self.terminate(second)
        judged = self.operations.drain(0, self.tell)
        first.exit()
        second.exit()
        self.assertTrue(self.verdict(judged).ok)
        self.assertEqual(self.started_after(3, 20), [])
        self.finish()

    def test_cluster_stops(self) -> None:
        """Nothing is started while it drains, by the master or by itself."""
        old, other = self.run_master(drain_delay=2)
        stopped = self.service.stopService()
        self.terminate(old)
        self.assertEqual(self.started_after(2, 1), [])
        self.reactor.advance(1)
        self.let_go()
        self.successResultOf(stopped)
        self.assertEqual([old.alive, other.alive], [False, False])
        self.assert_nothing_left()

    def test_stop_just_after(self) -> None:
        """As when SIGTERM goes to the whole process group: nothing is started."""
        old = self.run_master()
        self.terminate(*old)
        self.finish()
        self.assertEqual(self.reactor.children, old)

    def test_core(self) -> None:
        """There is one core at a time: the next one starts when it has exited."""
        core, *_ = self.run_master(core="isolated")
        self.terminate(core)
        self.assertIn(THEN.format("core", core.pid), self.log.lines())
        self.assertEqual(self.started_after(3, 1), [])
        self.assertFalse(self.service.deployment.core_is_ready)
        core.exit()
        [new] = self.started_after(3)
        self.assertEqual(new.bootstrap["role"], "core")
        self.assertEqual(self.log.lines(LogLevel.error), [])
        self.finish()


class RecordTests(LifecycleCase):
    """What a slot takes over from the one that it replaces."""

    def test_resume(self) -> None:
        """The pauses go on; the record of crashes ends, as its process was ready."""
        self.life.start()
        self.crash(ready=False)
        self.crash()
        before = self.slot
        self.world.clock.advance(self.world.timers()[0])
        self.life.ready()
        self.world.clock.advance(3)
        self.slot = Slot(self.world, self.timeouts, lambda: 0.0)
        self.slot.inherit(before)
        self.life.drain()
        self.life.exited()
        self.world.did.clear()
        self.resume()
        self.assertEqual(self.world.did, ["backoff"])
        self.assertEqual(self.world.pauses, [1, 2, 4])
        self.assertEqual(list(self.slot.crashes), [])
        self.world.clock.advance(4)
        self.assertEqual(self.world.did, ["backoff", "starting", "spawn!"])
        self.finish()

    def test_resume_after_long(self) -> None:
        """The pause is short again after a steady run."""
        self.slot.pauses, self.slot.running_since = 3, 0.0
        before = self.slot
        self.world.clock.advance(30)
        self.slot = Slot(self.world, self.timeouts, lambda: 0.0)
        self.slot.inherit(before)
        self.resume()
        self.assertEqual(self.world.pauses, [1])
        self.finish()

    def resume(self) -> None:
        """Resume the slot with a new lifecycle."""
        self.life = new_lifecycle(self.slot)
        self.life.resume()
