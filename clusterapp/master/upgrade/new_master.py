"""Upgrades: a new master that takes over from an old one, sockets and all."""

import json
import os
import socket
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
    Predecessor,
    UpgradeOffer,
    tell_unfit,
)
from clusterapp.channel.upgrade_state import Kept
from clusterapp.descriptors import adopt_inherited, adopt_socket, socket_pair
from clusterapp.errors import OperationError
from clusterapp.forks import suspended
from clusterapp.guards import guarded
from clusterapp.master.workers.worker_pool import Taker
from clusterapp.spawning.execute import how_it_ended

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

#: The variable of the environment by which a new master knows that it is one.
VARIABLE = "TWISTED_CLUSTERAPP_BEQUEST"

#: The first descriptor behind stdin, stdout and stderr.
_FIRST = 3

#: Seconds for a new master to come to the point where its boot timeout begins, and
#: to leave when it is asked to.
_ALLOWANCE = 15.0


class UpgradeError(OperationError):
    """A new master has not taken over."""


@dataclass(frozen=True)
class Command:
    """
    How the program was started, to start it again.

    :param arguments: the command line, program and all.
    :param folder: where it was started.
    :param environment: the environment that it was started with.
    :param prepare: called before that.
    :param handed_over: called with the new master's pid when that is the program
        that operators know; gives the path of the pid file that is the new one's
        from then on, empty if there is none.
    """

    arguments: Sequence[str]
    folder: str
    environment: Mapping[str, str]
    prepare: Callable[[], None]
    handed_over: Callable[[int], str]


class Successor:
    """
    A new master, as the old one sees it.

    :param reactor: the old master's reactor.
    :param command: how to start it.
    """

    _log = Logger()

    def __init__(self, reactor: Any, command: Command) -> None:
        self._reactor = reactor
        self._command = command
        self._end = OldEnd(self)
        self._process: Any = None
        self._reason = ""
        self._ended = ""
        self._is_silent = False
        self._has_taken_over = False
        self._patience: IDelayedCall | None = None
        self._serves: Deferred[tuple[int, list[str]]] = Deferred()
        self._leads: Deferred[None] = Deferred()

    async def start(
        self,
        listeners: Sequence[tuple[str, socket.socket]],
        secret: bytes,
        boot_timeout: float,
        kept: Kept,
    ) -> tuple[int, list[str]]:
        """
        Start it, and wait until it has taken over.

        :param listeners: the listening sockets that it inherits, each by what it is
            known by.
        :param secret: what cookies are signed with.
        :param boot_timeout: how long its workers may take to be ready, in seconds.
        :param kept: what operators have set, and it is to keep.
        :return: its pid, and the specifications of the listeners that it has taken.
        :raise UpgradeError: if it has not; it is gone then.
        """
        self._command.prepare()
        self._spawn(listeners, secret, kept)
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

    def leading(self) -> Deferred[None]:
        """
        Wait until it is the one that operators find, after it has taken over.

        :return: fires then, or when it does not come to that in time.
        """
        return self._leads.addTimeout(_ALLOWANCE, self._reactor, lambda *_: None)

    @property
    def adopt(self) -> Taker:
        """Have it serve a connection."""
        return self._end.hand_over

    # What is heard of it.

    def taken_over(self, pid: int, listeners: list[str]) -> str:
        """Hear that it serves."""
        self._has_taken_over = True
        pid_file = self._command.handed_over(pid)
        self._serves.callback((pid, listeners))
        return pid_file

    def leads(self) -> None:
        """Hear that operators find it."""
        if not self._leads.called:
            self._leads.callback(None)

    def unfit(self, reason: str) -> None:
        """Hear why it cannot serve."""
        self._reason = reason

    def exited(self, why: Failure) -> None:
        """Hear that it is gone; what it has said may still have to be read."""
        self._process = None
        self._ended = how_it_ended(why)
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        self._check_gone()

    def channel_lost(self) -> None:
        """Hear that it says nothing more."""
        self._is_silent = True
        self.leads()
        self._check_gone()

    def _check_gone(self) -> None:
        if self._ended and self._is_silent and not self._serves.called:
            reason = self._reason or f"it left with {self._ended}"
            self._serves.errback(UpgradeError(f"the new master cannot serve: {reason}"))

    def _spawn(
        self,
        listeners: Sequence[tuple[str, socket.socket]],
        secret: bytes,
        kept: Kept,
    ) -> None:
        ours, theirs = socket_pair()
        # Whoever may look at processes sees their environment.
        told, telling = socket_pair()
        with telling:
            telling.sendall(secret)
        with ours, theirs, told:
            self._reactor.adoptStreamConnection(
                ours.fileno(), socket.AF_UNIX, Adopted(self._end)
            )
            numbered = [
                (spec, number)
                for number, (spec, _) in enumerate(listeners, start=_FIRST + 2)
            ]
            bequest = UpgradeOffer(_FIRST, _FIRST + 1, tuple(numbered), kept)
            inherited = [theirs, told, *(each for _, each in listeners)]
            passed = enumerate(inherited, start=_FIRST)
            told_by = {VARIABLE: json.dumps(bequest.as_mapping())}
            with suspended():
                self._process = self._reactor.spawnProcess(
                    _NewMaster(self),
                    self._command.arguments[0],
                    list(self._command.arguments),
                    env={**self._command.environment, **told_by},
                    path=self._command.folder,
                    childFDs={
                        0: 0,
                        1: 1,
                        2: 2,
                        **{number: each.fileno() for number, each in passed},
                    },
                )

    def _dismiss(self) -> None:
        """Have a master leave that has not taken over."""
        if self._process is None:
            return
        with suppress(ProcessExitedAlready):
            self._process.signalProcess("TERM")
        self._patience = self._reactor.callLater(_ALLOWANCE, self._kill)

    @guarded("kill the new master")
    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessExitedAlready):
                self._process.signalProcess("KILL")


class _NewMaster(ProcessProtocol):
    """Tells when a new master is gone."""

    def __init__(self, successor: Successor) -> None:
        self._successor = successor

    @guarded("take note of the exit of the new master")
    def processExited(self, reason: Failure) -> None:
        self._successor.exited(reason)


class InheritedState:
    """
    What a new master has of the old one.

    :param bequest: what it was given.
    :ivar taken: the specifications of the listeners that it has taken.
    """

    _log = Logger()

    def __init__(self, bequest: UpgradeOffer) -> None:
        self.taken: list[str] = []
        #: What operators have set in the old one.
        self.kept = bequest.kept
        with adopt_socket(bequest.secret) as told:
            #: What cookies are signed with; the old master has written it by now.
            self.secret = told.recv(1024)
        self._channel = adopt_inherited(bequest.channel)
        self._listeners = [
            (spec, adopt_inherited(number)) for spec, number in bequest.listeners
        ]
        self._end: NewEnd | None = None

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> "InheritedState | None":
        """
        Take what an old master has left for this process.

        :param environ: the environment; children shall not see that.
        :return: None if this master follows no other.
        """
        text = environ.pop(VARIABLE, None)
        if text is None:
            return None
        found = json.loads(text)
        listeners = tuple((spec, number) for spec, number in found["listeners"])
        kept = Kept.from_mapping(found.get("kept", {}))
        return cls(UpgradeOffer(found["channel"], found["secret"], listeners, kept))

    def take(self, spec: str) -> socket.socket | None:
        """Take a listening socket, if there is one that is specified like this."""
        for index, (name, found) in enumerate(self._listeners):
            if name == spec:
                del self._listeners[index]
                self.taken.append(spec)
                return found
        return None

    def leave_the_rest(self) -> None:
        """Close the listening sockets that nobody has taken."""
        for _, each in self._listeners:
            each.close()
        self._listeners.clear()

    def connect(self, reactor: Any, events: Predecessor) -> None:
        """Speak with the old master from now on, on a reactor."""
        self._end = NewEnd(events)
        # The reactor makes a duplicate.
        reactor.adoptStreamConnection(
            self._channel.fileno(), socket.AF_UNIX, Adopted(self._end)
        )

    def take_over(self) -> Deferred[str]:
        """
        Tell the old master that this one serves.

        :return: fires with the path of the pid file that is this master's now.
        """
        assert self._end is not None  # noqa: S101 - it is connected at the start
        self._channel.close()
        return self._end.take_over(os.getpid(), self.taken)

    def leads(self) -> None:
        """Tell the old master that operators find this one now."""
        if self._end is not None:
            self._end.leads()

    def unfit(self, reason: str) -> None:
        """Tell the old master why this one cannot serve."""
        # Not through the reactor, which may never run, or be about to stop.
        with suppress(OSError):  # the old one is gone, and cannot be told
            tell_unfit(self._channel, reason)
