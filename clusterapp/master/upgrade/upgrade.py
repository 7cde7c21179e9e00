"""Whether a master follows an older one, and whether a newer one follows it."""

import os
import secrets
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from clusterapp.channel.unanswered import report_unanswered
from clusterapp.channel.upgrade_state import Kept
from clusterapp.errors import ClusterError, OperationError
from clusterapp.guards import guarded
from clusterapp.master.cluster_status import Phase
from clusterapp.master.distribution.distribution import Distribution
from clusterapp.master.master_sockets import Sockets
from clusterapp.master.operator_actions import MasterOperations
from clusterapp.master.rollout.deployment import Deployment
from clusterapp.master.upgrade.new_master import Command, InheritedState, Successor
from clusterapp.operations import Step, Tell
from clusterapp.settings.model import Settings

_SECRET_BYTES = 32


@dataclass(frozen=True)
class Upgrading:
    """
    What a program brings with it so that its master can be upgraded.

    :param inheritance: what this master has of the one that it is to follow; None
        if it is the first.
    :param lead: called when it has taken over; it gets the path of the pid file
        that is its own from then on, empty if there is none.
    :param command: how to start the next one; None if that cannot be done.
    """

    inheritance: InheritedState | None
    lead: Callable[[str], None]
    command: Command | None


class Master(Protocol):
    """What is asked of the master itself."""

    @property
    def phase(self) -> Phase:
        """Where it is between its start and its end."""

    @property
    def reactor(self) -> Any:
        """Its reactor."""

    @property
    def settings(self) -> Settings:
        """The settings that hold."""

    @property
    def sockets(self) -> Sockets:
        """What it holds open."""

    @property
    def deployment(self) -> Deployment:
        """What it runs."""

    @property
    def distribution(self) -> Distribution:
        """Who gets which connections."""

    @property
    def operations(self) -> MasterOperations:
        """What operators can ask of it, and have set."""

    def end(self, *, quick: bool) -> Deferred[None]:
        """Stop."""


class Succession:
    """
    The place of a master among those before and after it.

    :param master: the master.
    :param upgrading: what its program has brought; None if there is neither a
        master before it nor one after it.
    :ivar is_followed: whether another has taken over.
    """

    _log = Logger()

    def __init__(self, master: Master, upgrading: Upgrading | None) -> None:
        self.is_followed = False
        #: What cookies are signed with; every master of a line has the same.
        self.secret = secrets.token_bytes(_SECRET_BYTES)
        if upgrading is not None and upgrading.inheritance is not None:
            self.secret = upgrading.inheritance.secret
        #: What operators have set in the master before this one.
        self.kept = Kept()
        if upgrading is not None and upgrading.inheritance is not None:
            self.kept = upgrading.inheritance.kept
        self._master = master
        self._command = None if upgrading is None else upgrading.command
        self._lead = None if upgrading is None else upgrading.lead
        #: Until it has taken over.
        self._inheritance = None if upgrading is None else upgrading.inheritance

    @property
    def leads(self) -> bool:
        """Whether this master is the one that operators and balancers know."""
        return self._inheritance is None and not self.is_followed

    # Following an older master.

    def connect(self) -> None:
        """Speak with the older master, if there is one."""
        if self._inheritance is not None:
            self._inheritance.connect(self._master.reactor, self)

    def check(self, deployment: Deployment) -> None:
        """Take over, if this master is ready to."""
        if self._inheritance is None or not deployment.core_is_ready:
            return
        slots = [s for s in deployment.pool.slots.values() if s.state != "stopped"]
        if slots and all(slot.state == "running" for slot in slots):
            inheritance, self._inheritance = self._inheritance, None
            told = inheritance.take_over()
            told.addErrback(self._not_answered)
            told.addCallback(self._take_the_lead)
            told.addCallback(lambda _: inheritance.leads())
            told.addErrback(
                lambda why: self._log.failure("cannot take the lead", failure=why)
            )

    def unfit(self, error: ClusterError) -> None:
        """Tell the older master that this one cannot follow it."""
        if self._inheritance is not None:
            self._inheritance.unfit(str(error))

    def adopt(self, connection: socket.socket, door: str) -> Deferred[bool]:
        """Let a worker serve a connection of the older master's."""
        return self._master.deployment.pool.adopt(connection, door)

    def predecessor_gone(self) -> None:
        """Hear that the older master is no more, or that this one is ending."""
        if self._inheritance is not None and self._master.phase != "stopping":
            self._log.warn("the master that was to be followed is gone")
            self._inheritance = None
            self._take_the_lead("")

    def _not_answered(self, why: Failure) -> str:
        """Lead all the same, for this master serves; there is no pid file."""
        report_unanswered(why)
        return ""

    def _take_the_lead(self, pid_file: str) -> None:
        if self._lead is not None:
            self._lead(pid_file)

    # Being followed by a newer one.

    def begin(self, tell: Tell) -> Coroutine[Any, Any, str]:
        """
        Start a new master that takes everything over.

        :param tell: hears of each step.
        :raise OperationError: if this master cannot be followed by another.
        """
        if os.getpid() == 1:
            raise OperationError(
                "cannot upgrade: the master is PID 1, and its container ends with it;"
                " replace the container instead"
            )
        if self._command is None:
            raise OperationError(
                "cannot upgrade: only twistd and twist can start a new master, and"
                " only without --uid, --gid and --chroot, since it needs all rights"
                " that this one was started with"
            )
        return self._bring_up(Successor(self._master.reactor, self._command), tell)

    async def _bring_up(self, successor: Successor, tell: Tell) -> str:
        master = self._master
        tell(Step("starting a new master"))
        boot = master.settings.boot_timeout
        try:
            pid, taken = await successor.start(
                master.sockets.bequeath(), self.secret, boot, master.operations.kept()
            )
        except BaseException:
            master.distribution.steer_anew()
            raise
        tell(Step(f"the new master (pid {pid}) has taken over"))
        self.is_followed = True
        master.deployment.pool.successor = successor.adopt
        master.sockets.give_up(taken)
        # Whoever hears that it is done may ask the new master for something at once.
        await successor.leading()
        # In a turn of its own: whoever has asked is to hear how it went.
        master.reactor.callLater(0, self._leave)
        return f"pid {pid} has taken over from pid {os.getpid()}, which leaves"

    @guarded("leave after an upgrade")
    def _leave(self) -> None:
        self._master.end(quick=False)
