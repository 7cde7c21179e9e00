"""The upgrade of a master, from both sides: as the new one and as the old one."""

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
from clusterapp.channel.upgrade_state import OperatorChanges
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
    What a program must provide so that its master can be upgraded.

    :param inherited: what this master inherits from the older one; None if it is
        the first.
    :param on_active: called when it has taken over, with the path of the pid file that
        it owns from then on; empty if there is none.
    :param command: how to start the next master; None if that is impossible.
    """

    inherited: InheritedState | None
    on_active: Callable[[str], None]
    command: Command | None


class UpgradedMaster(Protocol):
    """The part of the master that upgrades use."""

    @property
    def phase(self) -> Phase:
        """The phase of the master's life: starting, running or stopping."""

    @property
    def reactor(self) -> Any:
        """The master's reactor."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""

    @property
    def sockets(self) -> Sockets:
        """The listening sockets and the state folder."""

    @property
    def deployment(self) -> Deployment:
        """The core and the workers."""

    @property
    def distribution(self) -> Distribution:
        """The distribution of connections to workers."""

    @property
    def operations(self) -> MasterOperations:
        """The operations, and what operators have set by them."""

    def end(self, *, quick: bool) -> Deferred[None]:
        """Stop the master; fires when the last child has exited."""


class UpgradeRole:
    """
    A master's position in a sequence of upgrades.

    :param master: the master.
    :param upgrading: what its program provides; None if there is neither an older
        master nor a way to start a newer one.
    :ivar is_superseded: whether a newer master has taken over.
    """

    _log = Logger()

    def __init__(self, master: UpgradedMaster, upgrading: Upgrading | None) -> None:
        self.is_superseded = False
        #: The key of session affinity cookies, the same in all masters of the sequence.
        self.secret = secrets.token_bytes(_SECRET_BYTES)
        if upgrading is not None and upgrading.inherited is not None:
            self.secret = upgrading.inherited.secret
        #: What operators have set in the older master.
        self.operator_changes = OperatorChanges()
        if upgrading is not None and upgrading.inherited is not None:
            self.operator_changes = upgrading.inherited.operator_changes
        self._master = master
        self._command = None if upgrading is None else upgrading.command
        self._on_active = None if upgrading is None else upgrading.on_active
        #: What this master inherits; None after it has taken over.
        self._inherited = None if upgrading is None else upgrading.inherited

    @property
    def is_active(self) -> bool:
        """Whether this master is the one that operators and load balancers address."""
        return self._inherited is None and not self.is_superseded

    # As the new master.

    def connect(self) -> None:
        """Connect to the older master, if there is one."""
        if self._inherited is not None:
            self._inherited.connect(self._master.reactor, self)

    def check(self, deployment: Deployment) -> None:
        """Take over from the older master, if core and all workers are ready."""
        if self._inherited is None or not deployment.core_is_ready:
            return
        slots = [s for s in deployment.pool.slots.values() if s.state != "stopped"]
        if slots and all(slot.state == "running" for slot in slots):
            inherited, self._inherited = self._inherited, None
            confirmed = inherited.take_over()
            confirmed.addErrback(self._not_answered)
            confirmed.addCallback(self._become_active)
            confirmed.addCallback(lambda _: inherited.upgrade_complete())
            confirmed.addErrback(
                lambda why: self._log.failure("cannot take over", failure=why)
            )

    def upgrade_failed(self, error: ClusterError) -> None:
        """Notify the older master that this one cannot take over."""
        if self._inherited is not None:
            self._inherited.upgrade_failed(str(error))

    def adopt(self, connection: socket.socket, listener: str) -> Deferred[bool]:
        """Pass a connection of the older master on to a worker."""
        return self._master.deployment.pool.adopt(connection, listener)

    def predecessor_gone(self) -> None:
        """Called when the channel to the older master is closed, by either end."""
        if self._inherited is not None and self._master.phase != "stopping":
            self._log.warn("the old master has exited before this one took over")
            self._inherited = None
            self._become_active("")

    def _not_answered(self, why: Failure) -> str:
        """Become active without an answer, since this master serves; no pid file."""
        report_unanswered(why)
        return ""

    def _become_active(self, pid_file: str) -> None:
        if self._on_active is not None:
            self._on_active(pid_file)

    # As the old master.

    def begin(self, tell: Tell) -> Coroutine[Any, Any, str]:
        """
        Start a new master that takes over sockets and connections from this one.

        :param tell: called with each step.
        :raise OperationError: if this master cannot start another.
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
                master.sockets.inheritable_sockets(),
                self.secret,
                boot,
                master.operations.operator_changes(),
            )
        except BaseException:
            master.distribution.steer_anew()
            raise
        tell(Step(f"the new master (pid {pid}) has taken over"))
        self.is_superseded = True
        master.deployment.pool.successor = successor.adopt
        master.sockets.give_up(taken)
        # A client that receives the verdict may address the new master at once.
        await successor.wait_until_complete()
        # In a later turn of the reactor, so that the client gets the verdict first.
        master.reactor.callLater(0, self._leave)
        return f"pid {pid} has taken over from pid {os.getpid()}, which leaves"

    @guarded("stop after an upgrade")
    def _leave(self) -> None:
        self._master.end(quick=False)
