"""A child process that is executed anew, with ``reactor.spawnProcess``."""

import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.protocols.amp import UnknownRemoteError
from twisted.python.failure import Failure

import clusterapp
from clusterapp.channel.bootstrap import CONTROL_FD, Bootstrap
from clusterapp.channel.ends import ChildEvents, MasterEnd
from clusterapp.channel.inspection import ASK
from clusterapp.channel.log_events import LOG_FD
from clusterapp.channel.protocol import Adopted
from clusterapp.channel.request_record import REQUESTS_FD, ChildRequests
from clusterapp.channel.unanswered import report_unanswered
from clusterapp.descriptors import own, socket_pair
from clusterapp.forks import suspended
from clusterapp.guards import guarded
from clusterapp.interfaces import IClusterReactor
from clusterapp.spawning.output import STDERR, STDOUT, ChildOutput, OutputEvents
from clusterapp.spawning.signals import held_back

#: The number of the first descriptor that a child inherits behind its pipes.
_FIRST_INHERITED = max(CONTROL_FD, LOG_FD, REQUESTS_FD) + 1

#: Requests that are named of those that a child was serving when it ended.
_MOST_TOLD = 5

#: Where the package is imported from: a child must find the same one.
_HOME = str(Path(clusterapp.__file__).resolve().parent.parent)


class ProcessEvents(ChildEvents, OutputEvents, Protocol):
    """What a master may hear of one of its children."""

    def exited(self, reason: Failure) -> None:
        """Hear that the process is gone, and how it went."""


class Child:
    """
    A running child process, as its master sees it.

    :param transport: the process.
    :param end: the master's end of the control channel.
    :param requests: what the child notes of the requests that it serves.
    """

    def __init__(
        self, transport: IProcessTransport, end: MasterEnd, requests: ChildRequests
    ) -> None:
        self._transport = transport
        self._end = end
        self._requests = requests
        self.pid: int = transport.pid
        self._pipes = [
            _PipeEnd(transport, each) for each in (0, STDOUT, STDERR, LOG_FD)
        ]
        own(*self._pipes)

    def activate(self) -> None:
        """Let a child on trial take its place."""
        self._end.activate().addErrback(report_unanswered)

    def drain(self, *, spread: float, hand_over: bool) -> Deferred[None]:
        """
        Ask the child to finish and leave.

        :param spread: the seconds over which it ends what does not end by itself.
        :param hand_over: whether idle connections can be given to other workers.
        :return: fires when it has heard: it accepts nothing from then on.
        """
        # If the channel breaks the child takes that as the same order.
        said = self._end.drain(spread=spread, hand_over=hand_over)
        return said.addErrback(report_unanswered)

    def core_ready(self, ready: bool, *, back: bool) -> None:
        """Tell the child whether the core takes requests, or will soon be back."""
        # A child whose channel is gone needs no news any more.
        self._end.core_ready(ready, back=back).addErrback(report_unanswered)

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        """Tell the child whether clients should be sent to this cluster."""
        self._end.cluster_health(ready=ready, detail=detail).addErrback(
            report_unanswered
        )

    def broken(self, why: str) -> None:
        """Tell the child what is wrong with the code; nothing, if that is empty."""
        self._end.broken(why).addErrback(report_unanswered)

    def accept(self, listener: str, listening: socket.socket, *, shared: bool) -> None:
        """
        Have the child accept the connections of a listener from a socket.

        :param shared: whether other children accept from it as well.
        """
        said = self._end.accept(listener, listening, shared=shared)
        said.addErrback(report_unanswered)

    def refuse(self, listener: str) -> None:
        """Have the child accept no connections of a listener by itself."""
        self._end.refuse(listener).addErrback(report_unanswered)

    def update_affinity(self, how: str) -> None:
        """Tell the child whose requests belong to which worker."""
        self._end.update_affinity(how).addErrback(report_unanswered)

    def adopt(self, connection: socket.socket, door: str) -> Deferred[bool]:
        """
        Have the child serve a connection.

        :param connection: stays the caller's, who keeps it open until this fires.
        :param door: the name of the listener that it has come by.
        :return: fires with whether the child has it.
        """
        return self._end.adopt(connection, door).addErrback(_not_adopted)

    def reopen_logs(self) -> None:
        """Tell the child that the files of its logs have been renamed."""
        self._end.reopen_logs().addErrback(report_unanswered)

    def inspect(self) -> None:
        """
        Have the child say on stderr what it is doing, and where its threads are.

        A thread of its own answers, whatever its event loop does, as long as the
        code that blocks it lets go of the interpreter's lock.
        """
        self.signal("CONT")  # a stopped process says nothing; no other one is harmed
        self._transport.write(ASK)

    def dump_stacks(self) -> None:
        """
        Have the child write the stacks of its threads to stderr, from C.

        That works where `inspect` is not answered, but knows of no requests.
        """
        # What has no handler yet, so early in its life, would die of the signal.
        if _catches(self.pid, signal.SIGUSR2):
            self.signal("USR2")

    def how_it_ended(self, reason: Failure) -> str:
        """
        Say how a child that is gone has ended, and what it was serving.

        :param reason: what Twisted tells of its end.
        :return: as in ``signal 9 while it served GET /report``.
        """
        how = how_it_ended(reason)
        serving = self._requests.under_way()
        if not serving:
            return how
        told = ", ".join(serving[:_MOST_TOLD])
        more = len(serving) - _MOST_TOLD
        return f"{how} while it served {told}" + (f" and {more} more" * (more > 0))

    def signal(self, name: str) -> None:
        """
        Send a signal, unless the child is gone already.

        :param name: as in ``TERM``.
        """
        with suppress(ProcessExitedAlready):
            self._transport.signalProcess(signal.Signals[f"SIG{name}"])

    def close(self) -> None:
        """
        Let go of a child that is gone.

        A grandchild may hold the child's ends of the channel and of stdin open, and
        what is still to be read must not be taken for the words of the next child.
        """
        self._end.close()
        self._requests.close()
        self._transport.closeStdin()


class _PipeEnd:
    """The master's end of one of a child's pipes, for as long as it is open."""

    def __init__(self, transport: Any, child_fd: int) -> None:
        self._transport = transport
        self._child_fd = child_fd

    def fileno(self) -> int:
        # Twisted's readers and writers go on telling the number of what is closed.
        pipe = self._transport.pipes.get(self._child_fd)
        return -1 if pipe is None else pipe.fileno()


def _catches(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler for a signal (proc(5), ``SigCgt``)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:  # it is gone
        return False
    caught = int(status.partition("SigCgt:")[2].split(maxsplit=1)[0], 16)
    return bool(caught >> (number - 1) & 1)


def _not_adopted(why: Failure) -> bool:
    # One that had no descriptor left to receive it says no more than this.
    if not why.check(UnknownRemoteError):
        report_unanswered(why)
    return False


class _Process(ProcessProtocol):
    """Passes on what Twisted tells of a process."""

    def __init__(self, events: ProcessEvents, output: ChildOutput) -> None:
        self._events = events
        self._output = output

    @guarded("take the pipes of a child")
    def connectionMade(self) -> None:
        self._output.pipes = getattr(self.transport, "pipes", {})

    @guarded("take what a child has written")
    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._output.received(childFD, data)

    @guarded("take what a child has written")
    def childConnectionLost(self, childFD: int) -> None:
        self._output.ended(childFD)

    @guarded("take note of the exit of a child")
    def processExited(self, reason: Failure) -> None:
        # Not processEnded: a grandchild may hold the pipes open for long.
        self._output.drain()
        self._events.exited(reason)


def execute(  # noqa: PLR0913, PLR0917 - it is all that a process is made of
    reactor: IClusterReactor,
    bootstrap: Bootstrap,
    environment: Mapping[str, str],
    descriptors: Mapping[str, int],
    events: ProcessEvents,
    access_log: int | None = None,
) -> Child:
    """
    Start a child process, in the master.

    :param reactor: the master's reactor; it must see children exit.
    :param bootstrap: what the child is to be; `sockets` is added here.
    :param environment: the child's environment.
    :param descriptors: what the child inherits, by name.
    :param events: who hears of the child.
    :param access_log: the master's descriptor of an access log that is to be passed.
    :raise OSError: if the process cannot be started.
    """
    numbers = {name: _FIRST_INHERITED + n for n, name in enumerate(descriptors)}
    inherited = {numbers[name]: each for name, each in descriptors.items()}
    if access_log is not None:
        number = _FIRST_INHERITED + len(descriptors)
        inherited[number] = access_log
        bootstrap = replace(bootstrap, access_log=number)
    document = replace(
        bootstrap,
        sockets=numbers,
        python_path=environment.get("PYTHONPATH"),
    )
    end = MasterEnd(events)
    ours, theirs = socket_pair()
    with ours, theirs, ExitStack() as undo:
        requests = ChildRequests()
        undo.callback(requests.close)
        # The channel comes first: once there is a process, nothing may fail.
        reactor.adoptStreamConnection(
            ours.fileno(),
            socket.AF_UNIX,
            Adopted(end),  # type: ignore[arg-type]
        )
        undo.callback(end.close)
        with suspended(), held_back():
            transport = reactor.spawnProcess(
                _Process(events, ChildOutput(reactor, events)),
                sys.executable,
                # The title takes the room of the arguments; see titles.py.
                [sys.executable, "-m", "clusterapp.worker", bootstrap.title],
                env=_with_home(environment),
                childFDs={
                    0: "w",
                    STDOUT: "r",
                    STDERR: "r",
                    CONTROL_FD: theirs.fileno(),
                    LOG_FD: "r",
                    REQUESTS_FD: requests.descriptor,
                    **inherited,
                },
            )
        undo.pop_all()
    requests.close_descriptor()
    # The pipe stays open: by it the master asks, and its end tells of its death.
    transport.write(document.to_bytes() + b"\n")
    return Child(transport, end, requests)


def _with_home(environment: Mapping[str, str]) -> dict[str, str]:
    """Let a child find this package, wherever its own path leads."""
    before = environment.get("PYTHONPATH")
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join(filter(None, [_HOME, before])),
    }


def how_it_ended(reason: Failure) -> str:
    """Say with what status or signal a process has ended."""
    if isinstance(reason.value, ProcessTerminated) and reason.value.signal is not None:
        number = reason.value.signal
        try:
            return f"signal {number} ({signal.Signals(number).name})"
        except ValueError:  # most real-time signals have no name
            return f"signal {number}"
    return f"status {getattr(reason.value, 'exitCode', None)}"
