"""What a master and the one that is to follow it say to each other."""

import socket
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from clusterapp.channel.commands import HandOver
from clusterapp.channel.fd_claims import claim_of, received_offer
from clusterapp.channel.protocol import End, received, sendable
from clusterapp.channel.unanswered import report_unanswered
from clusterapp.channel.upgrade_state import Kept
from clusterapp.guards import guarded


class TakeOver(amp.Command):
    """
    New master to old: I serve, on these of your listeners; you can leave.

    The answer is all that an operator knows the old one by.
    """

    arguments: ClassVar = [
        (b"pid", amp.Integer()),
        (b"listeners", amp.ListOf(amp.Unicode())),
    ]
    response: ClassVar = [(b"pid_file", amp.Unicode())]


class UpgradeComplete(amp.Command):
    """New master to old: whoever looked for you finds me."""


class UpgradeFailed(amp.Command):
    """New master to old: I cannot serve, for this reason; I am about to leave."""

    requiresAnswer = False
    arguments: ClassVar = [(b"reason", amp.Unicode())]


@dataclass(frozen=True)
class UpgradeOffer:
    """
    What a new master is given when it is started.

    :param channel: the descriptor of its end of the channel to the old one.
    :param secret: the descriptor of a socket with what cookies are signed with.
    :param listeners: the descriptors of listening sockets, by what they are known
        by; several may have one name.
    :param kept: what operators have set.
    """

    channel: int
    secret: int
    listeners: tuple[tuple[str, int], ...]
    kept: Kept = field(default_factory=Kept)

    def as_mapping(self) -> dict[str, Any]:
        """Give it in types that JSON has."""
        return asdict(self)


class Heir(Protocol):
    """What an old master hears of the new one."""

    def taken_over(self, pid: int, listeners: list[str]) -> str:
        """
        Hear that the new master serves.

        :return: the path of the pid file that is the new master's from now on;
            empty if there is none.
        """

    def leads(self) -> None:
        """Hear that the new master is the one that operators find."""

    def unfit(self, reason: str) -> None:
        """Hear why the new master cannot serve."""

    def channel_lost(self) -> None:
        """Hear that the new master says nothing more."""


class OldEnd(End):
    """The old master's end of the channel to the new one."""

    def __init__(self, heir: Heir) -> None:
        super().__init__()
        self._heir = heir

    @TakeOver.responder
    def _take_over(self, pid: int, listeners: list[str]) -> dict[str, object]:
        return {"pid_file": self._heir.taken_over(pid, listeners)}

    @UpgradeComplete.responder
    def _leads(self) -> dict[str, object]:
        self._heir.leads()
        return {}

    @UpgradeFailed.responder
    def _unfit(self, reason: str) -> dict[str, object]:
        self._heir.unfit(reason)
        return {}

    @guarded("take note of the end of the channel")
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Hear that there is no channel any more."""
        super().connectionLost(reason)
        self._heir.channel_lost()

    def hand_over(self, connection: socket.socket, door: str) -> Deferred[bool]:
        """
        Have a worker of the new master serve a connection.

        :param connection: stays the caller's, who keeps it open until this fires.
        :param door: the name of the listener that it has come by.
        :return: fires with whether one does.
        """
        asked: Deferred[dict[str, bool]] = self._ask(
            HandOver,
            connection=connection.fileno(),
            door=door,
            claim=claim_of(connection),
        )
        return asked.addCallbacks(lambda answer: answer["taken"], _not_taken)


class Predecessor(Protocol):
    """What a new master hears of the old one."""

    def adopt(self, connection: socket.socket, door: str) -> Deferred[bool]:
        """
        Let a worker serve a connection; the socket is the hearer's to close.

        :param door: the name of the listener that it has come by.
        :return: fires with whether one does.
        """

    def predecessor_gone(self) -> None:
        """Hear that the old master is no more."""


class NewEnd(End):
    """The new master's end of the channel to the old one."""

    def __init__(self, events: Predecessor) -> None:
        super().__init__()
        self._events = events

    @HandOver.responder
    def _hand_over(
        self, connection: int, door: str, claim: int | None = None
    ) -> Deferred[dict[str, object]]:
        offer = received_offer(received(connection), claim)
        given = self._events.adopt(offer, door)
        return given.addCallback(lambda taken: {"taken": taken})

    @guarded("take note of the end of the channel")
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Hear that the old master is gone."""
        super().connectionLost(reason)
        self._events.predecessor_gone()

    def take_over(self, pid: int, listeners: list[str]) -> Deferred[str]:
        """
        Tell the old master that this one serves.

        :return: fires with the path of the pid file that is this master's now.
        """
        asked: Deferred[dict[str, str]] = self._ask(
            TakeOver, pid=pid, listeners=listeners
        )
        return asked.addCallback(lambda answer: answer["pid_file"])

    def leads(self) -> None:
        """Tell the old master that this one is found now."""
        # If it is gone already, it need not hear that.
        self._say(UpgradeComplete).addErrback(report_unanswered)


def _not_taken(why: Failure) -> bool:
    report_unanswered(why)
    return False


def tell_unfit(channel: socket.socket, reason: str) -> None:
    """
    Tell the old master, without a reactor, why the new one cannot serve.

    :param channel: the new master's end of the channel.
    :param reason: one line.
    """
    box = UpgradeFailed.makeArguments({"reason": sendable(reason)}, None)
    box[amp.COMMAND] = UpgradeFailed.commandName
    channel.sendall(box.serialize())
