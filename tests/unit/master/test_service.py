"""A master that starts and stops, with children that exist in memory only."""

import signal
from pathlib import Path

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactor
from twisted.logger import LogLevel

from clusterapp.channel.bootstrap import PRIVATE, QUEUE, SCOREBOARD
from clusterapp.errors import (
    ApplicationLoadError,
    ListenError,
    NeverReadyError,
    ReactorError,
    SettingsError,
)
from clusterapp.spawning.cpus import usable_cpus
from tests.unit.master import master_apps
from tests.unit.master.masters import HOOKED, PLAIN, MasterCase


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
            self.assertEqual(len(document["listeners"]), 1)
            listeners = document["sockets"].keys() - {SCOREBOARD, QUEUE, PRIVATE}
            self.assertEqual(listeners, set(document["listeners"]))
        self.finish()

    def test_number_by_the_machine(self) -> None:
        cpus = usable_cpus()
        self.assertEqual(len(self.start(workers="auto")), cpus.count)
        self.assertIn(f"starting {cpus.count} workers: {cpus.reason}", self.log.lines())
        self.finish()

    def test_more_than_the_machine_has(self) -> None:
        """They are started all the same, with a warning that says why."""
        count = usable_cpus().count + 1
        self.assertEqual(len(self.start(workers=count)), count)
        [line] = self.log.lines(LogLevel.warn)
        self.assertIn(f"{count} workers share", line)
        self.finish()

    def test_far_more_than_the_machine_has(self) -> None:
        """No socket is bound and nothing is started: it is a slip."""
        self.make(workers=32 * usable_cpus().count + 1)
        for start in (self.service.privilegedStartService, self.service.startService):
            with self.assertRaisesRegex(SettingsError, "workers = .* 32 for each CPU"):
                start()
        self.assertEqual(self.service.addresses, [])
        self.assert_nothing_left()

    def test_everyone_is_trusted(self) -> None:
        """What that means is said."""
        self.start(trusted_proxies=["*"])
        [line] = self.log.lines(LogLevel.warn)
        self.assertIn("trusted_proxies = *", line)
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

    def test_files_of_tls(self) -> None:
        """They are read before a child is started."""
        for settings in (
            {"listen": "tls:0:certificates=/no/certificates:interface=127.0.0.1"},
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
        self.service.reactor = MemoryReactor()
        self.service.privilegedStartService()
        self.assertRaises(ReactorError, self.service.startService)
        self.assert_nothing_left()

    def test_start_hook_of_the_core_at_once(self) -> None:
        """The workers are not waited for: none has served yet."""
        master_apps.START.append(ValueError("no database"))
        self.start_core(app=HOOKED)
        self.let_go()
        [error] = self.failures
        self.assertIsInstance(error, NeverReadyError)
        self.assertIn("no database", str(error))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assert_nothing_left()

    def test_start_hook_of_the_core_later(self) -> None:
        waited = master_apps.pending(master_apps.START)
        self.assertEqual(len(self.start_core(app=HOOKED)), 2)
        waited.errback(ValueError("no database"))
        self.let_go()
        self.assertIsInstance(self.failures[0], NeverReadyError)
        self.flushLoggedErrors(ValueError)
        self.assert_nothing_left()


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
        one, other = self.start_core(app=HOOKED)
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

        async def fail(within: float) -> None:
            raise ZeroDivisionError

        self.start()
        core = self.service.deployment.core
        assert core is not None
        stop = core.stop
        self.patch(core, "stop", fail)
        stopped = self.service.stopService()
        self.let_go()
        self.failureResultOf(stopped, ZeroDivisionError)
        self.assertFalse(self.path.exists())
        self.assertEqual(self.service.addresses, [])
        self.successResultOf(Deferred.fromCoroutine(stop(1.0)))


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
