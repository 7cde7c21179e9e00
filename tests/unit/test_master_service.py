"""A whole master, with children that exist in memory only."""

import signal
import tempfile
from pathlib import Path

from twisted.application.service import MultiService
from twisted.internet.testing import MemoryReactor
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import (
    AllFatalError,
    ApplicationLoadError,
    ClusterError,
    ListenError,
    NeverReadyError,
    ReactorError,
    SettingsError,
)
from clusterapp.master.service import ClusterService
from clusterapp.settings.model import Settings
from clusterapp.spawning.cpus import usable_cpus
from tests.unit import master_apps
from tests.unit.fakes import FakeChild, FakeReactor, Log, descriptors

PLAIN = "tests.unit.master_apps:plain"
HOOKED = "tests.unit.master_apps:hooked"


class MasterCase(SynchronousTestCase):
    """A master, and nothing of it left when the test ends."""

    def setUp(self) -> None:
        master_apps.forget()
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.state = self.folder / "state"
        self.path = self.folder / "a.sock"
        self.reactor = FakeReactor()
        self.log = Log(self)
        self.failures: list[ClusterError] = []
        self.before = descriptors()

    def make(self, **settings: object) -> ClusterService:
        chosen = {
            "app": PLAIN,
            "workers": 2,
            "listen": f"unix:{self.path}",
            "state": str(self.state),
            "graceful_timeout": 5,
            **settings,
        }
        self.service = ClusterService(
            Settings(**chosen),  # type: ignore[arg-type]
            reactor=self.reactor,
            on_failure=self.failures.append,
        )
        return self.service

    def start(self, **settings: object) -> list[FakeChild]:
        """Start a master, give its children."""
        self.make(**settings).startService()
        return self.reactor.children

    def assert_nothing_left(self) -> None:
        """Neither a socket nor a folder, a process nor a timer."""
        self.assertEqual(descriptors(), self.before)
        self.assertFalse(self.path.exists())
        left = list(self.state.iterdir()) if self.state.exists() else []
        self.assertEqual(left, [])
        self.assertEqual(self.reactor.living(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertFalse(self.service.running)

    def finish(self) -> None:
        """Stop, let every child leave, and look for what is left."""
        stopped = self.service.stopService()
        self.let_go()
        self.successResultOf(stopped)
        self.assert_nothing_left()

    def let_go(self) -> None:
        """Let the children obey until none is left."""
        for _ in range(3):
            self.reactor.flush()
            for child in self.reactor.living():
                if "drain" in child.heard or child.signals:
                    child.exit()

    def make_fatal(self, child: FakeChild, *, ready: bool = False) -> None:
        """Let the processes of a child's slot crash until it is given up."""
        slot = child.bootstrap["slot"]
        for _ in range(5):
            child = self.child_in(slot)
            if ready:
                child.say_ready()
            child.exit(status=1)
            self.reactor.advance(0)  # the fifth is where it is given up
            self.reactor.advance(1)  # no pause is longer, after so few crashes

    def child_in(self, slot: int) -> FakeChild:
        """Give the living child of a slot."""
        [found] = [c for c in self.reactor.living() if c.bootstrap["slot"] == slot]
        return found


class StartTests(MasterCase):
    """What a master starts."""

    def test_nothing_before_it_starts(self) -> None:
        self.make()
        self.assertEqual(self.service.addresses, [])
        self.assert_nothing_left()

    def test_one_child_for_each_slot(self) -> None:
        """Each is told its place, the settings and where the core is."""
        children = self.start(workers=3)
        self.assertEqual([c.bootstrap["slot"] for c in children], [0, 1, 2])
        for child in children:
            document = child.bootstrap
            self.assertEqual(document["role"], "worker")
            self.assertEqual(document["generation"], 1)
            self.assertEqual(document["settings"]["app"], PLAIN)
            self.assertTrue(Path(document["core_socket"]).is_socket())
            self.assertEqual(len(document["sockets"]), 1)
        self.finish()

    def test_number_by_the_machine(self) -> None:
        cpus = usable_cpus()
        self.assertEqual(len(self.start(workers="auto")), cpus.count)
        self.assertIn(
            f"starting {cpus.count} workers: {cpus.reason}", self.log.lines()
        )
        self.finish()

    def test_more_than_the_machine_has(self) -> None:
        """They are started all the same, with a warning that says why."""
        count = usable_cpus().count + 1
        self.assertEqual(len(self.start(workers=count)), count)
        [line] = self.log.lines(LogLevel.warn)
        self.assertIn(f"{count} workers share", line)
        self.finish()

    def test_addresses(self) -> None:
        self.start()
        self.assertEqual(self.service.addresses, [f"unix:{self.path}"])
        self.assertIn(f"listening at unix:{self.path}", self.log.lines())
        self.finish()

    def test_sockets_are_bound_while_it_has_the_right(self) -> None:
        """A parent that binds before it gives up its rights does so once."""
        parent = MultiService()
        self.make().setServiceParent(parent)
        parent.privilegedStartService()
        self.assertTrue(self.path.is_socket())
        inode = self.path.stat().st_ino
        parent.startService()
        self.assertEqual(self.path.stat().st_ino, inode)
        self.finish()

    def test_signals_are_looked_at_when_the_reactor_runs(self) -> None:
        """Without the reactor's handlers no exit would ever be seen."""
        self.patch(signal, "getsignal", lambda _: signal.SIG_DFL)
        self.start()
        self.assertEqual(self.failures, [])
        self.reactor.run()
        self.let_go()
        [error] = self.failures
        self.assertIsInstance(error, ReactorError)
        self.assert_nothing_left()


class FailedStartTests(MasterCase):
    """What cannot be started leaves nothing behind."""

    def refused(self, kind: type[Exception], **settings: object) -> str:
        error = self.assertRaises(kind, self.start, **settings)
        self.assert_nothing_left()
        self.successResultOf(self.service.stopService())
        self.assert_nothing_left()
        self.assertEqual(self.failures, [])
        return str(error)

    def test_listener(self) -> None:
        self.refused(ListenError, listen="fd:999")

    def test_state_folder(self) -> None:
        file = self.folder / "file"
        file.touch()
        self.refused(ListenError, state=str(file / "state"))

    def test_application(self) -> None:
        """The master loads it for its core, before any child is started."""
        error = self.refused(ApplicationLoadError, app="tests.unit.no_shop:app")
        self.assertIn("tests.unit.no_shop:app", error)
        self.assertEqual(self.reactor.children, [])

    def test_tls_of_the_core(self) -> None:
        for settings in (
            {"core": "https://core.example.org", "core_ca": "/no/ca.pem"},
            {
                "core_listen": "tls:0:certificate=/no/c.pem:key=/no/k.pem:ca=/no/a.pem"
                ":interface=127.0.0.1"
            },
        ):
            self.assertIn("/no/c", self.refused(SettingsError, **settings))

    def test_reactor(self) -> None:
        """Sockets that were bound before are closed, too."""
        self.make()
        self.service._reactor = MemoryReactor()
        self.service.privilegedStartService()
        self.assertRaises(ReactorError, self.service.startService)
        self.assert_nothing_left()

    def test_start_hook_of_the_core_at_once(self) -> None:
        """No worker is started on sockets that are closed by then."""
        master_apps.START.append(ValueError("no database"))
        self.assertEqual(self.start(app=HOOKED), [])
        [error] = self.failures
        self.assertIsInstance(error, NeverReadyError)
        self.assertIn("no database", str(error))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assert_nothing_left()

    def test_start_hook_of_the_core_later(self) -> None:
        waited = master_apps.pending(master_apps.START)
        self.assertEqual(len(self.start(app=HOOKED)), 2)
        waited.errback(ValueError("no database"))
        self.let_go()
        self.assertIsInstance(self.failures[0], NeverReadyError)
        self.flushLoggedErrors(ValueError)
        self.assert_nothing_left()


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
        self.finish()

    def test_no_worker_was_ever_ready(self) -> None:
        for child in self.start():
            self.make_fatal(child)
        self.assertEqual(self.ended().exit_status, NeverReadyError.exit_status)

    def test_every_worker_crashes_in_the_end(self) -> None:
        one, other = self.start()
        self.make_fatal(one, ready=True)
        self.assertEqual(self.failures, [])
        self.make_fatal(other)
        error = self.ended()
        self.assertIsInstance(error, AllFatalError)
        self.assertEqual(error.exit_status, 5)

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
        """It is ready before the workers, who hear so when they are."""
        one, other = self.start(app=HOOKED)
        self.assertEqual(master_apps.SEEN, [("core", -1)])
        self.assertEqual(len(self.reactor.getReaders()), 1)
        one.say_ready()
        self.reactor.flush()
        self.assertEqual((one.heard, other.heard), ([True], []))
        self.finish()

    def test_slow_start_hook(self) -> None:
        """Workers serve what is theirs meanwhile."""
        waited = master_apps.pending(master_apps.START)
        one, _ = self.start(app=HOOKED)
        one.say_ready()
        self.reactor.flush()
        self.assertEqual(one.heard, [False])
        self.assertEqual(self.reactor.getReaders(), [])
        waited.callback(None)
        self.reactor.flush()
        self.assertEqual(one.heard, [False, True])
        self.assertEqual(len(self.reactor.getReaders()), 1)
        self.finish()

    def test_stop_during_the_start_hook(self) -> None:
        """The hook is cancelled, which is no failure of the core."""
        master_apps.pending(master_apps.START)
        self.start(app=HOOKED)
        self.finish()
        self.assertEqual(self.failures, [])
        self.assertEqual(self.log.lines(LogLevel.critical), [])

    def test_stop_during_a_start_hook_that_pays_no_heed(self) -> None:
        """A core that has been stopped never begins to serve."""

        async def deaf() -> None:
            try:
                await master_apps.pending([])
            except Exception:  # noqa: BLE001, S110 - that is what it is about
                pass

        master_apps.START.append(deaf())
        self.start(app=HOOKED)
        self.finish()

    def test_stop_hook_that_never_ends(self) -> None:
        """It is given the graceful timeout."""
        master_apps.pending(master_apps.STOP)
        self.start(app=HOOKED)
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
            self.start(app=HOOKED)
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
        self.assertEqual(str(error), "the core never became ready")
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


class StopTests(MasterCase):
    """In what order a master stops."""

    def test_workers_first(self) -> None:
        """Then the core, then the sockets: what workers answer may need the core."""
        core, one, other = self.start(core="isolated")
        stopped = self.service.stopService()
        self.reactor.flush()
        self.assertEqual([one.heard, other.heard, core.heard], [["drain"]] * 2 + [[]])
        one.exit()
        self.reactor.flush()
        self.assertEqual(core.heard, [])
        other.exit()
        self.reactor.flush()
        self.assertEqual(core.heard, ["drain"])
        self.assertTrue(self.path.exists())
        core.exit()
        self.successResultOf(stopped)
        self.assert_nothing_left()

    def test_core_in_the_master_serves_to_the_end(self) -> None:
        one, other = self.start(app=HOOKED)
        self.service.stopService()
        one.exit()
        self.assertEqual(len(self.reactor.getReaders()), 1)
        self.assertNotIn("stop", master_apps.SEEN)
        other.exit()
        self.assertIn("stop", master_apps.SEEN)
        self.assert_nothing_left()

    def test_stop_twice(self) -> None:
        children = self.start()
        stopped = [self.service.stopService(), self.service.stopService()]
        self.let_go()
        for each in stopped:
            self.successResultOf(each)
        self.assertEqual([c.heard for c in children], [["drain"]] * 2)

    def test_stop_before_the_start(self) -> None:
        self.make().privilegedStartService()
        self.successResultOf(self.service.stopService())
        self.assert_nothing_left()

    def test_drop(self) -> None:
        """All children are ended at once, the core's as well."""
        children = self.start(core="isolated")
        stopped = self.service.stopService()
        self.service.drop_children()
        self.assertEqual([c.signals for c in children], [["KILL"]] * 3)
        self.let_go()
        self.successResultOf(stopped)
        self.assert_nothing_left()

    def test_core_that_cannot_be_stopped(self) -> None:
        """The sockets are closed all the same, and the failure is told."""

        async def fail() -> None:
            raise ZeroDivisionError

        self.start()
        core = self.service._core
        assert core is not None
        stop = core.stop
        self.patch(core, "stop", fail)
        stopped = self.service.stopService()
        self.let_go()
        self.failureResultOf(stopped, ZeroDivisionError)
        self.assertFalse(self.path.exists())
        self.assertEqual(self.service.addresses, [])
        for coroutine in [stop()]:
            self.assertRaises(StopIteration, coroutine.send, None)


class AgainTests(MasterCase):
    """A service that is started, stopped and started again."""

    def test_all_is_as_at_first(self) -> None:
        self.start(app=HOOKED)
        for child in self.reactor.living():
            child.say_ready()
        self.finish()
        self.service.privilegedStartService()
        self.service.startService()
        self.assertEqual(len(self.reactor.living()), 2)
        one, other = self.reactor.living()
        self.assertTrue(Path(one.bootstrap["core_socket"]).is_socket())
        one.say_ready()
        other.say_ready()
        self.reactor.flush()
        self.assertEqual((one.heard, other.heard), ([True], [True]))
        self.finish()

    def test_first_run_does_not_count_for_the_second(self) -> None:
        """Workers that were ready then do not show that these can be."""
        self.start()
        for child in self.reactor.living():
            child.say_ready()
        self.finish()
        self.service.startService()
        self.reactor.living()[0].say_failed("no module", "Traceback", loading=True)
        self.let_go()
        self.assertIsInstance(self.failures[0], ApplicationLoadError)
        self.assert_nothing_left()

    def test_after_a_start_that_failed(self) -> None:
        self.path.write_text("precious")
        self.make()
        self.assertRaises(ListenError, self.service.startService)
        self.path.unlink()
        self.service.startService()
        self.assertEqual(len(self.reactor.living()), 2)
        self.finish()

