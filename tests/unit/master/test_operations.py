"""What an operator can ask of a master, with children that exist in memory only."""

import errno

from twisted.internet.defer import Deferred

from clusterapp.errors import BusyError, OperationError, UnknownSlotError
from clusterapp.master import operator_actions as operations
from clusterapp.operations import OperationResult
from clusterapp.spawning.cpus import usable_cpus
from tests.unit.fakes import FakeChild
from tests.unit.master.masters import OperationCase

NO_CORE = "the core is not ready"


class SlotTests(OperationCase):
    """More, fewer, other."""

    def test_scale(self) -> None:
        children = self.run_master(workers=1)
        judged = self.operations.scale(2, self.tell)
        self.assertEqual(self.pass_trial().bootstrap["slot"], 1)
        self.assertTrue(self.verdict(judged).ok)
        judged = self.operations.scale_by(-1, self.tell)
        self.assertNoResult(judged)
        self.leave(1)
        self.assertTrue(self.verdict(judged).ok)
        self.assertEqual(self.reactor.living(), children)
        self.assertRaises(OperationError, self.operations.scale, 0, self.tell)
        self.finish()

    def test_scale_beyond_the_machine(self) -> None:
        """So many workers are a slip, unless somebody insists."""
        self.run_master(workers=1)
        most = 32 * usable_cpus().count
        for beyond in (most + 1, 100_000):
            with self.assertRaisesRegex(
                OperationError,
                f"{beyond} workers are more than 32 for each CPU; --force",
            ):
                self.operations.scale(beyond, self.tell)
        self.assertIsNone(self.operations.under_way)
        self.operations.scale(100_000, self.tell, force=True)
        self.assertEqual(self.operations.under_way, "scale")
        self.finish()

    def test_fewer_of_too_many(self) -> None:
        """What somebody has insisted on can be reduced, step by step."""
        self.run_master(workers=2)
        self.patch(operations, "most_workers", lambda: 1)
        with self.assertRaisesRegex(OperationError, "--force"):
            self.operations.scale_by(1, self.tell)
        self.operations.scale_by(-1, self.tell)
        self.leave(1)
        self.finish()

    def test_reload_beyond_the_machine(self) -> None:
        """Settings that ask for so many are refused, and nothing is started."""
        self.run_master(workers=1)
        verdict = self.verdict(self.reload_with(workers=100_000))
        self.assertIn("workers = 100000", verdict.text)
        self.assertIn("32 for each CPU", verdict.text)
        self.assertEqual(len(self.reactor.children), 1)
        self.finish()

    def test_scale_fails(self) -> None:
        children = self.run_master(workers=1)
        judged = self.operations.scale(3, self.tell)
        self.newest().exit(status=1)
        self.assertFalse(self.verdict(judged).ok)
        self.assertEqual(self.reactor.living(), children)
        self.assertEqual(len(self.operations.status()["workers"]), 1)
        self.finish()

    def test_process_that_cannot_be_made(self) -> None:
        """The verdict is there at once, and says why; everything is as it was."""
        children = self.run_master(workers=1)
        self.reactor.spawn_error = OSError(errno.EMFILE, "no descriptor left")
        for judged in (
            self.operations.scale(2, self.tell),
            self.operations.restart(0, self.tell),
            self.operations.reload(self.tell),
        ):
            verdict = self.verdict(judged)
            self.assertFalse(verdict.ok)
            self.assertRegex(verdict.text, "^worker .: cannot be started: .*descriptor")
        self.reactor.spawn_error = None
        self.assertEqual(self.reactor.living(), children)
        self.assertEqual(self.operations.status()["retiring"], [])
        self.finish()

    def test_restart(self) -> None:
        old = self.run_master()
        judged = self.operations.restart(1, self.tell)
        child = self.pass_trial()
        self.assertEqual(
            (child.bootstrap["slot"], child.bootstrap["generation"]), (1, 1)
        )
        self.assertEqual(
            self.verdict(judged), OperationResult(True, "worker 1 is replaced")
        )
        self.assertEqual([each.alive for each in old], [True, False])
        self.finish()

    def ready_beside(self, old: FakeChild) -> Deferred[OperationResult]:
        """Restart a slot until its new process is ready; the old one still runs."""
        judged = self.operations.restart(0, self.tell)
        child = self.newest()
        self.assertIsNot(child, old)
        child.say_loaded()
        self.answer_probe()
        child.say_ready()
        self.assertNoResult(judged)
        return judged

    def test_old_process_hears(self) -> None:
        """Then it accepts nothing any more, and all is done."""
        [old] = self.run_master(workers=1)
        judged = self.ready_beside(old)
        old.flush()
        self.assertTrue(self.verdict(judged).ok)
        self.finish()

    def test_old_process_does_not_hear(self) -> None:
        """It may hang."""
        [old] = self.run_master(workers=1)
        judged = self.ready_beside(old)
        self.reactor.advance(1)
        self.assertTrue(self.verdict(judged).ok)
        self.finish()

    def test_restart_of_a_fatal_slot(self) -> None:
        """Nobody has to wait for a minute."""
        children = self.run_master()
        self.make_fatal(children[0])
        judged = self.operations.restart(0, self.tell)
        self.pass_trial()
        self.assertTrue(self.verdict(judged).ok)
        self.assertEqual(len(self.reactor.living()), 2)
        self.finish()

    def test_drain_and_fill_again(self) -> None:
        self.run_master()
        judged = self.operations.drain(0, self.tell)
        self.leave(0)
        self.assertTrue(self.verdict(judged).ok)
        self.assertEqual(self.operations.status()["workers"][0]["state"], "stopped")
        judged = self.operations.restart(0, self.tell)
        self.pass_trial()
        text = "worker 0 is started; there was no process in its slot"
        self.assertEqual(self.verdict(judged), OperationResult(True, text))
        self.finish()

    def test_unknown_slot(self) -> None:
        self.run_master()
        for ask in (self.operations.restart, self.operations.drain):
            with self.assertRaisesRegex(UnknownSlotError, "no slot 7; there are 0, 1"):
                ask(7, self.tell)
        self.finish()


class OneAtATimeTests(OperationCase):
    """Operations do not cross."""

    def test_second_is_refused(self) -> None:
        self.run_master(workers=1)
        judged = self.operations.reload(self.tell)
        with self.assertRaisesRegex(BusyError, "cannot scale: a reload is under way"):
            self.operations.scale(3, self.tell)
        self.pass_trial()
        self.assertTrue(self.verdict(judged).ok)
        self.finish()

    def test_name_of_what_is_under_way(self) -> None:
        """It stands behind its article."""
        self.run_master(workers=1)
        self.patch(self.operations._one, "under_way", "upgrade")
        with self.assertRaisesRegex(BusyError, "^cannot scale: an upgrade is under"):
            self.operations.scale(3, self.tell)
        self.finish()

    def test_scaled_to_one(self) -> None:
        self.run_master(workers=2)
        judged = self.operations.scale(1, self.tell)
        self.leave(1)
        self.assertEqual(self.verdict(judged), OperationResult(True, "1 worker"))
        self.finish()

    def test_before_anything_is_ready(self) -> None:
        self.start()
        with self.assertRaisesRegex(BusyError, "the cluster is starting"):
            self.service.operations.reload(lambda _: None)
        self.finish()

    def test_recycling_keeps_nobody_waiting(self) -> None:
        """An operator's order is done behind it, and not refused."""
        self.run_master(workers=1)
        recycled = self.operations.recycle(0, "10 requests")
        judged = self.operations.reload(self.tell)
        self.assertEqual(self.operations.status()["operation"], "reload")
        self.pass_trial()
        self.successResultOf(recycled)
        self.assertEqual(self.pass_trial().bootstrap["generation"], 2)
        self.assertTrue(self.verdict(judged).ok)
        self.finish()

    def test_by_signal(self) -> None:
        """What a terminal would show stands in the log."""
        self.run_master(workers=1)
        self.operations.by_signal("SIGHUP", self.operations.reload)
        self.assertIn("SIGHUP received", self.log.lines())
        self.newest().exit(status=1)
        self.assertIn("reload failed: worker 0: left with status 1", self.log.lines())
        self.operations.by_signal("SIGTTOU", lambda t: self.operations.scale_by(-1, t))
        self.assertIn("SIGTTOU: there must be at least 1 worker", self.log.lines())
        self.assertIsNone(self.operations.under_way)
        self.finish()

    def test_signal_while_another_is_done(self) -> None:
        """One more reload follows, however often it was asked for meanwhile."""
        self.run_master(workers=1)
        self.operations.by_signal("SIGHUP", self.operations.reload)
        for _ in range(3):
            self.operations.by_signal("SIGHUP", self.operations.reload)
        said = "SIGHUP: cannot reload: a reload is under way; done afterwards"
        self.assertEqual(self.log.lines().count(said), 3)
        self.assertEqual(self.pass_trial().bootstrap["generation"], 2)
        self.assertEqual(self.operations.under_way, "reload")
        self.assertEqual(self.pass_trial().bootstrap["generation"], 3)
        self.assertIsNone(self.operations.under_way)
        self.finish()

    def test_signal_behind_one_that_fails(self) -> None:
        """The deploy may have been mended since."""
        self.run_master(workers=1)
        judged = self.operations.reload(self.tell)
        self.operations.by_signal("SIGHUP", self.operations.reload)
        self.newest().exit(status=1)
        self.assertFalse(self.verdict(judged).ok)
        self.assertEqual(self.pass_trial().bootstrap["generation"], 3)
        self.finish()

    def test_signals_of_several_kinds(self) -> None:
        """They are done in their order, each as often as it came."""
        self.run_master(workers=1)
        judged = self.operations.reload(self.tell)
        for _ in range(2):
            self.operations.by_signal(
                "SIGTTIN", lambda tell: self.operations.scale_by(1, tell)
            )
        self.pass_trial()
        self.assertTrue(self.verdict(judged).ok)
        self.pass_trial()
        self.pass_trial()
        self.assertEqual(len(self.service.deployment.pool.slots), 3)
        self.assertIsNone(self.operations.under_way)
        self.finish()

    def test_signals_that_wait_are_bounded(self) -> None:
        """Nobody can fill the master's memory with them."""
        self.run_master(workers=1)
        self.operations.reload(self.tell)
        for _ in range(1000):
            self.operations.by_signal(
                "SIGTTIN", lambda tell: self.operations.scale_by(1, tell)
            )
        self.assertEqual(len(self.operations._signals._waiting), 32)
        self.finish()

    def test_signal_during_the_start(self) -> None:
        """It is done when the cluster has started."""
        (child,) = self.start(workers=1)
        self.operations = self.service.operations
        self.operations.by_signal("SIGHUP", self.operations.reload)
        self.assertIsNone(self.operations.under_way)
        child.say_ready()
        self.reactor.flush()
        self.assertEqual(self.operations.under_way, "reload")
        self.assertEqual(self.pass_trial().bootstrap["generation"], 2)
        self.finish()

    def test_signal_before_a_stop(self) -> None:
        """Nothing is done any more."""
        self.run_master(workers=1)
        self.operations.reload(self.tell)
        self.operations.by_signal("SIGHUP", self.operations.reload)
        before = len(self.reactor.children)
        self.finish()
        self.assertEqual(len(self.reactor.children), before)


class HealthTests(OperationCase):
    """Whether the cluster is ready for clients, and which processes are notified."""

    def test_health_without_state_folder(self) -> None:
        """A cluster whose processes cannot reach each other is not ready."""
        [child] = self.start(workers=1)
        child.say_ready()
        self.assertTrue(self.service.operations.health().ready)
        self.service.sockets.state_problem = "the state folder was removed"
        health = self.service.operations.health()
        self.assertFalse(health.ready)
        self.assertEqual(health.detail["why"], "the state folder was removed")
        self.finish()

    def test_health(self) -> None:
        one, other = self.start(min_ready=2)
        self.operations = self.service.operations
        self.assertFalse(self.operations.health().ready)
        one.say_ready()
        self.reactor.flush()
        health = self.operations.health()
        self.assertFalse(health.ready)
        self.assertEqual(health.detail["why"], "1 of 2 workers ready, 2 must be")
        self.assertEqual(one.healths[-1], (False, health.detail))
        other.say_ready()
        self.reactor.flush()
        self.assertTrue(self.operations.health().ready)
        for child in (one, other):
            self.assertEqual(child.healths[-1], (True, self.operations.health().detail))
        self.finish()

    def test_more_than_there_are(self) -> None:
        """A cluster that was made too small says so."""
        [child] = self.start(workers=1, min_ready=3)
        child.say_ready()
        health = self.service.operations.health()
        self.assertEqual(health.detail["why"], "1 of 1 worker ready, 3 must be")
        self.finish()

    def test_core_that_must_be_ready(self) -> None:
        """Only if the operator says so; one that is being replaced counts as ready."""
        core, worker = self.start(workers=1, core="isolated", require_core=True)
        worker.say_ready()
        self.reactor.flush()
        health = self.service.operations.health()
        self.assertEqual((health.ready, health.detail["why"]), (False, NO_CORE))
        self.assertEqual(worker.healths[-1], (False, health.detail))
        core.say_ready()
        self.reactor.flush()
        self.assertIs(worker.healths[-1][0], True)
        core.exit(status=1)
        self.reactor.flush()
        self.assertEqual(
            worker.healths[-1], (False, self.service.operations.health().detail)
        )
        self.finish()

    def test_core_that_need_not_be_ready(self) -> None:
        """The detail tells of it all the same."""
        _, worker = self.start(workers=1, core="isolated")
        worker.say_ready()
        health = self.service.operations.health()
        self.assertEqual((health.ready, health.detail["core"]), (True, "not ready"))
        self.finish()

    def test_drain_delay(self) -> None:
        """It says that it is not ready, and serves on, before it stops."""
        [child] = self.run_master(workers=1, drain_delay=10)
        stopped = self.service.stopService()
        self.reactor.flush()
        self.assertEqual(child.healths[-1][0], False)
        self.assertEqual(self.operations.status()["state"], "stopping")
        self.reactor.advance(9)
        child.flush()
        self.assertNotIn("drain", child.heard)
        self.reactor.advance(1)
        self.let_go()
        self.successResultOf(stopped)
        self.assert_nothing_left()

    def test_hurry_in_the_delay(self) -> None:
        self.run_master(workers=1, drain_delay=1000)
        stopped = self.service.stopService()
        self.service.drop_children()
        self.let_go()
        self.successResultOf(stopped)
        self.assert_nothing_left()


class StopTests(OperationCase):
    """The end, by an operator's word."""

    def test_stop(self) -> None:
        self.run_master()
        judged = self.operations.stop(quick=False, tell=self.tell)
        self.assertNoResult(judged)
        self.let_go()
        self.assertEqual(self.verdict(judged), OperationResult(True, "stopped"))
        self.assert_nothing_left()

    def test_quick(self) -> None:
        children = self.run_master()
        judged = self.operations.stop(quick=True, tell=self.tell)
        self.assertEqual([each.signals for each in children], [["KILL"], ["KILL"]])
        self.let_go()
        self.assertTrue(self.verdict(judged).ok)

    def test_embedded_master_cannot_be_upgraded(self) -> None:
        self.run_master()
        with self.assertRaisesRegex(OperationError, "only twistd and twist"):
            self.operations.upgrade(self.tell)
        self.finish()
