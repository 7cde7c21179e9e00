"""The AMP channel between a running master and the new master of an upgrade."""

import socket
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from clusterapp.channel.commands import HandOver
from clusterapp.channel.fd_claims import claim_of, received_offer
from clusterapp.channel.protocol import ChannelEnd, received, sendable
from clusterapp.channel.unanswered import report_unanswered
from clusterapp.channel.upgrade_state import OperatorChanges
from clusterapp.guards import guarded


class TakeOver(amp.Command):
    """
    New master to old: it serves on these of the old master's listeners.

    The old master can exit. The answer is the path of the pid file, by which operators
    find the master.
    """

    arguments: ClassVar = [
        (b"pid", amp.Integer()),
        (b"listeners", amp.ListOf(amp.Unicode())),
    ]
    response: ClassVar = [(b"pid_file", amp.Unicode())]


class UpgradeComplete(amp.Command):
    """New master to old: operators find the new master now."""


class UpgradeFailed(amp.Command):
    """New master to old: it cannot serve, for this reason, and is about to exit."""

    requiresAnswer = False
    arguments: ClassVar = [(b"reason", amp.Unicode())]


@dataclass(frozen=True)
class UpgradeOffer:
    """
    What a new master receives when it is started.

    :param channel: the descriptor of its end of the channel to the old master.
    :param secret: the descriptor of a socket from which the key of cookies' signatures
        is read.
    :param listeners: names and descriptors of listening sockets; several may have one
        name.
    :param operator_changes: the operators' changes at run time.
    """

    channel: int
    secret: int
    listeners: tuple[tuple[str, int], ...]
    operator_changes: OperatorChanges = field(default_factory=OperatorChanges)

    def as_mapping(self) -> dict[str, Any]:
        """Return the fields in types of JSON."""
        return asdict(self)


class NewMasterEvents(Protocol):
    """The old master's callbacks for events of the new one."""

    def taken_over(self, pid: int, listeners: list[str]) -> str:
        """
        Called when the new master serves.

        :return: the path of the pid file that is the new master's from now on; empty if
            there is none.
        """

    def upgrade_complete(self) -> None:
        """Called when operators find the new master instead of the old one."""

    def upgrade_failed(self, reason: str) -> None:
        """Called when the new master cannot serve."""

    def channel_lost(self) -> None:
        """Called when the channel to the new master is closed."""


class OldEnd(ChannelEnd):
    """The old master's end of the channel to the new one."""

    def __init__(self, events: NewMasterEvents) -> None:
        super().__init__()
        self._events = events

    @TakeOver.responder
    def _take_over(self, pid: int, listeners: list[str]) -> dict[str, object]:
        return {"pid_file": self._events.taken_over(pid, listeners)}

    @UpgradeComplete.responder
    def _upgrade_complete(self) -> dict[str, object]:
        self._events.upgrade_complete()
        return {}

    @UpgradeFailed.responder
    def _upgrade_failed(self, reason: str) -> dict[str, object]:
        self._events.upgrade_failed(reason)
        return {}

    @guarded("handle the end of the channel")
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the channel is closed."""
        super().connectionLost(reason)
        self._events.channel_lost()

    def hand_over(self, connection: socket.socket, listener: str) -> Deferred[bool]:
        """
        Offer a connection to the new master, for one of its workers.

        :param connection: remains the caller's, which keeps it open until this fires.
        :param listener: the name of the connection's listener.
        :return: fires with whether a worker has taken the connection.
        """
        asked: Deferred[dict[str, bool]] = self._ask(
            HandOver,
            connection=connection.fileno(),
            listener=listener,
            claim=claim_of(connection),
        )
        return asked.addCallbacks(lambda answer: answer["taken"], _not_taken)


class OldMasterEvents(Protocol):
    """The new master's callbacks for events of the old one."""

    def adopt(self, connection: socket.socket, listener: str) -> Deferred[bool]:
        """
        Pass a connection to a worker; the callee has to close the socket.

        :param listener: the name of the connection's listener.
        :return: fires with whether a worker has taken the connection.
        """

    def predecessor_gone(self) -> None:
        """Called when the old master has exited."""


class NewEnd(ChannelEnd):
    """The new master's end of the channel to the old one."""

    def __init__(self, events: OldMasterEvents) -> None:
        super().__init__()
        self._events = events

    @HandOver.responder
    def _hand_over(
        self, connection: int, listener: str, claim: int | None = None
    ) -> Deferred[dict[str, object]]:
        offer = received_offer(received(connection), claim)
        given = self._events.adopt(offer, listener)
        return given.addCallback(lambda taken: {"taken": taken})

    @guarded("handle the end of the channel")
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the channel is closed: the old master has exited."""
        super().connectionLost(reason)
        self._events.predecessor_gone()

    def take_over(self, pid: int, listeners: list[str]) -> Deferred[str]:
        """
        Report to the old master that this one serves.

        :return: fires with the path of the pid file, which this master owns now.
        """
        asked: Deferred[dict[str, str]] = self._ask(
            TakeOver, pid=pid, listeners=listeners
        )
        return asked.addCallback(lambda answer: answer["pid_file"])

    def upgrade_complete(self) -> None:
        """Report to the old master that operators find this one now."""
        # If the old master has exited already, the message is not needed.
        self._send(UpgradeComplete).addErrback(report_unanswered)


def _not_taken(why: Failure) -> bool:
    report_unanswered(why)
    return False


def report_upgrade_failed(channel: socket.socket, reason: str) -> None:
    """
    Report to the old master, without a reactor, why the new one cannot serve.

    :param channel: the new master's end of the channel.
    :param reason: one line.
    """
    box = UpgradeFailed.makeArguments({"reason": sendable(reason)}, None)
    box[amp.COMMAND] = UpgradeFailed.commandName
    channel.sendall(box.serialize())
