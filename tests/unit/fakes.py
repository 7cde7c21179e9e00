"""A reactor whose child processes exist in memory only."""

import errno
import json
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import (
    IAddress,
    IProcessProtocol,
    IProcessTransport,
    IReactorProcess,
    IReactorSocket,
)
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    LogPublisher,
    formatEvent,
    globalLogPublisher,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from clusterapp.channel.ends import ChildEnd, WorkerStats
from clusterapp.interfaces import StaticFolder
from tests.unit.channel.passing import PassingTransport, joined

if TYPE_CHECKING:
    from twisted.test.iosim import IOPump

__all__ = [
    "FakeChild",
    "FakeReactor",
    "Log",
    "Started",
    "descriptors",
    "out_of_processes",
]


@dataclass(frozen=True)
class Started:
    """With what a process was spawned."""

    executable: str
    args: list[str]
    env: Mapping[str, str]
    child_fds: Mapping[int, int | str]
    #: The device and inode of every descriptor that is passed.
    passed: Mapping[int, tuple[int, int]]


@implementer(IProcessTransport)
class FakeChild:
    """A child process: what its master holds of it, and its own end of the channel."""

    def __init__(self, number: int, proto: IProcessProtocol, started: Started) -> None:
        self.pid: int | None = 1000 + number
        self.started = started
        #: What the child hears from its master, in order.
        self.heard: list[object] = []
        #: With what it was told to drain, what it was told of the cluster's health,
        #: and the connections it was given.
        self.drains: list[tuple[float, bool]] = []
        self.withins: list[float | None] = []
        self.healths: list[tuple[bool, object]] = []
        self.adopted: list[socket.socket] = []
        #: By which listener each of them has come.
        self.listeners: list[str] = []
        #: What it was told to accept from, and whether others do; whose requests
        #: belong where.
        self.listening: dict[str, bool] = {}
        self.stickiness: Mapping[str, Any] = {}
        self.signals: list[str] = []
        self.stdin = b""
        self.stdin_closed = False
        self.alive = True
        self.has_core = True
        self.end = ChildEnd(self)
        self.pump: IOPump | None = None
        self._proto = proto

    # What the test lets the child do.

    @property
    def bootstrap(self) -> Mapping[str, Any]:
        """The document that the child was given: the first line on its stdin."""
        document: dict[str, Any] = json.loads(self.stdin.partition(b"\n")[0])
        return document

    @property
    def asked(self) -> bytes:
        """What the master wrote after the document."""
        return self.stdin.partition(b"\n")[2]

    def flush(self) -> None:
        """Carry what was said, both ways."""
        assert self.pump is not None
        self.pump.flush()

    def say_imported(self) -> None:
        """Send `Imported`, as workers do: whether the application has a core."""
        if self.bootstrap["role"] == "worker":
            self.end.imported(has_core=self.has_core)
            self.flush()

    def say_ready(self) -> None:
        """Send `Ready`: the child accepts connections."""
        self.say_imported()
        self.end.ready()
        self.flush()

    def say_loaded(self) -> None:
        """Send `Loaded`: the child waits for `Activate`."""
        self.say_imported()
        self.end.loaded()
        self.flush()

    def report(self, **figures: float) -> None:
        """Send `Report` with the child's figures."""
        still = {"lag": 0.0, "requests": 0, "active": 0, "connections": 0, "rss": 0}
        self.end.report(WorkerStats(**{**still, **figures}))  # type: ignore[arg-type]
        self.flush()

    def say_failed(self, reason: str, traceback: str = "", *, loading: bool) -> None:
        """Send `Failed` with the reason."""
        self.end.failed(loading=loading, reason=reason, traceback=traceback)
        self.flush()

    def prints(self, written: bytes, fd: int = 1) -> None:
        """Write to stdout, or to stderr."""
        self._proto.childDataReceived(fd, written)

    def closes(self, fd: int) -> None:
        """Close stdout, or stderr."""
        self._proto.childConnectionLost(fd)

    def exit(self, status: int = 0, signal: int | None = None) -> None:
        """Exit, as the reactor reports it."""
        self.alive = False
        done = ProcessDone if (status, signal) == (0, None) else ProcessTerminated
        error = (
            ProcessDone(0)
            if done is ProcessDone
            else ProcessTerminated(status if signal is None else None, signal)
        )
        self._proto.processExited(Failure(error))

    # What it hears: `clusterapp.channel.ends.MasterOrders`.

    adopts = True

    def activate(self) -> None:
        self.heard.append("activate")

    def adopt(self, connection: socket.socket, listener: str) -> None:
        self.adopted.append(connection)
        self.listeners.append(listener)

    def accept(self, listener: str, listening: socket.socket, *, shared: bool) -> None:
        self.listening[listener] = shared
        listening.close()

    def refuse(self, listener: str) -> None:
        self.listening.pop(listener, None)

    def update_affinity(self, how: str) -> None:
        self.stickiness = json.loads(how)

    def drain(
        self, *, spread: float, hand_over: bool, within: float | None = None
    ) -> None:
        self.heard.append("drain")
        self.drains.append((spread, hand_over))
        self.withins.append(within)

    def core_ready(self, ready: bool, *, back: bool) -> None:
        self.heard.append("back" if back else ready)

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        self.healths.append((ready, json.loads(detail)))

    def broken(self, why: str) -> None:
        self.heard.append(("broken", why))

    def reopen_logs(self) -> None:
        self.heard.append("reopen")

    def master_gone(self) -> None:
        self.heard.append("gone")

    # What its master does: IProcessTransport.

    def signalProcess(self, signalID: str | int) -> None:
        if not self.alive:
            raise ProcessExitedAlready
        self.signals.append(signal.Signals(int(signalID)).name.removeprefix("SIG"))

    def write(self, data: bytes) -> None:
        self.stdin += data

    def writeSequence(self, data: Any) -> None:
        self.stdin += b"".join(data)

    def closeStdin(self) -> None:
        self.stdin_closed = True

    def closeStdout(self) -> None:
        raise NotImplementedError

    def closeStderr(self) -> None:
        raise NotImplementedError

    def closeChildFD(self, descriptor: int) -> None:
        raise NotImplementedError

    def writeToChild(self, childFD: int, data: bytes) -> None:
        raise NotImplementedError

    def loseConnection(self) -> None:
        raise NotImplementedError

    def getPeer(self) -> IAddress:
        raise NotImplementedError

    def getHost(self) -> IAddress:
        raise NotImplementedError


@implementer(IReactorProcess, IReactorSocket)
class FakeReactor(MemoryReactorClock):
    """
    A reactor that starts `FakeChild`, on a clock that only the test moves.

    :ivar children: every child that was ever started.
    :ivar spawn_error: raised by the next attempts to start a child.
    """

    def __init__(self) -> None:
        super().__init__()
        self.children: list[FakeChild] = []
        self.spawn_error: Exception | None = None
        self.ends: list[PassingTransport] = []

    def adoptStreamConnection(
        self,
        fileDescriptor: int,
        addressFamily: Any,
        factory: Any,
    ) -> None:
        os.fstat(fileDescriptor)
        end = factory.buildProtocol(None)
        transport = PassingTransport(end, isServer=True)
        self.ends.append(transport)
        end.makeConnection(transport)

    def spawnProcess(  # noqa: PLR0913, PLR0917 - Twisted's own signature
        self,
        processProtocol: Any,
        executable: Any,
        args: Any = (),
        env: Any = None,
        path: Any = None,
        uid: Any = None,
        gid: Any = None,
        usePTY: Any = False,
        childFDs: Any = None,
    ) -> FakeChild:
        assert (path, uid, gid, usePTY) == (None, None, None, False)
        if self.spawn_error is not None:
            raise self.spawn_error
        passed = {
            child: (os.fstat(ours).st_dev, os.fstat(ours).st_ino)
            for child, ours in childFDs.items()
            if isinstance(ours, int)
        }
        started = Started(executable, list(args), env, childFDs, passed)
        child = FakeChild(len(self.children), processProtocol, started)
        self._join(child)
        self.children.append(child)
        processProtocol.makeConnection(child)
        return child

    def living(self) -> list[FakeChild]:
        """Every child that has not gone."""
        return [child for child in self.children if child.alive]

    def flush(self) -> None:
        """Carry what the master has said to its children."""
        for child in self.living():
            child.flush()

    def _join(self, child: FakeChild) -> None:
        near = self.ends[-1]
        far = PassingTransport(child.end, isServer=False)
        child.end.makeConnection(far)
        child.pump = joined(near, far)


def out_of_processes() -> OSError:
    """Make the error of a fork that the kernel refuses."""
    return OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


@implementer(ILogObserver)
class Log:
    """What is logged while a test runs, as lines with their level."""

    def __init__(
        self, test: SynchronousTestCase, publisher: LogPublisher = globalLogPublisher
    ) -> None:
        self.events: list[LogEvent] = []
        publisher.addObserver(self)
        test.addCleanup(publisher.removeObserver, self)

    def __call__(self, event: LogEvent) -> None:
        self.events.append(event)

    def lines(self, level: LogLevel | None = None) -> list[str]:
        """Return the events of our own and of children, those of one level if given."""
        return [
            formatEvent(event)
            for event in self.events
            if level in (None, event["log_level"])
            and (
                event.get("from_child")
                or str(event.get("log_namespace", "")).startswith("clusterapp")
            )
        ]

    def text(self) -> str:
        """Return all lines as one text."""
        return "\n".join(self.lines())


def descriptors() -> set[tuple[int, str]]:
    """Return which descriptors this process has open, and on what."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add((int(entry.name), str(entry.readlink())))
        except FileNotFoundError:  # that was the one that listed the folder
            continue
    return found


class Master:
    """Writes down what a child says."""

    def __init__(self) -> None:
        self.readies = 0
        self.static: StaticFolder | None = None
        self.failures: list[tuple[bool, str, str]] = []

        self.loadeds = 0
        self.cores: list[bool] = []
        self.pulses: list[WorkerStats] = []
        self.handed_over: list[socket.socket] = []
        #: By which listener each of them has come.
        self.listeners: list[str] = []
        self.takes = True
        self.terminated = 0

    def terminating(self) -> None:
        self.terminated += 1

    def imported(self, *, has_core: bool) -> None:
        self.cores.append(has_core)

    def loaded(self) -> None:
        self.loadeds += 1

    def reported(self, stats: WorkerStats) -> None:
        self.pulses.append(stats)

    def hand_over(self, connection: socket.socket, listener: str) -> Deferred[bool]:
        self.listeners.append(listener)
        self.handed_over.append(connection)
        return succeed(self.takes)

    def ready(self, static: StaticFolder | None) -> None:
        self.readies += 1
        self.static = static

    def failed(self, *, loading: bool, reason: str, traceback: str) -> None:
        self.failures.append((loading, reason, traceback))
