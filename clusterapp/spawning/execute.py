"""Starting a child process with ``reactor.spawnProcess``, and controlling it."""

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
from clusterapp.channel.log_pipe.log_events import LOG_FD
from clusterapp.channel.protocol import Adopted
from clusterapp.channel.request_record import REQUESTS_FD, ChildRequests
from clusterapp.channel.unanswered import report_unanswered
from clusterapp.guards import guarded
from clusterapp.interfaces import IClusterReactor
from clusterapp.spawning.output import STDERR, STDOUT, ChildOutput, OutputEvents
from clusterapp.spawning.signals import held_back
from clusterapp.system.descriptors import own, socket_pair
from clusterapp.system.forks import suspended

#: The number of the first descriptor that a child inherits after its pipes.
_FIRST_INHERITED = max(CONTROL_FD, LOG_FD, REQUESTS_FD) + 1

#: The most requests that are listed of those that a child was serving when it exited.
_MOST_NAMED = 5

#: The folder from which the package is imported: a child must import the same one.
_HOME = str(Path(clusterapp.__file__).resolve().parent.parent)


class ProcessEvents(ChildEvents, OutputEvents, Protocol):
    """The master's callbacks for events of one of its children."""

    def exited(self, reason: Failure) -> None:
        """Called when the process has exited; `reason` holds its status or signal."""


class Child:
    """
    A running child process (the master's side).

    :param transport: the process.
    :param end: the master's end of the control channel.
    :param requests: the record of the requests that the child is serving.
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
        """Ask a canary to start to serve in its slot."""
        self._end.activate().addErrback(report_unanswered)

    def drain(
        self, *, spread: float, hand_over: bool, within: float | None = None
    ) -> Deferred[None]:
        """
        Ask the child to drain and exit.

        :param spread: the seconds over which it closes connections that do not end by
            themselves.
        :param hand_over: whether idle connections can be transferred to other workers.
        :param within: the seconds that it has, if less than the graceful timeout.
        :return: fires when the child has acknowledged it: it accepts nothing from then
            on.
        """
        # If the channel breaks, the child drains as well.
        sent = self._end.drain(spread=spread, hand_over=hand_over, within=within)
        return sent.addErrback(report_unanswered)

    def core_ready(self, ready: bool, *, back: bool) -> None:
        """Send to the child whether the core accepts requests, or is being replaced."""
        # A child whose channel is closed does not need the message.
        self._end.core_ready(ready, back=back).addErrback(report_unanswered)

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        """Send to the child whether this cluster is ready."""
        self._end.cluster_health(ready=ready, detail=detail).addErrback(
            report_unanswered
        )

    def broken(self, why: str) -> None:
        """Send to the child why the code cannot be loaded; empty if it can be."""
        self._end.broken(why).addErrback(report_unanswered)

    def accept(self, listener: str, listening: socket.socket, *, shared: bool) -> None:
        """
        Ask the child to accept the connections of a listener from a socket.

        :param shared: whether other children accept from it as well.
        """
        sent = self._end.accept(listener, listening, shared=shared)
        sent.addErrback(report_unanswered)

    def refuse(self, listener: str) -> None:
        """Ask the child to stop accepting connections of a listener."""
        self._end.refuse(listener).addErrback(report_unanswered)

    def update_affinity(self, how: str) -> None:
        """Send the session affinity to the child."""
        self._end.update_affinity(how).addErrback(report_unanswered)

    def adopt(self, connection: socket.socket, listener: str) -> Deferred[bool]:
        """
        Offer a connection to the child.

        :param connection: remains the caller's, which keeps it open until this fires.
        :param listener: the name of the connection's listener.
        :return: fires with whether the child has taken the connection.
        """
        return self._end.adopt(connection, listener).addErrback(_not_adopted)

    def reopen_logs(self) -> None:
        """Ask the child to reopen its log files, which have been renamed."""
        self._end.reopen_logs().addErrback(report_unanswered)

    def inspect(self) -> None:
        """
        Ask the child to write requests under way and its threads' stacks to stderr.

        A dedicated thread answers even if the event loop is blocked, as long as the
        code that blocks it releases the GIL.
        """
        self.signal("CONT")  # a stopped process cannot answer
        self._transport.write(ASK)

    def dump_stacks(self) -> None:
        """
        Make the child write its threads' stacks to stderr, by faulthandler in C.

        That works where `inspect` is not answered, but does not list the requests.
        """
        # A child that has just started has no handler yet, and would be ended by the
        # signal.
        if _catches(self.pid, signal.SIGUSR2):
            self.signal("USR2")

    def how_it_ended(self, reason: Failure) -> str:
        """
        Return how a child has ended, and the requests that it was serving.

        :param reason: the failure passed to `exited`.
        :return: as in ``signal 9 while it served GET /report``.
        """
        how = how_it_ended(reason)
        serving = self._requests.under_way()
        if not serving:
            return how
        named = ", ".join(serving[:_MOST_NAMED])
        more = len(serving) - _MOST_NAMED
        return f"{how} while it served {named}" + (f" and {more} more" * (more > 0))

    def signal(self, name: str) -> None:
        """
        Send a signal, unless the child has exited already.

        :param name: as in ``TERM``.
        """
        with suppress(ProcessExitedAlready):
            self._transport.signalProcess(signal.Signals[f"SIG{name}"])

    def close(self) -> None:
        """
        Release the resources of a child that has exited.

        A grandchild may hold the child's ends of the channel and of stdin open; what it
        writes there must not be taken for messages of the slot's next child.
        """
        self._end.close()
        self._requests.close()
        self._transport.closeStdin()


class _PipeEnd:
    """The master's end of one of a child's pipes; -1 once it is closed."""

    def __init__(self, transport: Any, child_fd: int) -> None:
        self._transport = transport
        self._child_fd = child_fd

    def fileno(self) -> int:
        # Twisted's readers and writers keep returning the number of a closed
        # descriptor.
        pipe = self._transport.pipes.get(self._child_fd)
        return -1 if pipe is None else pipe.fileno()


def _catches(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal (proc(5), ``SigCgt``)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:  # it has exited
        return False
    caught = int(status.partition("SigCgt:")[2].split(maxsplit=1)[0], 16)
    return bool(caught >> (number - 1) & 1)


def _not_adopted(why: Failure) -> bool:
    # A child without a free descriptor to receive it answers only with this error.
    if not why.check(UnknownRemoteError):
        report_unanswered(why)
    return False


class _Process(ProcessProtocol):
    """Passes on Twisted's notifications about a process."""

    def __init__(self, events: ProcessEvents, output: ChildOutput) -> None:
        self._events = events
        self._output = output

    @guarded("set up the pipes of a child")
    def connectionMade(self) -> None:
        self._output.pipes = getattr(self.transport, "pipes", {})

    @guarded("read the output of a child")
    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._output.received(childFD, data)

    @guarded("read the output of a child")
    def childConnectionLost(self, childFD: int) -> None:
        self._output.ended(childFD)

    @guarded("handle the exit of a child")
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
    Start a child process (in the master).

    :param reactor: the master's reactor; it must detect the exit of children.
    :param bootstrap: the child's configuration; `sockets` is added here.
    :param environment: the child's environment.
    :param descriptors: the descriptors that the child inherits, by name.
    :param events: the callbacks for events of the child.
    :param access_log: the master's descriptor of an access log that the child inherits.
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
        # The channel is made first: after the process is spawned, nothing may fail.
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
                # The title is limited to the length of the arguments; see
                # system/titles.py.
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
    # The pipe stays open: the master requests inspections by it, and its end means that
    # the master has died.
    transport.write(document.to_bytes() + b"\n")
    return Child(transport, end, requests)


def _with_home(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which a child imports this same package."""
    before = environment.get("PYTHONPATH")
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join(filter(None, [_HOME, before])),
    }


def how_it_ended(reason: Failure) -> str:
    """Return the exit status or the signal with which a process has ended."""
    if isinstance(reason.value, ProcessTerminated) and reason.value.signal is not None:
        number = reason.value.signal
        try:
            return f"signal {number} ({signal.Signals(number).name})"
        except ValueError:  # most real-time signals have no name
            return f"signal {number}"
    return f"status {getattr(reason.value, 'exitCode', None)}"
