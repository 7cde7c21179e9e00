"""The new master of an upgrade, from the old master's side, and its inheritance."""

import json
import os
import socket
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.channel.protocol import Adopted
from clusterapp.channel.upgrade_channel import (
    NewEnd,
    OldEnd,
    OldMasterEvents,
    UpgradeOffer,
    report_upgrade_failed,
)
from clusterapp.channel.upgrade_state import OperatorChanges
from clusterapp.errors import OperationError
from clusterapp.guards import guarded
from clusterapp.master.workers.worker_pool import Taker
from clusterapp.spawning.execute import how_it_ended
from clusterapp.system.descriptors import adopt_inherited, adopt_socket, socket_pair
from clusterapp.system.forks import suspended

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

#: The environment variable with which a new master is started.
VARIABLE = "TWISTED_CLUSTERAPP_BEQUEST"

#: The first descriptor after stdin, stdout and stderr.
_FIRST = 3

#: Seconds for a new master to reach the start of its boot timeout, and to exit after
#: SIGTERM.
_ALLOWANCE = 15.0


class UpgradeError(OperationError):
    """Raised if a new master has not taken over."""


@dataclass(frozen=True)
class Command:
    """
    How the program was started, so that it can be started again.

    :param arguments: the command line, including the program.
    :param folder: the folder that it was started in.
    :param environment: the environment that it was started with.
    :param prepare: called before the start.
    :param handed_over: called with the new master's pid when that has taken over;
        returns the path of the pid file that the new master owns from then on, empty
        if there is none.
    """

    arguments: Sequence[str]
    folder: str
    environment: Mapping[str, str]
    prepare: Callable[[], None]
    handed_over: Callable[[int], str]


class Successor:
    """
    A new master, from the old one's side.

    :param reactor: the old master's reactor.
    :param command: how to start the new one.
    """

    _log = Logger()

    def __init__(self, reactor: Any, command: Command) -> None:
        self._reactor = reactor
        self._command = command
        self._end = OldEnd(self)
        self._process: Any = None
        self._reason = ""
        self._ended = ""
        self._channel_is_lost = False
        self._has_taken_over = False
        self._kill_timer: IDelayedCall | None = None
        self._serves: Deferred[tuple[int, list[str]]] = Deferred()
        self._upgrade_complete: Deferred[None] = Deferred()

    async def start(
        self,
        listeners: Sequence[tuple[str, socket.socket]],
        secret: bytes,
        boot_timeout: float,
        operator_changes: OperatorChanges,
    ) -> tuple[int, list[str]]:
        """
        Start the new master, and wait until it has taken over.

        :param listeners: the listening sockets that it inherits, each with its name.
        :param secret: the key that session affinity cookies are signed with.
        :param boot_timeout: the seconds that its workers may take to be ready.
        :param operator_changes: what operators have set, which it has to keep.
        :return: its pid, and the specifications of the listeners that it has taken.
        :raise UpgradeError: if it has not taken over; it is stopped then.
        """
        try:
            self._command.prepare()
            _enter(self._command.folder)
            self._spawn(listeners, secret, operator_changes)
        except OSError as error:
            raise UpgradeError(f"the new master cannot be started: {error}") from error
        seconds = boot_timeout + _ALLOWANCE
        try:
            return await self._serves.addTimeout(seconds, self._reactor)
        except defer.TimeoutError:
            raise UpgradeError(
                f"the new master was not ready within {seconds:g} s"
            ) from None
        finally:
            if not self._has_taken_over:
                self._dismiss()

    def wait_until_complete(self) -> Deferred[None]:
        """
        Wait until operators reach the new master, after it has taken over.

        :return: fires then, or when that takes too long.
        """
        return self._upgrade_complete.addTimeout(
            _ALLOWANCE, self._reactor, lambda *_: None
        )

    @property
    def adopt(self) -> Taker:
        """The function that has the new master adopt a connection."""
        return self._end.hand_over

    # Callbacks of the channel and the process.

    def taken_over(self, pid: int, listeners: list[str]) -> str:
        """Called when the new master has taken over; return the pid file's path."""
        self._has_taken_over = True
        pid_file = self._command.handed_over(pid)
        self._serves.callback((pid, listeners))
        return pid_file

    def upgrade_complete(self) -> None:
        """Called when operators reach the new master."""
        if not self._upgrade_complete.called:
            self._upgrade_complete.callback(None)

    def upgrade_failed(self, reason: str) -> None:
        """Called when the new master cannot serve, with the reason."""
        self._reason = reason

    def exited(self, why: Failure) -> None:
        """Called when the process has exited; its last messages may still be unread."""
        self._process = None
        self._ended = how_it_ended(why)
        if self._kill_timer is not None and self._kill_timer.active():
            self._kill_timer.cancel()
        self._check_gone()

    def channel_lost(self) -> None:
        """Called when the channel to the new master is closed."""
        self._channel_is_lost = True
        self.upgrade_complete()
        self._check_gone()

    def _check_gone(self) -> None:
        if self._ended and self._channel_is_lost and not self._serves.called:
            reason = self._reason or f"it left with {self._ended}"
            self._serves.errback(UpgradeError(f"the new master cannot serve: {reason}"))

    def _spawn(
        self,
        listeners: Sequence[tuple[str, socket.socket]],
        secret: bytes,
        operator_changes: OperatorChanges,
    ) -> None:
        ours, theirs = socket_pair()
        # Not in the environment, which is visible to users that may see processes.
        secret_reader, secret_writer = socket_pair()
        with secret_writer:
            secret_writer.sendall(secret)
        with ours, theirs, secret_reader:
            self._reactor.adoptStreamConnection(
                ours.fileno(), socket.AF_UNIX, Adopted(self._end)
            )
            numbered = [
                (spec, number)
                for number, (spec, _) in enumerate(listeners, start=_FIRST + 2)
            ]
            offer = UpgradeOffer(_FIRST, _FIRST + 1, tuple(numbered), operator_changes)
            inherited = [theirs, secret_reader, *(each for _, each in listeners)]
            passed = enumerate(inherited, start=_FIRST)
            variables = {VARIABLE: json.dumps(offer.as_mapping())}
            with suspended():
                self._process = self._reactor.spawnProcess(
                    _NewMaster(self),
                    self._command.arguments[0],
                    list(self._command.arguments),
                    env={**self._command.environment, **variables},
                    path=self._command.folder,
                    childFDs={
                        0: 0,
                        1: 1,
                        2: 2,
                        **{number: each.fileno() for number, each in passed},
                    },
                )

    def _dismiss(self) -> None:
        """Terminate a master that has not taken over; kill it if it does not exit."""
        if self._process is None:
            return
        with suppress(ProcessExitedAlready):
            self._process.signalProcess("TERM")
        self._kill_timer = self._reactor.callLater(_ALLOWANCE, self._kill)

    @guarded("kill the new master")
    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessExitedAlready):
                self._process.signalProcess("KILL")


class _NewMaster(ProcessProtocol):
    """Notifies the successor when the process of the new master has exited."""

    def __init__(self, successor: Successor) -> None:
        self._successor = successor

    @guarded("handle the exit of the new master")
    def processExited(self, reason: Failure) -> None:
        self._successor.exited(reason)


class InheritedState:
    """
    What a new master inherits from the old one.

    :param offer: the inherited descriptors and state.
    :ivar taken: the specifications of the listeners that this master has taken.
    """

    _log = Logger()

    def __init__(self, offer: UpgradeOffer) -> None:
        self.taken: list[str] = []
        #: What operators have set in the old master.
        self.operator_changes = offer.operator_changes
        with adopt_socket(offer.secret) as secret_reader:
            #: The key of affinity cookies; the old master has written it by now.
            self.secret = secret_reader.recv(1024)
        self._channel = adopt_inherited(offer.channel)
        self._listeners = [
            (spec, adopt_inherited(number)) for spec, number in offer.listeners
        ]
        self._end: NewEnd | None = None

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> "InheritedState | None":
        """
        Return what an old master has left for this process.

        :param environ: the environment; the variable is removed, so that children do
            not inherit it.
        :return: None if this is not the new master of an upgrade.
        """
        text = environ.pop(VARIABLE, None)
        if text is None:
            return None
        found = json.loads(text)
        listeners = tuple((spec, number) for spec, number in found["listeners"])
        changes = OperatorChanges.from_mapping(found.get("operator_changes", {}))
        return cls(UpgradeOffer(found["channel"], found["secret"], listeners, changes))

    def take(self, spec: str) -> socket.socket | None:
        """Return the inherited listening socket of a specification, if there is one."""
        for index, (name, found) in enumerate(self._listeners):
            if name == spec:
                del self._listeners[index]
                self.taken.append(spec)
                return found
        return None

    def leave_the_rest(self) -> None:
        """Close the inherited listening sockets that were not taken."""
        for _, each in self._listeners:
            each.close()
        self._listeners.clear()

    def connect(self, reactor: Any, events: OldMasterEvents) -> None:
        """Connect the upgrade channel to the old master on a reactor."""
        self._end = NewEnd(events)
        # The reactor uses a duplicate of the descriptor.
        reactor.adoptStreamConnection(
            self._channel.fileno(), socket.AF_UNIX, Adopted(self._end)
        )

    def take_over(self) -> Deferred[str]:
        """
        Notify the old master that this one serves.

        :return: fires with the path of the pid file, which this master owns now.
        """
        assert self._end is not None  # noqa: S101 - it is connected at the start
        self._channel.close()
        return self._end.take_over(os.getpid(), self.taken)

    def upgrade_complete(self) -> None:
        """Notify the old master that operators reach this one now."""
        if self._end is not None:
            self._end.upgrade_complete()

    def upgrade_failed(self, reason: str) -> None:
        """Notify the old master why this one cannot serve."""
        # Not through the reactor, which may never run, or may be about to stop.
        with suppress(OSError):  # the old master has exited
            report_upgrade_failed(self._channel, reason)


def _enter(folder: str) -> None:
    """
    Enter a folder that was removed and made anew, if it is the working folder.

    `spawnProcess` asks for the working folder of this process, which has no name then.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        os.chdir(folder)
