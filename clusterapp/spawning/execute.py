"""A child process that is executed anew, with ``reactor.spawnProcess``."""

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed, ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

import clusterapp
from clusterapp.channel.bootstrap import CONTROL_FD, Bootstrap
from clusterapp.channel.ends import Adopted, ChildEvents, MasterEnd
from clusterapp.interfaces import IClusterReactor
from clusterapp.spawning.lines import Lines

_STDOUT, _STDERR = 1, 2

#: What systemd passed is the master's: its sockets, and the right to speak for it.
_OF_SYSTEMD = (
    *("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"),
    *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"),
)

#: Where the package is imported from: a child must find the same one.
_HOME = str(Path(clusterapp.__file__).resolve().parent.parent)


class ProcessEvents(ChildEvents, Protocol):
    """What a master may hear of one of its children."""

    def exited(self, reason: Failure) -> None:
        """Hear that the process is gone, and how it went."""

    def printed(self, line: str, *, error: bool) -> None:
        """Hear a whole line that the process wrote to stdout or stderr."""


class Child:
    """A running child process, as its master sees it."""

    def __init__(self, transport: IProcessTransport, end: MasterEnd) -> None:
        self._transport = transport
        self._end = end
        self.pid: int = transport.pid

    def proceed(self) -> None:
        """Let a child on trial take its place."""
        self._end.proceed().addErrback(_trap_loss)

    def drain(self, *, spread: float, hand_over: bool) -> None:
        """
        Ask the child to finish and leave.

        :param spread: the seconds over which it ends what does not end by itself.
        :param hand_over: whether idle connections can be given to other workers.
        """
        # If the channel breaks the child takes that as the same order.
        said = self._end.drain(spread=spread, hand_over=hand_over)
        said.addErrback(_trap_loss)

    def core_ready(self, ready: bool, *, back: bool) -> None:
        """Tell the child whether the core takes requests, or will soon be back."""
        # A child whose channel is gone needs no news any more.
        self._end.core_ready(ready, back=back).addErrback(_trap_loss)

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        """Tell the child whether clients should be sent to this cluster."""
        self._end.cluster_health(ready=ready, detail=detail).addErrback(_trap_loss)

    def broken(self, why: str) -> None:
        """Tell the child what is wrong with the code; nothing, if that is empty."""
        self._end.broken(why).addErrback(_trap_loss)

    def adopt(self, connection: socket.socket) -> Deferred[bool]:
        """
        Have the child serve a connection.

        :param connection: stays the caller's, who keeps it open until this fires.
        :return: fires with whether the child has it.
        """
        said: Deferred[Any] = self._end.adopt(connection)
        return said.addCallbacks(lambda _: True, _not_adopted)

    def reopen_logs(self) -> None:
        """Tell the child that the files of its logs have been renamed."""
        self._end.reopen_logs().addErrback(_trap_loss)

    def signal(self, name: str) -> None:
        """
        Send a signal, unless the child is gone already.

        :param name: as in ``TERM``.
        """
        with suppress(ProcessExitedAlready):
            self._transport.signalProcess(name)

    def close(self) -> None:
        """
        Let go of a child that is gone.

        A grandchild may hold the child's end of the channel open, and what is still
        to be read from it must not be taken for the words of the next child.
        """
        self._end.close()


def _trap_loss(why: Failure) -> None:
    why.trap(ConnectionClosed)


def _not_adopted(why: Failure) -> bool:
    why.trap(ConnectionClosed)
    return False


class _Process(ProcessProtocol):
    """Passes on what Twisted tells of a process."""

    def __init__(self, events: ProcessEvents) -> None:
        self._events = events
        self._lines = {_STDOUT: Lines(), _STDERR: Lines()}

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        for line in self._lines[childFD].feed(data):
            self._events.printed(line, error=childFD == _STDERR)

    def childConnectionLost(self, childFD: int) -> None:
        for line in self._lines[childFD].end() if childFD in self._lines else ():
            self._events.printed(line, error=childFD == _STDERR)

    def processExited(self, reason: Failure) -> None:
        # Not processEnded: a grandchild may hold the pipes open for long.
        self._events.exited(reason)


def execute(
    reactor: IClusterReactor,
    bootstrap: Bootstrap,
    sockets: Mapping[str, socket.socket],
    events: ProcessEvents,
    access_log: int | None = None,
) -> Child:
    """
    Start a child process, in the master.

    :param reactor: the master's reactor; it must see children exit.
    :param bootstrap: what the child is to be; sockets and paths are added here.
    :param sockets: listening sockets to pass, by name.
    :param events: who hears of the child.
    :param access_log: the master's descriptor of an access log that is to be passed.
    :raise OSError: if the process cannot be started.
    """
    numbers = {name: CONTROL_FD + 1 + n for n, name in enumerate(sockets)}
    inherited = {numbers[name]: each.fileno() for name, each in sockets.items()}
    if access_log is not None:
        number = CONTROL_FD + 1 + len(sockets)
        inherited[number] = access_log
        bootstrap = replace(bootstrap, access_log=number)
    document = replace(
        bootstrap,
        sockets=numbers,
        path=tuple(str(Path(entry or ".").resolve()) for entry in sys.path),
        python_path=os.environ.get("PYTHONPATH"),
    )
    end = MasterEnd(events)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        # The channel comes first: once there is a process, nothing may fail.
        reactor.adoptStreamConnection(
            ours.fileno(),
            socket.AF_UNIX,
            Adopted(end),  # type: ignore[arg-type]
        )
        try:
            transport = _spawn(
                reactor, events, {CONTROL_FD: theirs.fileno(), **inherited}
            )
        except BaseException:
            end.close()
            raise
    transport.write(document.to_bytes())
    transport.closeStdin()
    return Child(transport, end)


def _spawn(
    reactor: IClusterReactor, events: ProcessEvents, inherited: Mapping[int, int]
) -> IProcessTransport:
    return reactor.spawnProcess(
        _Process(events),
        sys.executable,
        [sys.executable, "-m", "clusterapp.worker"],
        env=_environment(),
        childFDs={0: "w", _STDOUT: "r", _STDERR: "r", **inherited},
    )


def _environment() -> dict[str, str]:
    """Give the child's environment: the master's, and where this package is."""
    environment = dict(os.environ)
    for name in _OF_SYSTEMD:
        environment.pop(name, None)
    before = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [_HOME, before]))
    return environment
