"""How a child process comes to be, with processes that exist in memory only."""

import os
import signal
import socket
import sys
from pathlib import Path

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProcessTransport, IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.protocols.amp import UnknownRemoteError
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import clusterapp
from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.channel.ends import WorkerStats
from clusterapp.channel.log_pipe.log_events import LOG_FD, ChildEvent
from clusterapp.interfaces import StaticFolder
from clusterapp.spawning.execute import Child, execute
from tests.unit.fakes import (
    FakeChild,
    FakeReactor,
    Started,
    descriptors,
    out_of_processes,
)


class Events:
    """Writes down what a master hears of its child."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.printed_lines: list[tuple[str, bool]] = []

    def ready(self, static: StaticFolder | None) -> None:
        self.heard.append("ready" if static is None else static)

    def imported(self, *, has_core: bool) -> None:
        self.heard.append(("imported", has_core))

    def loaded(self) -> None:
        self.heard.append("loaded")

    def reported(self, stats: WorkerStats) -> None:
        self.heard.append(stats)

    def terminating(self) -> None:
        self.heard.append("terminating")

    def hand_over(self, connection: socket.socket, listener: str) -> Deferred[bool]:
        connection.close()
        return succeed(False)

    def failed(self, *, loading: bool, reason: str, traceback: str) -> None:
        self.heard.append((loading, reason, traceback))

    def exited(self, reason: Failure) -> None:
        self.heard.append(type(reason.value).__name__)

    def printed(self, line: str, *, error: bool) -> None:
        self.printed_lines.append((line, error))

    def logged(self, event: ChildEvent) -> None:
        self.heard.append(event)


class ExecuteCase(SynchronousTestCase):
    """A master that starts children."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.events = Events()
        self.sockets = {
            name: self.listening() for name in ("tcp:8080", "unix:/run/a.sock")
        }

    def listening(self) -> socket.socket:
        made = socket.socket()
        self.addCleanup(made.close)
        return made

    def execute(
        self, python_path: str | None = None, access_log: int | None = None
    ) -> tuple[Child, FakeChild]:
        """Start a child; return what the master has of it, and the child itself."""
        if python_path is not None:
            self.patch(os, "environ", {**os.environ, "PYTHONPATH": python_path})
        bootstrap = Bootstrap(role="worker", slot=2, generation=1, settings={"a": [1]})
        child = execute(
            self.reactor,  # type: ignore[arg-type]
            bootstrap,
            {**os.environ},
            {name: each.fileno() for name, each in self.sockets.items()},
            self.events,
            access_log,
        )
        return child, self.reactor.children[-1]


class FakeTests(SynchronousTestCase):
    """The fakes are what they stand for."""

    def test_reactor(self) -> None:
        verifyObject(IReactorProcess, FakeReactor())

    def test_child(self) -> None:
        started = Started(sys.executable, [], {}, {}, {})
        verifyObject(IProcessTransport, FakeChild(0, ProcessProtocol(), started))


class ExecuteTests(ExecuteCase):
    """What a new process is given."""

    def test_command(self) -> None:
        """The same Python runs the worker's module."""
        _, process = self.execute()
        self.assertEqual(process.started.executable, sys.executable)
        self.assertEqual(
            process.started.args,
            [sys.executable, "-m", "clusterapp.worker", "worker 2 clusterapp.demo:app"],
        )

    def test_descriptors(self) -> None:
        """Pipes, the control channel, log events, the record of requests; sockets."""
        _, process = self.execute()
        fds = process.started.child_fds
        self.assertEqual(sorted(fds), [0, 1, 2, 3, 4, 5, 6, 7])
        pipes = [fds[n] for n in (0, 1, 2, LOG_FD)]
        self.assertEqual(pipes, ["w", "r", "r", "r"])
        self.assertEqual(process.bootstrap["sockets"].keys(), self.sockets.keys())
        for name, number in process.bootstrap["sockets"].items():
            found = os.fstat(self.sockets[name].fileno())
            self.assertEqual(
                process.started.passed[number], (found.st_dev, found.st_ino), name
            )

    def test_access_log(self) -> None:
        """It is the last of the descriptors, and the document says which."""
        self.assertIsNone(self.execute()[1].bootstrap["access_log"])
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        _, process = self.execute(access_log=writing)
        self.assertEqual(process.bootstrap["access_log"], 8)
        self.assertEqual(process.started.child_fds[8], writing)
        self.assertEqual(sorted(process.bootstrap["sockets"].values()), [6, 7])

    def test_control_channel_is_no_one_elses(self) -> None:
        _, process = self.execute()
        others = [process.started.passed[n] for n in (6, 7)]
        self.assertNotIn(process.started.passed[3], others)

    def test_environment(self) -> None:
        """The child finds this very package, besides what it is to find."""
        home = str(Path(clusterapp.__file__).resolve().parents[1])
        for before, expected in (("/a:/b", f"{home}:/a:/b"), ("", home)):
            _, process = self.execute(before)
            self.assertEqual(
                process.started.env, {**os.environ, "PYTHONPATH": expected}
            )

    def test_document(self) -> None:
        """It is the first line on stdin, which stays open for questions."""
        _, process = self.execute("/a")
        document = process.bootstrap
        self.assertEqual(
            {name: document[name] for name in ("role", "slot", "settings")},
            {"role": "worker", "slot": 2, "settings": {"a": [1]}},
        )
        self.assertEqual(document["python_path"], "/a")
        self.assertEqual(process.stdin.count(b"\n"), 1)
        self.assertFalse(process.stdin_closed)

    def test_no_python_path(self) -> None:
        """The child shall not see ours as the operator's."""
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self.patch(os, "environ", environment)
        _, process = self.execute()
        self.assertIsNone(process.bootstrap["python_path"])

    def test_master_keeps_its_sockets_only(self) -> None:
        """Both ends of the channel are closed: the reactor and the child have them."""
        before = descriptors()
        self.execute()
        self.assertEqual(descriptors(), before)
        for each in self.sockets.values():
            self.assertNotEqual(each.fileno(), -1)


class FailingTests(ExecuteCase):
    """A process that cannot be started."""

    def test_spawn_fails(self) -> None:
        """Nothing is left behind; the channel is closed as well."""
        before = descriptors()
        self.reactor.spawn_error = out_of_processes()
        self.assertRaises(BlockingIOError, self.execute)
        self.assertEqual(descriptors(), before)
        [end] = self.reactor.ends
        self.assertTrue(end.disconnecting)

    def test_channel_fails(self) -> None:
        """No process is started that nobody could talk to."""
        before = descriptors()

        def refuse(*_: object) -> None:
            raise out_of_processes()

        self.patch(self.reactor, "adoptStreamConnection", refuse)
        self.assertRaises(OSError, self.execute)
        self.assertEqual(self.reactor.children, [])
        self.assertEqual(descriptors(), before)


class ChildTests(ExecuteCase):
    """What master and child have to do with each other."""

    def setUp(self) -> None:
        super().setUp()
        self.child, self.process = self.execute()

    def test_pid(self) -> None:
        self.assertEqual(self.child.pid, self.process.pid)

    def test_connection_that_it_cannot_have(self) -> None:
        """It is gone, or had no descriptor left; either way another may have it."""
        near, far = socket.socketpair()
        with near, far:
            for why in (ConnectionLost(), UnknownRemoteError("")):
                refused: Deferred[None] = fail(why)
                self.patch(
                    self.child._end, "adopt", lambda *_, refused=refused: refused
                )
                self.assertIs(self.successResultOf(self.child.adopt(far, "")), False)

    def test_child_speaks(self) -> None:
        self.process.say_ready()
        self.process.say_failed("no", "why", loading=True)
        self.assertEqual(
            self.events.heard, [("imported", True), "ready", (True, "no", "why")]
        )

    def test_master_speaks(self) -> None:
        self.child.core_ready(True, back=False)
        self.child.reopen_logs()
        self.child.drain(spread=0.0, hand_over=False)
        self.process.flush()
        self.assertEqual(self.process.heard, [True, "reopen", "drain"])

    def test_words_to_the_dead_are_lost(self) -> None:
        """Nobody waits for an answer, and nothing is logged."""
        self.child.drain(spread=0.0, hand_over=False)
        self.child.close()
        self.process.flush()
        self.child.core_ready(True, back=False)
        self.child.reopen_logs()
        self.child.drain(spread=0.0, hand_over=False)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_signals(self) -> None:
        """None goes to a process that is gone, whose pid may be another's."""
        self.child.signal("KILL")
        self.process.exit(signal=9)
        self.child.signal("TERM")
        self.assertEqual(self.process.signals, ["KILL"])

    def test_question(self) -> None:
        """A byte on stdin; a process that is stopped is woken up to answer."""
        self.child.inspect()
        self.assertEqual((self.process.signals, self.process.asked), (["CONT"], b"?"))

    def test_stacks(self) -> None:
        """The signal goes only to a process that has a handler for it."""
        before = signal.getsignal(signal.SIGUSR2)
        self.addCleanup(signal.signal, signal.SIGUSR2, before)
        self.child.pid = os.getpid()
        for handler in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(signal.SIGUSR2, handler)
            self.child.dump_stacks()
        self.assertEqual(self.process.signals, [])
        signal.signal(signal.SIGUSR2, lambda *_: None)
        self.child.dump_stacks()
        self.assertEqual(self.process.signals, ["USR2"])

    def test_stacks_of_a_process_that_is_gone(self) -> None:
        ended = os.posix_spawn("/bin/true", ["true"], {})
        os.waitpid(ended, 0)
        self.child.pid = ended
        self.child.dump_stacks()
        self.assertEqual(self.process.signals, [])

    def test_letting_go(self) -> None:
        """A grandchild that was forked may hold the other end of stdin."""
        self.child.close()
        self.assertTrue(self.process.stdin_closed)

    def test_exit_is_heard_while_pipes_are_open(self) -> None:
        """A grandchild may keep them for ever."""
        self.process.exit()
        self.assertEqual(self.events.heard, ["ProcessDone"])
        self.process.prints(b"late\n")
        self.assertEqual(self.events.printed_lines, [("late", False)])

    def test_lines_of_both_streams(self) -> None:
        """A whole line at a time, and what came after the last one."""
        self.process.prints(b"a")
        self.process.prints(b"x\ny", fd=2)
        self.process.prints(b"b\nc")
        self.assertEqual(self.events.printed_lines, [("x", True), ("ab", False)])
        for fd in (0, 1, 2):
            self.process.closes(fd)
        self.assertEqual(self.events.printed_lines[2:], [("c", False), ("y", True)])
