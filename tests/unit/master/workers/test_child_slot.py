"""One slot of a master, with processes that exist in memory only."""

import socket
from dataclasses import replace

from twisted.internet.defer import Deferred, succeed
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.interfaces import Role
from clusterapp.lifecycle import SlotTimeouts, State
from clusterapp.master.workers.child_resources import ChildResources
from clusterapp.master.workers.child_slot import ChildSlot
from clusterapp.master.workers.spawn_spec import SpawnSpec
from tests.unit.fakes import FakeChild, FakeReactor, Log, out_of_processes

TIMEOUT = SlotTimeouts(boot=10, drain=5, pause=1, spread=0, fatal_pause=100)


class Watcher:
    """Writes down what it hears of a slot."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self.trials: list[ChildSlot] = []
        self.terminated: list[ChildSlot] = []
        self.cores: list[bool] = []
        self.failures: list[tuple[str, bool, str, str]] = []
        #: By which listener each connection that was handed over has come.
        self.listeners: list[str] = []

    def entered(self, slot: ChildSlot, state: State) -> None:
        assert slot.state == state
        self.states.append(state)

    def imported(self, *, has_core: bool) -> None:
        self.cores.append(has_core)

    def terminating(self, slot: ChildSlot) -> None:
        self.terminated.append(slot)

    def loaded(self, slot: ChildSlot) -> None:
        self.trials.append(slot)

    def hand_over(
        self, slot: ChildSlot, connection: socket.socket, listener: str
    ) -> Deferred[bool]:
        connection.close()
        self.listeners.append(listener)
        return succeed(True)

    def failed(
        self, slot: ChildSlot, *, loading: bool, reason: str, traceback: str
    ) -> None:
        self.failures.append((slot.label, loading, reason, traceback))


class SlotCase(SynchronousTestCase):
    """A slot that is stopped."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.watcher = Watcher()
        self.log = Log(self)
        self.slot = self.make("worker", 3)

    def make(self, role: Role, number: int, **timeouts: float) -> ChildSlot:
        bootstrap = Bootstrap(role=role, slot=number, generation=7, settings={})
        return ChildSlot(
            self.reactor,  # type: ignore[arg-type]
            SpawnSpec(bootstrap, {}, self.supply),
            replace(TIMEOUT, **timeouts),  # type: ignore[arg-type]
            self.watcher,
        )

    def supply(self, _number: int) -> ChildResources:
        return ChildResources({})

    def started(self) -> FakeChild:
        self.slot.start()
        return self.reactor.children[-1]

    def running(self) -> FakeChild:
        child = self.started()
        child.say_ready()
        self.assertEqual(self.slot.state, "running")
        return child


class LifeTests(SlotCase):
    """From the start to the end."""

    def test_start(self) -> None:
        child = self.started()
        self.assertEqual(child.bootstrap["slot"], 3)
        self.assertEqual(self.slot.state, "starting")
        self.reactor.advance(0.25)
        child.say_ready()
        self.assertEqual(self.watcher.states, ["starting", "running"])
        self.assertEqual(
            self.log.lines(), ["worker 3 is ready after 0.25 s (pid 1000)"]
        )

    def test_drain(self) -> None:
        """The child is asked, and leaves; nothing about that is an error."""
        child = self.running()
        self.slot.drain()
        child.flush()
        self.assertEqual(child.heard, ["drain"])
        self.assertEqual(self.slot.state, "draining")
        child.exit()
        self.assertEqual(self.slot.state, "stopped")
        self.assertEqual(self.log.lines()[-1], "worker 3 (pid 1000) left with status 0")
        self.assertEqual(self.log.lines(LogLevel.error), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_drain_while_starting(self) -> None:
        """One that imports, and so hears nothing, is killed after a second."""
        self.slot.start()
        [child] = self.reactor.children
        self.slot.drain()
        self.reactor.advance(0.9)
        self.assertEqual(child.signals, [])
        self.reactor.advance(0.2)
        self.assertEqual(child.signals, ["KILL"])
        child.exit(signal=9)
        self.assertEqual(self.slot.state, "stopped")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_drain_heard_while_starting(self) -> None:
        """One that hears it leaves by itself."""
        self.slot.start()
        [child] = self.reactor.children
        self.slot.drain()
        child.exit()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(child.signals, [])

    def test_lag(self) -> None:
        """It is what was reported, or how late the next report is by now."""
        child = self.running()
        self.assertIsNone(self.slot.lag)
        child.report(lag=0.5)
        self.reactor.flush()
        self.assertEqual(self.slot.lag, 0.5)
        self.reactor.advance(3)
        self.assertEqual(self.slot.lag, 2)

    def test_signal(self) -> None:
        """A process that has received SIGTERM takes nothing more; the watcher hears."""
        child = self.running()
        self.assertTrue(self.slot.accepts)
        child.end.terminating()
        child.flush()
        self.assertEqual(self.watcher.terminated, [self.slot])
        self.assertFalse(self.slot.accepts)
        self.assertEqual(self.slot.state, "running")
        child.exit()
        self.assertEqual(self.log.lines(LogLevel.error), [])
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.children), 2)
        self.assertFalse(self.slot.accepts)

    def test_crash(self) -> None:
        """It is replaced after a pause, and the log says all of it."""
        self.running().exit(signal=9)
        self.assertEqual(
            self.log.lines()[-2:],
            [
                "worker 3 (pid 1000) left with signal 9 (SIGKILL)",
                "worker 3 is started again in 1.00 s",
            ],
        )
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.children), 2)
        self.assertEqual(
            self.watcher.states, ["starting", "running", "backoff", "starting"]
        )

    def test_crash_while_the_cluster_stops(self) -> None:
        """As of a core that SIGTERM has reached as well: no start is announced."""
        child = self.running()
        self.slot.cluster_stops = True
        child.exit()
        self.assertEqual(self.log.lines()[-1], "worker 3 (pid 1000) left with status 0")

    def test_logs_are_renamed(self) -> None:
        """A child hears of it at any time of its life, even while it starts."""
        self.slot.reopen_logs()
        child = self.started()
        self.slot.reopen_logs()
        child.flush()
        self.assertEqual(child.heard, ["reopen"])
        child.say_ready()
        self.slot.drain()
        self.slot.reopen_logs()
        child.flush()
        self.assertEqual(child.heard, ["reopen", "drain", "reopen"])
        child.exit()
        self.slot.reopen_logs()

    def test_crash_closes_the_channel(self) -> None:
        """A grandchild may hold its other end open for ever."""
        child = self.running()
        child.exit(status=1)
        child.flush()
        self.assertEqual(child.heard, ["gone"])

    def test_fatal(self) -> None:
        """The log says that, and when the next attempt is made."""
        self.slot.start()
        for _ in range(5):
            self.reactor.children[-1].exit(status=1)
            self.reactor.advance(self.reactor.getDelayedCalls()[0].getTime())
        self.assertEqual(self.slot.state, "fatal")
        self.assertEqual(
            self.log.lines()[-2:],
            [
                "worker 3 (pid 1004) left with status 1",
                "worker 3 crashes too often and is started again in 100.00 s",
            ],
        )
        self.slot.drain()

    def test_slow_boot(self) -> None:
        child = self.started()
        self.reactor.advance(10)
        self.assertEqual(child.signals, ["KILL"])
        self.assertIn(
            "worker 3 (pid 1000) takes too long in state 'starting': killing it",
            self.log.lines(LogLevel.error),
        )

    def test_slow_drain(self) -> None:
        child = self.running()
        self.slot.drain()
        self.reactor.advance(5)
        self.assertEqual(child.signals, ["KILL"])
        child.exit(signal=9)
        self.assertEqual(self.slot.state, "stopped")

    def test_drop(self) -> None:
        """At once, whatever the child is doing."""
        child = self.running()
        self.slot.drop()
        self.assertEqual(child.signals, ["KILL"])
        child.exit(signal=9)
        self.assertEqual(self.slot.state, "stopped")

    def test_drop_while_it_drains(self) -> None:
        child = self.running()
        self.slot.drain()
        self.slot.drop()
        self.assertEqual(child.signals, ["KILL"])

    def test_drop_without_a_process(self) -> None:
        self.running().exit(status=1)
        self.slot.drop()
        self.assertEqual(self.slot.state, "stopped")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cannot_be_spawned(self) -> None:
        """It is logged, and tried again like after a crash."""
        self.reactor.spawn_error = out_of_processes()
        self.slot.start()
        self.assertEqual(self.slot.state, "backoff")
        self.assertRegex(
            self.log.lines(LogLevel.error)[0], "^worker 3 cannot be started: .*Errno 11"
        )
        self.reactor.spawn_error = None
        self.reactor.advance(1)
        self.assertEqual(self.slot.state, "starting")


class WordsTests(SlotCase):
    """What master and child tell each other."""

    def test_core_readiness(self) -> None:
        """Only a process that is ready is told."""
        self.slot.core_ready(True, back=False)
        child = self.started()
        self.slot.core_ready(True, back=False)
        child.say_ready()
        self.slot.core_ready(False, back=False)
        child.flush()
        self.assertEqual(child.heard, [False])
        child.exit()
        self.slot.core_ready(True, back=False)

    def test_ready_after_it_was_told_to_drain(self) -> None:
        """It may have taken requests before it received that, and is told as well."""
        child = self.started()
        self.slot.drain()
        self.slot.core_ready(True, back=False)
        child.say_ready()
        self.assertEqual(self.watcher.trials, [self.slot])
        self.assertEqual(self.watcher.states, ["starting", "draining"])
        self.slot.core_ready(False, back=False)
        child.flush()
        self.assertEqual(child.heard, ["drain", False])

    def test_drain_after_it_was_ready(self) -> None:
        """It has been told what there is, once."""
        child = self.running()
        self.slot.drain()
        child.flush()
        self.assertEqual(self.watcher.trials, [])

    def test_failure(self) -> None:
        child = self.started()
        child.say_failed("no shop", "Traceback", loading=True)
        self.assertEqual(
            self.watcher.failures, [("worker 3", True, "no shop", "Traceback")]
        )

    def test_output(self) -> None:
        """With slot and generation, in words and as fields; stderr as a warning."""
        child = self.started()
        child.prints(b"hello {not a field}\n")
        child.prints(b"oh no\n", fd=2)
        self.assertEqual(
            self.log.lines(LogLevel.info),
            ["[worker 3 generation 7] hello {not a field}"],
        )
        self.assertEqual(
            self.log.lines(LogLevel.warn), ["[worker 3 generation 7] oh no"]
        )
        event = self.log.events[-1]
        self.assertEqual((event["slot"], event["generation"]), (3, 7))

    def test_label_of_a_core(self) -> None:
        self.assertEqual(self.make("core", -1).label, "core")
