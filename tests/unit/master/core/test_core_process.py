"""A master and its core, and a master that cannot go on."""

import contextlib  # by its name: trial takes a "suppress" here for its own
import sys
from pathlib import Path

from twisted.internet.defer import CancelledError
from twisted.logger import LogLevel

from clusterapp.errors import (
    ApplicationLoadError,
    ClusterError,
    NeverReadyError,
)
from tests.unit.master import master_apps
from tests.unit.master.masters import HOOKED, MasterCase


class HopelessTests(MasterCase):
    """A cluster that cannot go on stops itself, and says so once."""

    def ended(self) -> ClusterError:
        self.let_go()
        [error] = self.failures
        self.assertEqual(self.log.lines(LogLevel.critical), [str(error)])
        self.assert_nothing_left()
        return error

    def test_children_cannot_load_the_application(self) -> None:
        """The traceback is logged once, and nobody waits for the others."""
        one, other = self.start(core="isolated", app="shop:app")[1:]
        for child in (one, other):
            child.say_failed("no module", "Traceback\n  of all\n", loading=True)
        self.assertEqual(self.log.lines().count("Traceback\n  of all"), 1)
        error = self.ended()
        self.assertEqual(error.exit_status, 4)
        self.assertEqual(
            str(error), "cannot load the application 'shop:app': no module"
        )

    def test_failure_without_a_traceback(self) -> None:
        children = self.start()
        children[0].say_failed("no module", loading=True)
        self.assertNotIn("", self.log.lines())
        self.ended()

    def test_other_tracebacks_are_logged_too(self) -> None:
        """One of each sort, whichever child it comes from."""
        one, other = self.start()
        for child, text in ((one, "A"), (other, "A"), (one, "B"), (other, "B")):
            child.say_failed("no", text, loading=False)
        lines = self.log.lines(LogLevel.error)
        self.assertEqual([line for line in lines if line in "AB"], ["A", "B"])
        self.assertEqual(self.failures, [])
        self.finish()

    def test_reload_that_fails_on_a_ready_cluster(self) -> None:
        """Those that serve are not stopped for one that cannot be loaded."""
        one, other = self.start()
        one.say_ready()
        other.say_failed("no module", "Traceback", loading=True)
        self.assertEqual(self.failures, [])
        self.assertIn("worker 1 cannot start: no module", self.log.lines())
        self.assertEqual(self.log.lines(LogLevel.critical), [])
        self.finish()

    def test_no_worker_was_ever_ready(self) -> None:
        for child in self.start():
            self.make_fatal(child)
        self.assertEqual(self.ended().exit_status, NeverReadyError.exit_status)
        lines = self.log.lines()
        said = "".join(lines[lines.index("stopping") :])
        self.assertNotIn("is started again", said)

    def test_every_worker_crashes_in_the_end(self) -> None:
        """A cluster that has served says why it does not, and goes on trying."""
        one, other = self.start()
        self.make_fatal(one, ready=True)
        self.make_fatal(other)
        self.assertEqual(self.failures, [])
        (said,) = self.log.lines(LogLevel.critical)
        self.assertRegex(said, r"no worker can be started .* \(left with status 1\)")
        self.reactor.advance(60)
        self.child_in(0).say_ready()
        self.reactor.flush()
        self.assertTrue(self.service.operations.health().ready)
        self.finish()

    def test_requests_that_crash_workers(self) -> None:
        """However often: workers that were ready are started again, soon."""
        self.start()
        for _ in range(20):
            for slot in (0, 1):
                child = self.child_in(slot)
                child.say_ready()
                child.exit(signal=11)
            self.reactor.advance(20)
        self.assertEqual(self.failures, [])
        self.assertEqual(self.log.lines(LogLevel.critical), [])
        self.assertNotIn("crashes too often", "".join(self.log.lines()))
        self.finish()

    def test_stop_of_a_hopeless_cluster(self) -> None:
        """A parent stops it once more: that waits for the first stop."""
        children = self.start(core="isolated")
        children[1].say_failed("no", loading=True)
        stopped = self.service.stopService()
        self.assertNoResult(stopped)
        self.ended()
        self.successResultOf(stopped)


class CoreTests(MasterCase):
    """The core and the workers."""

    def test_in_the_master(self) -> None:
        """It is started when a worker has told that there is one."""
        one, other = self.start(app=HOOKED)
        self.assertEqual(master_apps.SEEN, [])
        one.say_imported()
        self.assertEqual(master_apps.SEEN, [("core", -1)])
        self.assertEqual(len(self.reactor.getReaders()), 1)
        one.say_ready()
        self.reactor.flush()
        self.assertEqual((one.heard, other.heard), ([True], []))
        self.finish()

    def test_application_without_a_core(self) -> None:
        """The master does not import it; there is no module of that name."""
        one, other = self.start(app="tests.unit.no_shop:app")
        one.has_core = other.has_core = False
        one.say_ready()
        self.reactor.flush()
        self.assertEqual(one.heard, [True])
        self.assertEqual(self.failures, [])
        self.finish()

    def test_application_is_imported_once(self) -> None:
        """Whatever later workers tell."""
        for child in self.start(app=HOOKED):
            child.say_ready()
        self.assertEqual(master_apps.SEEN, [("core", -1)])
        self.finish()

    def test_application_that_only_workers_can_import(self) -> None:
        """What is wrong in the master is told with its traceback, and ends it."""
        broken = self.folder / "broken_in_the_master.py"
        broken.write_text("1 / 0\n")
        self.patch(sys, "path", [str(self.folder), *sys.path])
        self.start_core(app="broken_in_the_master:app")
        self.let_go()
        [error] = self.failures
        self.assertIsInstance(error, ApplicationLoadError)
        lines = self.log.lines(LogLevel.error)
        self.assertEqual(len([line for line in lines if "Traceback" in line]), 1)
        self.assert_nothing_left()

    def test_stop_before_a_worker_has_told(self) -> None:
        """What a worker tells then comes too late."""
        one, _ = self.start(app=HOOKED)
        stopped = self.service.stopService()
        one.say_imported()
        self.let_go()
        self.successResultOf(stopped)
        self.assert_nothing_left()

    def test_slow_start_hook(self) -> None:
        """Workers serve what is theirs meanwhile."""
        waited = master_apps.pending(master_apps.START)
        one, _ = self.start_core(app=HOOKED)
        one.say_ready()
        self.reactor.flush()
        self.assertEqual(one.heard, [False])
        self.assertEqual(self.reactor.getReaders(), [])
        waited.callback(None)
        self.reactor.flush()
        self.assertEqual(one.heard, [False, True])
        self.assertEqual(len(self.reactor.getReaders()), 1)
        self.finish()

    def test_worker_that_drains_before_it_is_ready(self) -> None:
        """It may have taken a request for the core, and learns that it is there."""
        one, other = self.start_core(app=HOOKED)
        self.reactor.flush()
        one.say_imported()
        deployment = self.service.deployment
        gone = deployment.pool.take_out(0)
        one.say_ready()
        self.reactor.flush()
        self.assertEqual(one.heard, ["drain", True])
        one.exit()
        self.successResultOf(gone)
        other.say_ready()
        self.finish()

    def test_stop_during_the_start_hook(self) -> None:
        """The hook is cancelled, which is no failure of the core."""
        waited = master_apps.pending(master_apps.START)
        self.start_core(app=HOOKED)
        self.finish()
        self.assertTrue(waited.called)
        self.assertEqual(self.failures, [])
        self.assertEqual(self.log.lines(LogLevel.critical), [])

    def test_stop_during_a_start_hook_that_pays_no_heed(self) -> None:
        """A core that has been stopped never begins to serve."""

        async def deaf() -> None:
            with contextlib.suppress(CancelledError):
                await master_apps.pending([])

        master_apps.START.append(deaf())
        self.start_core(app=HOOKED)
        self.finish()
        self.assertNotIn("stop", master_apps.SEEN)

    def test_stop_hook_that_never_ends(self) -> None:
        """It is given the graceful timeout."""
        master_apps.pending(master_apps.STOP)
        self.start_core(app=HOOKED)
        stopped = self.service.stopService()
        self.let_go()
        self.reactor.advance(4.9)
        self.assertNoResult(stopped)
        self.reactor.advance(0.1)
        self.successResultOf(stopped)
        self.flushLoggedErrors()
        self.assert_nothing_left()

    def test_quick_stop_does_not_wait_for_the_core(self) -> None:
        """The operator may lose patience before the stop hook has begun, or after."""
        for when in ("before", "after"):
            self.setUp()
            master_apps.pending(master_apps.STOP)
            self.start_core(app=HOOKED)
            if when == "before":
                self.service.drop_children()
            stopped = self.service.stopService()
            self.let_go()
            if when == "after":
                self.assertNoResult(stopped)
                self.service.drop_children()
            self.reactor.advance(0)
            self.successResultOf(stopped)
            self.flushLoggedErrors()
            self.assert_nothing_left()

    def test_isolated(self) -> None:
        """A child of its own; its comings and goings are told to the workers."""
        core, one, _ = self.start(core="isolated")
        self.assertEqual(core.bootstrap["role"], "core")
        self.assertEqual(core.bootstrap["slot"], -1)
        self.assertEqual(core.bootstrap["sockets"].keys(), {"core"})
        self.assertTrue(Path(core.bootstrap["cache"]).is_dir())
        self.assertEqual(core.bootstrap["cache"], one.bootstrap["cache"])
        self.assertNotIn("core", one.bootstrap["sockets"])
        one.say_ready()
        core.say_ready()
        core.exit(signal=11)
        self.reactor.flush()
        self.assertEqual(one.heard, [False, True, False])
        self.reactor.advance(1)
        self.child_in(-1).say_ready()
        self.reactor.flush()
        self.assertTrue(one.heard[-1])
        self.finish()

    def test_isolated_and_never_ready(self) -> None:
        """A cluster without its core is none."""
        core, *_ = self.start(core="isolated")
        self.make_fatal(core)
        self.let_go()
        [error] = self.failures
        self.assertEqual(str(error), "the core never became ready (left with status 1)")
        self.assertEqual(error.exit_status, 3)
        self.assert_nothing_left()

    def test_isolated_and_ready_once(self) -> None:
        """The workers serve on, and the core is tried again."""
        core, one, _ = self.start(core="isolated")
        one.say_ready()
        self.make_fatal(core, ready=True)
        self.assertEqual(self.failures, [])
        self.reactor.advance(60)
        self.child_in(-1).say_ready()
        self.reactor.flush()
        self.assertTrue(one.heard[-1])
        self.finish()

    def test_isolated_and_cannot_load(self) -> None:
        """It speaks for all of the application."""
        core, *_ = self.start(core="isolated")
        core.say_failed("no module", loading=True)
        self.let_go()
        self.assertIsInstance(self.failures[0], ApplicationLoadError)
        self.assert_nothing_left()

    def test_on_another_machine(self) -> None:
        """Each worker sees for itself whether it is there."""
        one, _ = self.start(core="https://core.example.org")
        self.assertIsNone(one.bootstrap["core_socket"])
        one.say_ready()
        self.reactor.flush()
        self.assertEqual(one.heard, [True])
        self.service.drop_children()
        self.finish()
