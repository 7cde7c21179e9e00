"""What an operator can ask of a master, with children that exist in memory only."""

import socket

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from clusterapp.errors import BusyError, OperationError, UnknownSlotError
from clusterapp.operations import Step, Verdict
from clusterapp.settings.model import SETTINGS, Settings
from clusterapp.settings.sources import Chosen
from tests.unit.fakes import FakeChild
from tests.unit.masters import HOOKED, MasterCase

WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
BROKEN = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"


class OperationCase(MasterCase):
    """A master whose workers are ready."""

    def run_master(self, **settings: object) -> list[FakeChild]:
        children = self.start(**settings)
        self.operations = self.service.operations
        self.steps: list[tuple[int | None, str]] = []
        for child in children:
            child.say_ready()
        return children

    def tell(self, step: Step) -> None:
        self.steps.append((step.slot, step.text))

    def newest(self) -> FakeChild:
        return self.reactor.children[-1]

    def answer_probe(self, answer: bytes = WELL) -> None:
        """Let a worker on trial answer what it is asked."""
        self.newest().flush()
        [connection] = self.newest().adopted
        connection.close()
        asking = self.reactor.ends[-1].protocol
        asking.dataReceived(answer)
        asking.connectionLost(Failure(ConnectionDone()))  # the master lets go of it
        self.newest().flush()

    def pass_trial(self) -> FakeChild:
        """Let the newest child take its place; its predecessor leaves."""
        child = self.newest()
        self.assertIs(child.bootstrap["on_trial"], True)
        child.say_loaded()
        self.answer_probe()
        self.assertIn("proceed", child.heard)
        child.say_ready()
        self.leave(child.bootstrap["slot"], but=child)
        return child

    def leave(self, slot: int, but: FakeChild | None = None) -> None:
        """Let who was told to drain leave a slot."""
        self.reactor.flush()
        for child in self.reactor.living():
            told = child is not but and "drain" in child.heard
            if told and child.bootstrap["slot"] == slot:
                child.exit()

    def reload_with(self, **settings: object) -> Deferred[Verdict]:
        chosen = {**self.service.settings.as_mapping(), **settings}
        origins = {setting.name: "test" for setting in SETTINGS}
        self.patch(self.service, "_choose", lambda: Chosen(Settings(**chosen), origins))
        return self.operations.reload(self.tell)

    def verdict(self, judged: Deferred[Verdict]) -> Verdict:
        verdict: Verdict = self.successResultOf(judged)
        return verdict


class ReloadTests(OperationCase):
    """New before old, one after the other."""

    def test_reload(self) -> None:
        old = self.run_master()
        judged = self.operations.reload(self.tell)
        self.assertEqual(self.operations.status()["operation"], "reload")
        for slot in (0, 1):
            self.assertTrue(old[slot].alive)
            self.assertNotIn("drain", old[slot].heard)
            child = self.pass_trial()
            self.assertEqual(child.bootstrap["slot"], slot)
            self.assertEqual(child.bootstrap["generation"], 2)
            self.assertFalse(old[slot].alive)
        verdict = self.verdict(judged)
        self.assertEqual((verdict.ok, verdict.traceback), (True, ""))
        self.assertIn("generation 2 serves in 2 workers", verdict.text)
        status = self.operations.status()
        self.assertEqual((status["generation"], status["operation"]), (2, None))
        self.assertEqual([w["generation"] for w in status["workers"]], [2, 2])
        self.finish()

    def test_steps(self) -> None:
        """Whoever waits hears which slot is at which point."""
        self.run_master(workers=1)
        self.operations.reload(self.tell)
        self.reactor.advance(0.5)
        self.pass_trial()
        self.assertEqual(self.steps[0][0], None)
        self.assertIn("generation 2 in ", self.steps[0][1])
        self.assertEqual(
            self.steps[1:],
            [(0, "starting generation 2"), (0, "ready after 0.50 s")],
        )
        self.finish()

    def test_connections_are_handed_over(self) -> None:
        """The old one is told that others take its idle connections."""
        old = self.run_master()
        self.operations.reload(self.tell)
        self.newest().say_loaded()
        self.answer_probe()
        self.newest().say_ready()
        self.reactor.flush()
        self.assertEqual(old[0].drains, [(5.0, True)])
        self.finish()

    def test_crash_afterwards(self) -> None:
        """What has passed its trial is started again without one."""
        self.run_master(workers=1)
        judged = self.operations.reload(self.tell)
        child = self.pass_trial()
        self.successResultOf(judged)
        child.exit(status=1)
        self.reactor.advance(1)
        again = self.child_in(0)
        self.assertEqual(
            (again.bootstrap["on_trial"], again.bootstrap["generation"]), (False, 2)
        )
        self.finish()

    def failed(self, judged: Deferred[Verdict], old: list[FakeChild]) -> Verdict:
        """Check that nothing has changed for the old ones."""
        verdict = self.verdict(judged)
        self.assertFalse(verdict.ok)
        self.assertEqual(self.reactor.living(), old)
        for child in old:
            child.flush()
            self.assertNotIn("drain", child.heard)
        self.assertEqual(self.operations.status()["generation"], 1)
        self.assertEqual(self.operations.status()["operation"], None)
        self.finish()
        return verdict

    def test_application_cannot_be_loaded(self) -> None:
        old = self.run_master()
        judged = self.operations.reload(self.tell)
        self.newest().say_failed("no module", "Traceback: here", loading=True)
        self.newest().exit(status=4)
        verdict = self.failed(judged, old)
        self.assertEqual(verdict.text, "worker 0: no module")
        self.assertEqual(verdict.traceback, "Traceback: here")
        self.assertEqual(self.failures, [])

    def test_process_crashes(self) -> None:
        old = self.run_master()
        judged = self.operations.reload(self.tell)
        self.newest().exit(signal=11)
        verdict = self.failed(judged, old)
        self.assertEqual(verdict.text, "worker 0: left with signal 11")

    def test_never_ready(self) -> None:
        old = self.run_master(boot_timeout=10)
        judged = self.operations.reload(self.tell)
        self.reactor.advance(10)
        self.assertEqual(self.newest().signals, ["KILL"])
        self.newest().exit(signal=9)
        verdict = self.failed(judged, old)
        self.assertEqual(verdict.text, "worker 0: is not ready in time")

    def test_not_well(self) -> None:
        """It is asked for the root, where anything but a server's error will do."""
        old = self.run_master()
        judged = self.operations.reload(self.tell)
        self.newest().say_loaded()
        self.answer_probe(BROKEN)
        self.reactor.flush()
        self.assertNotIn("proceed", self.newest().heard)
        self.newest().exit()
        verdict = self.failed(judged, old)
        self.assertEqual(verdict.text, "worker 0: answers GET / with status 500")

    def test_health_path(self) -> None:
        """What the operator names must be there."""
        missing = b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"
        old = self.run_master(health_path="/health")
        judged = self.operations.reload(self.tell)
        self.newest().say_loaded()
        self.answer_probe(missing)
        self.reactor.flush()
        self.newest().exit()
        verdict = self.failed(judged, old)
        self.assertEqual(verdict.text, "worker 0: answers GET /health with status 404")

    def test_later_slot_fails(self) -> None:
        """The slots that were replaced go back to the old generation."""
        self.run_master()
        judged = self.operations.reload(self.tell)
        self.pass_trial()
        self.newest().exit(status=1)  # slot 1's
        back = self.pass_trial()
        self.assertEqual((back.bootstrap["slot"], back.bootstrap["generation"]), (0, 1))
        verdict = self.verdict(judged)
        self.assertEqual(verdict.text, "worker 1: left with status 1")
        status = self.operations.status()
        self.assertEqual([w["generation"] for w in status["workers"]], [1, 1])
        self.finish()

    def test_stop_meanwhile(self) -> None:
        """The reload is given up, and leaves nothing."""
        self.run_master()
        judged = self.operations.reload(self.tell)
        self.newest().say_loaded()
        stopped = self.service.stopService()
        self.newest().flush()
        self.newest().adopted[0].close()
        self.reactor.ends[-1].protocol.connectionLost(Failure(ConnectionDone()))
        self.assertIn("stopping", self.verdict(judged).text)
        self.let_go()
        self.successResultOf(stopped)
        self.assert_nothing_left()

    def test_empty_slot_stays_empty(self) -> None:
        """What an operator has drained is not filled by a reload."""
        self.run_master()
        drained = self.operations.drain(0, self.tell)
        self.leave(0)
        self.successResultOf(drained)
        judged = self.operations.reload(self.tell)
        self.assertEqual(self.pass_trial().bootstrap["slot"], 1)
        self.assertTrue(self.verdict(judged).ok)
        self.finish()


class SettingsTests(OperationCase):
    """What a reload makes of other settings."""

    def test_new_values(self) -> None:
        self.run_master(workers=1)
        judged = self.reload_with(keepalive_timeout=7)
        child = self.pass_trial()
        self.assertEqual(child.bootstrap["settings"]["keepalive_timeout"], 7)
        self.assertTrue(self.verdict(judged).ok)
        config = self.operations.config()["keepalive_timeout"]
        self.assertEqual(config, {"value": 7.0, "origin": "test"})
        self.finish()

    def test_wrong_values(self) -> None:
        """They are told, and nothing is started."""
        self.run_master(workers=1)
        judged = self.reload_with(access_log="/nowhere/access.log")
        verdict = self.verdict(judged)
        self.assertIn("access_log = '/nowhere/access.log'", verdict.text)
        self.assertEqual(len(self.reactor.children), 1)
        self.finish()

    def test_values_of_the_master(self) -> None:
        """They stay as they are, for the workers and for whoever asks."""
        self.run_master(workers=1)
        kept = self.operations.config()["listen"]
        judged = self.reload_with(
            listen=["tcp:1"], core="isolated", worker_ports=3001, keepalive_timeout=7
        )
        child = self.pass_trial()
        self.assertEqual(
            self.verdict(judged).text.partition("not applied before an upgrade: ")[2],
            "--listen, --core, --worker-ports",
        )
        told = child.bootstrap["settings"]
        self.assertEqual(
            (tuple(told["listen"]), told["core"], told["worker_ports"]),
            (kept["value"], "master", None),
        )
        self.assertEqual(told["keepalive_timeout"], 7)
        self.assertEqual(self.operations.config()["listen"], kept)
        self.finish()

    def test_number_of_workers(self) -> None:
        """If the operator has changed it, and not just because it was scaled."""
        self.run_master(workers=1)
        judged = self.reload_with(workers=2)
        self.pass_trial()
        self.assertEqual(self.pass_trial().bootstrap["slot"], 1)
        self.assertTrue(self.verdict(judged).ok)
        self.assertEqual(len(self.operations.status()["workers"]), 2)
        self.finish()


class CoreTests(OperationCase):
    """What becomes of the core."""

    def test_core_in_the_master(self) -> None:
        """It cannot be replaced; the verdict says what can be done."""
        self.run_master(workers=1, app=HOOKED)
        judged = self.operations.reload(self.tell)
        self.pass_trial()
        self.assertIn("clusterctl upgrade", self.verdict(judged).text)
        self.finish()

    def test_isolated_core(self) -> None:
        """It is loaded beside the old one, which leaves before it begins."""
        core, _ = self.run_master(workers=1, core="isolated")
        judged = self.operations.reload(self.tell)
        fresh = self.pass_trial()
        successor = self.newest()
        self.assertEqual(successor.bootstrap["role"], "core")
        self.assertNotIn("drain", core.heard)
        successor.say_loaded()
        self.reactor.flush()
        self.assertEqual(core.drains, [(0.0, False)])
        self.assertNotIn("proceed", successor.heard)
        self.assertEqual(fresh.heard[-1], "back")
        core.exit()
        self.reactor.flush()
        self.assertIn("proceed", successor.heard)
        successor.say_ready()
        self.reactor.flush()
        self.assertIs(fresh.heard[-1], True)
        self.assertTrue(self.verdict(judged).ok)
        self.finish()

    def test_new_core_cannot_start(self) -> None:
        """The old generation's is started again, and the workers go back."""
        core, _ = self.run_master(workers=1, core="isolated")
        judged = self.operations.reload(self.tell)
        self.pass_trial()
        successor = self.newest()
        successor.say_loaded()
        self.reactor.flush()
        core.exit()
        self.reactor.flush()
        successor.say_failed("no database", loading=False)
        successor.exit(status=3)
        old = next(c for c in self.reactor.living() if c.bootstrap["role"] == "core")
        self.assertEqual(old.bootstrap["generation"], 1)
        old.say_ready()
        self.pass_trial()
        self.assertEqual(self.verdict(judged).text, "core: no database")
        self.finish()


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

    def test_scale_fails(self) -> None:
        children = self.run_master(workers=1)
        judged = self.operations.scale(3, self.tell)
        self.newest().exit(status=1)
        self.assertFalse(self.verdict(judged).ok)
        self.assertEqual(self.reactor.living(), children)
        self.assertEqual(len(self.operations.status()["workers"]), 1)
        self.finish()

    def test_restart(self) -> None:
        old = self.run_master()
        judged = self.operations.restart(1, self.tell)
        child = self.pass_trial()
        self.assertEqual(
            (child.bootstrap["slot"], child.bootstrap["generation"]), (1, 1)
        )
        self.assertTrue(self.verdict(judged).ok)
        self.assertEqual([each.alive for each in old], [True, False])
        self.finish()

    def ready_beside(self, old: FakeChild) -> Deferred[Verdict]:
        """Have a process take the slot of another, which has not heard of it yet."""
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
        self.assertTrue(self.verdict(judged).ok)
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
        self.operations.by_signal("SIGHUP", self.operations.reload)
        self.assertIn("SIGHUP: cannot reload: a reload is under way", self.log.lines())
        self.newest().exit(status=1)
        self.assertIn("reload failed: worker 0: left with status 1", self.log.lines())
        self.finish()


class HealthTests(OperationCase):
    """Whether clients should be sent here, and who is told."""

    def test_health(self) -> None:
        one, other = self.start(min_ready=2)
        self.operations = self.service.operations
        self.assertFalse(self.operations.health().ready)
        one.say_ready()
        self.reactor.flush()
        health = self.operations.health()
        self.assertFalse(health.ready)
        self.assertEqual(health.detail["why"], "1 of 2 workers are ready, 2 must be")
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
        self.assertEqual(health.detail["why"], "1 of 1 workers are ready, 3 must be")
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
        self.assertEqual(self.verdict(judged), Verdict(True, "stopped"))
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


class RecyclingTests(OperationCase):
    """Workers that have served their time."""

    def test_requests(self) -> None:
        """A tenth more or less, so that not all are replaced at once."""
        one, other = self.run_master(max_requests=100)
        one.report(requests=89)
        other.report(requests=111)
        self.reactor.advance(1)
        child = self.pass_trial()
        self.assertEqual(child.bootstrap["slot"], 1)
        self.assertEqual((one.alive, other.alive), (True, False))
        self.assertIn("worker 1 is replaced: 111 requests", self.log.lines())
        self.finish()

    def test_one_at_a_time(self) -> None:
        one, other = self.run_master(max_rss="1 MiB")
        for child in (one, other):
            child.report(rss=3 * 1024**2)
        self.reactor.advance(1)
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.living()), 3)
        self.pass_trial()
        self.reactor.advance(1)
        self.assertEqual(self.pass_trial().bootstrap["slot"], 1)
        self.assertIn("worker 0 is replaced: 3 MiB resident", self.log.lines())
        self.finish()

    def test_lifetime(self) -> None:
        [child] = self.run_master(workers=1, max_lifetime=100)
        child.report()
        self.reactor.pump([1.0] * 89)
        self.assertEqual(len(self.reactor.children), 1)
        self.reactor.pump([1.0] * 22)
        self.pass_trial()
        self.assertFalse(child.alive)
        self.finish()

    def test_replacement_fails(self) -> None:
        """The old one serves on, and is left alone for a while."""
        [child] = self.run_master(workers=1, max_requests=10)
        child.report(requests=100)
        self.reactor.advance(1)
        self.newest().exit(status=1)
        self.assertTrue(child.alive)
        for _ in range(30):
            self.reactor.advance(1)
        self.assertEqual(self.reactor.living(), [child])
        self.reactor.pump([1.0] * 40)
        self.assertEqual(len(self.reactor.living()), 2)
        self.pass_trial()
        self.finish()


class HandOverTests(OperationCase):
    """Connections of a worker that leaves."""

    def test_to_the_newest(self) -> None:
        old = self.run_master()
        self.operations.reload(self.tell)
        fresh = self.pass_trial()
        ours, theirs = socket.socketpair()
        given = old[1].end.hand_over(theirs, "0 tcp:80")
        for _ in range(3):
            self.reactor.flush()
        self.assertTrue(self.successResultOf(given))
        [_, adopted] = fresh.adopted
        self.assertEqual(fresh.doors, ["", "0 tcp:80"])
        adopted.send(b"a")
        self.assertEqual(ours.recv(1), b"a")
        for each in (ours, theirs, adopted):
            each.close()
        self.finish()

    def test_to_nobody(self) -> None:
        """When all leave there is nobody who could serve it."""
        [child] = self.run_master(workers=1)
        stopped = self.service.stopService()
        ours, theirs = socket.socketpair()
        given = child.end.hand_over(theirs, "0 tcp:80")
        for _ in range(3):
            self.reactor.flush()
        self.assertFalse(self.successResultOf(given))
        for each in (ours, theirs):
            each.close()
        self.let_go()
        self.successResultOf(stopped)
        self.assert_nothing_left()
