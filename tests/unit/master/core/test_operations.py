"""What an operator sees of the core, and can ask of it."""

import os

from clusterapp.channel.inspection import END
from clusterapp.errors import OperationError
from clusterapp.operations import OperationResult
from tests.unit.master import master_apps
from tests.unit.master.masters import HOOKED, OperationCase


class CoreStatusTests(OperationCase):
    """What can be seen of the core, and what can be done to it alone."""

    def core(self) -> dict[str, object]:
        found: dict[str, object] = self.operations.status()["core_process"]
        return found

    def test_isolated(self) -> None:
        """As of a worker: its state, its process, what it reports, its restarts."""
        child, _ = self.run_master(workers=1, core="isolated")
        child.report(lag=0.5, requests=7, active=2, rss=1024)
        self.reactor.flush()
        self.reactor.advance(3)
        found = self.core()
        expected = {
            "place": "isolated",
            "slot": "core",
            "state": "running",
            "generation": 1,
            "pid": child.pid,
            "restarts": 0,
            "uptime": 3.0,
            "requests": 7,
            "active": 2,
            "lag": 2.0,  # of the next report, by now
            "rss": 1024,
        }
        self.assertEqual({name: found[name] for name in expected}, expected)
        child.exit(status=1)
        self.reactor.flush()
        self.assertEqual((self.core()["state"], self.core()["pid"]), ("backoff", None))
        self.reactor.advance(1)
        self.assertEqual(
            (self.core()["state"], self.core()["restarts"]), ("starting", 1)
        )
        self.finish()

    def test_in_the_master(self) -> None:
        """Most of the figures are the master's own."""
        self.run_master(workers=1, app=HOOKED)
        self.reactor.advance(1.25)
        status = self.operations.status()
        found = self.core()
        expected = {
            "place": "master",
            "slot": "core",
            "state": "running",
            "generation": 1,
            "pid": os.getpid(),
            "restarts": 0,
            "uptime": 1.25,
            "requests": 0,
            "active": 0,
            **status["master"],
        }
        self.assertEqual({name: found[name] for name in expected}, expected)
        self.assertEqual(status["master"]["lag"], 0.25)
        self.assertGreater(status["master"]["rss"], 2**20)
        self.finish()

    def test_states_in_the_master(self) -> None:
        """A core in the master has no process, but a life."""
        waited = master_apps.pending(master_apps.START)
        stopping = master_apps.pending(master_apps.STOP)
        [worker] = self.start(workers=1, app=HOOKED)
        self.operations = self.service.operations
        found = self.core()
        self.assertEqual((found["state"], found["requests"]), ("starting", 0))
        worker.say_imported()
        self.assertEqual(self.core()["state"], "starting")
        waited.callback(None)
        self.assertEqual(self.core()["state"], "running")
        stopped = self.service.stopService()
        self.let_go()
        self.assertEqual(self.core()["state"], "draining")
        stopping.callback(None)
        self.successResultOf(stopped)
        self.assert_nothing_left()

    def test_elsewhere(self) -> None:
        self.run_master(workers=1, core="https://core.example")
        found = self.core()
        self.assertEqual(found["place"], "https://core.example")
        self.assertEqual((found["state"], found["pid"]), ("remote", None))
        for refused in (
            lambda: self.operations.restart("core", self.tell),
            lambda: self.operations.stacks("core"),
        ):
            with self.assertRaisesRegex(OperationError, "on another machine"):
                refused()
        self.finish()

    def test_restart(self) -> None:
        """The core alone, in the same release; the one that leaves is shown."""
        old, worker = self.run_master(workers=1, core="isolated")
        judged = self.operations.restart("core", self.tell)
        fresh = self.newest()
        self.assertEqual(
            (fresh.bootstrap["role"], fresh.bootstrap["generation"]), ("core", 1)
        )
        fresh.say_loaded()
        self.reactor.flush()
        self.assertEqual([row["slot"] for row in self.retiring()], ["core"])
        old.exit()
        self.reactor.flush()
        fresh.say_ready()
        self.reactor.flush()
        self.assertEqual(
            self.verdict(judged), OperationResult(True, "the core is replaced")
        )
        self.assertEqual(
            self.steps, [("core", "starting generation 1"), ("core", "ready")]
        )
        self.assertEqual(self.retiring(), [])
        self.assertTrue(worker.alive)
        self.finish()

    def retiring(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = self.operations.status()["retiring"]
        return found

    def test_restart_in_the_master(self) -> None:
        """It cannot be done; the refusal says what can."""
        self.run_master(workers=1, app=HOOKED)
        with self.assertRaisesRegex(OperationError, "clusterctl upgrade replaces both"):
            self.operations.restart("core", self.tell)
        self.finish()

    def test_stacks_in_the_master(self) -> None:
        """Those of all its threads, this one among them, and the requests under way."""
        self.run_master(workers=1, app=HOOKED)
        text = self.successResultOf(self.operations.stacks("core"))["core"]
        self.assertIn("requests under way: 0", text)
        self.assertIn("thread MainThread (most recent call last):", text)
        self.assertIn("test_stacks_in_the_master", text)
        self.finish()

    def test_stacks_of_an_isolated_one(self) -> None:
        """The process is asked as a worker is; one that is not there says nothing."""
        core, _ = self.run_master(workers=1, core="isolated")
        told = self.operations.stacks("core")
        core.prints(f"a stack\n{END}\n".encode(), fd=2)
        self.assertEqual(self.successResultOf(told), {"core": "a stack"})
        core.exit(status=1)
        self.reactor.flush()
        self.assertEqual(self.successResultOf(self.operations.stacks("core")), {})
        self.finish()
