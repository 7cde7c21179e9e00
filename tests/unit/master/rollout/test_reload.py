"""What a reload makes of a master's workers, settings and core."""

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from clusterapp.operations import OperationResult
from tests.unit.fakes import FakeChild
from tests.unit.master.masters import HOOKED, OperationCase

BROKEN = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"


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
        """The steps of each slot are reported to the caller."""
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
            (again.bootstrap["as_canary"], again.bootstrap["generation"]), (False, 2)
        )
        self.finish()

    def failed(
        self, judged: Deferred[OperationResult], old: list[FakeChild]
    ) -> OperationResult:
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
        self.assertEqual(verdict.text, "worker 0: left with signal 11 (SIGSEGV)")

    def test_never_ready(self) -> None:
        old = self.run_master(boot_timeout=10)
        judged = self.operations.reload(self.tell)
        self.reactor.advance(10)
        self.assertEqual(self.newest().signals, ["KILL"])
        self.newest().exit(signal=9)
        verdict = self.failed(judged, old)
        self.assertEqual(
            verdict.text, "worker 0: is not ready within 10 s of its start"
        )

    def not_answering(self, *ends: str) -> None:
        """
        Reload with a worker that loads, and never answers what it is asked.

        :param ends: what the master hears of first when it has killed the worker.
        """
        old = self.run_master(boot_timeout=10)
        judged = self.operations.reload(self.tell)
        child = self.newest()
        self.reactor.advance(3)
        child.say_loaded()
        child.flush()
        [connection] = child.adopted
        connection.close()
        asking = self.reactor.ends[-1].protocol
        self.reactor.advance(7)
        self.assertEqual(child.signals, ["KILL"])
        for end in ends:
            if end == "exit":
                child.exit(signal=9)
            else:
                asking.connectionLost(Failure(ConnectionDone()))
            self.reactor.flush()
        self.assertEqual(
            self.failed(judged, old).text,
            "worker 0: has not answered GET / within 10 s of its start",
        )

    def test_no_answer(self) -> None:
        """The verdict names the page that was asked for, and the time."""
        self.not_answering("connection", "exit")

    def test_no_answer_and_exit_first(self) -> None:
        """The order in which the kernel tells of the end does not matter."""
        self.not_answering("exit", "connection")

    def test_not_well(self) -> None:
        """It is asked for the root, where anything but a server's error will do."""
        old = self.run_master()
        judged = self.operations.reload(self.tell)
        self.newest().say_loaded()
        self.answer_probe(BROKEN)
        self.reactor.flush()
        self.assertNotIn("activate", self.newest().heard)
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

    def test_stop_behind_the_first_slot(self) -> None:
        """No process of the old generation is started for a cluster that stops."""
        self.run_master()
        judged = self.operations.reload(self.tell)
        self.pass_trial()
        before = len(self.reactor.children)
        stopped = self.service.stopService()
        self.assertIn("stopping", self.verdict(judged).text)
        self.let_go()
        self.successResultOf(stopped)
        self.assertEqual(len(self.reactor.children), before)
        self.assert_nothing_left()

    def test_stop_while_the_core_leaves(self) -> None:
        """A stop waits for a process although who waited for it was given up."""
        self.run_master(core="isolated", workers=1)
        (core,) = [c for c in self.reactor.living() if c.bootstrap["slot"] == -1]
        judged = self.operations.reload(self.tell)
        self.pass_trial()
        self.newest().say_loaded()
        self.reactor.flush()
        stopped = self.service.stopService()
        self.assertFalse(self.verdict(judged).ok)
        for child in self.reactor.living():
            if child is not core:
                child.exit()
        self.reactor.flush()
        self.assertNoResult(stopped)
        core.exit()
        self.reactor.flush()
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
        """Settings of the master stay, for workers and in what is reported."""
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
        self.assertNotIn("activate", successor.heard)
        self.assertEqual(fresh.heard[-1], "back")
        core.exit()
        self.reactor.flush()
        self.assertIn("activate", successor.heard)
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

    def test_replaced_core_counts_as_ready(self) -> None:
        """Requests wait for it meanwhile: no balancer has to look elsewhere."""
        core, worker = self.run_master(workers=1, core="isolated", require_core=True)
        judged = self.operations.restart("core", self.tell)
        self.newest().say_loaded()
        self.reactor.flush()
        self.assertEqual(worker.heard[-1], "back")
        core.exit()
        self.reactor.flush()
        self.assertIs(self.operations.health().ready, True)
        self.newest().say_ready()
        self.reactor.flush()
        self.assertTrue(self.verdict(judged).ok)
        self.assertNotIn(False, [ready for ready, _ in worker.healths[1:]])
        self.finish()
