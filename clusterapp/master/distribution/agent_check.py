"""
HAProxy's agent checks, answered by the master: ``agent-check`` in HAProxy's manual.

HAProxy connects, sends what ``agent-send`` says, and reads a line. Ours are asked for
one slot each, by ``slot 2``. Where clients stay with their workers HAProxy says
``slot 2 sticky``: another weight would move them, and a worker that has crashed is
waited for, as its port is open all the time.
"""

import re
import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IAddress, IDelayedCall, ITCPTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure

from clusterapp.errors import OperationError
from clusterapp.guards import guarded
from clusterapp.lifecycle import State
from clusterapp.listening.accept import Acceptor, ConnectionAdopter
from clusterapp.master.cluster_status import Phase
from clusterapp.master.master_sockets import Sockets
from clusterapp.master.rollout.deployment import Deployment

#: Seconds that a check may take, from its connection to its end.
PATIENCE = 3.0

#: The most checks under way; at one more, the oldest one is closed.
MOST_CONNECTIONS = 256

#: No question is longer, in bytes.
LONGEST_LINE = 64

#: The lag at which a worker gets half of its connections, in seconds.
_HALVING = 0.1

#: The states of a worker that will soon be there again.
_AWAITED = frozenset({"starting", "backoff"})

_QUESTION = re.compile(rb"slot (?P<slot>[0-9]{1,9})(?P<sticky> sticky)?\r?")


def weight(lag: float) -> int:
    """
    Weigh a worker.

    :param lag: how late its event loop is, in seconds.
    :return: per cent of what it gets when it does not lag, from 100 down to 1.
    """
    return max(1, round(100 / (1 + max(lag, 0.0) / _HALVING)))


def answer(
    state: State | None, lag: float, *, stopping: bool = False, sticky: bool = False
) -> str:
    """
    Say how a slot is, in HAProxy's words.

    :param state: the state of the slot; None if there is no such slot.
    :param lag: how late its worker's event loop is, in seconds.
    :param stopping: whether the whole cluster is about to stop.
    :param sticky: whether clients stay with their workers.
    """
    if state is None:
        return "down #there is no such slot"
    serves = state == "running" or (sticky and state in _AWAITED)
    if state == "draining" or (serves and stopping):
        return "drain"
    if not serves:
        return f"down #{state}"
    return f"ready up {100 if sticky else weight(lag)}%"


class Master(Protocol):
    """What agent checks need of the master."""

    @property
    def reactor(self) -> Any:
        """Its reactor."""

    @property
    def phase(self) -> Phase:
        """Where it is between its start and its end."""

    @property
    def sockets(self) -> Sockets:
        """What it holds open."""

    @property
    def deployment(self) -> Deployment:
        """
        What it runs.

        :raise OperationError: if it does not run.
        """


class Succession(Protocol):
    """The place of a master among those before and after it."""

    @property
    def leads(self) -> bool:
        """Whether this master is the one that operators and balancers know."""


class AgentCheck:
    """
    Answers agent checks while a cluster runs, if that is wanted.

    :param master: the master.
    :param succession: knows whether it is the one to ask.
    """

    def __init__(self, master: Master, succession: Succession) -> None:
        self._master = master
        self._succession = succession
        self._open: _Open | None = None

    def changed(self) -> None:
        """Look at whether checks are to be answered."""
        listening = self._master.sockets.agent if self._is_on_duty() else None
        if self._open is None and listening is not None:
            self._open = _Open(self._master, listening)
        elif self._open is not None and listening is None:
            opened, self._open = self._open, None
            opened.close()

    def _is_on_duty(self) -> bool:
        """Tell whether this master is the one to ask, once a worker was ready."""
        try:
            was_ready = self._master.deployment.pool.ever_ready
        except OperationError:
            return False
        return was_ready and self._succession.leads


class _Open(Factory[LineOnlyReceiver]):
    """A socket that agent checks come to, and those that are under way."""

    noisy = False

    def __init__(self, master: Master, listening: socket.socket) -> None:
        #: The checks under way, the oldest first.
        self.checks: OrderedDict[_Check, None] = OrderedDict()
        self.reactor = master.reactor
        self._master = master
        # The acceptor closes what it has, and the socket is to outlive it.
        self._acceptor = Acceptor(
            self.reactor, listening.dup(), ConnectionAdopter(self.reactor, self)
        )
        self._acceptor.start()

    def buildProtocol(self, addr: IAddress | None) -> "_Check":  # noqa: ARG002
        """Make the protocol of a new check; close the oldest one to make room."""
        if len(self.checks) >= MOST_CONNECTIONS:
            # A check that has asked is answered and gone at once: this one has not.
            oldest, _ = self.checks.popitem(last=False)
            oldest.abort()
        return _Check(self)

    def answer(self, question: bytes) -> str | None:
        """Answer a question; None if it makes no sense."""
        match = _QUESTION.fullmatch(question)
        if match is None:
            return None
        slot = self._master.deployment.pool.slots.get(int(match["slot"]))
        return answer(
            None if slot is None else slot.state,
            0.0 if slot is None else slot.lag or 0.0,
            stopping=self._master.phase == "stopping",
            sticky=match["sticky"] is not None,
        )

    def close(self) -> None:
        """Take no more checks, and break off those under way."""
        self._acceptor.stop()
        for check in tuple(self.checks):
            check.abort()


def _abort(_failure: Failure, check: "_Check", _line: bytes) -> None:
    check.abort()


class _Check(LineOnlyReceiver, TimeoutMixin):
    """One agent check: a line that asks, a line that answers, and the end."""

    delimiter = b"\n"
    MAX_LENGTH = LONGEST_LINE
    transport: ITCPTransport

    def __init__(self, opened: _Open) -> None:
        self._opened = opened

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        """Keep time by the master's reactor."""
        timer: IDelayedCall = self._opened.reactor.callLater(period, func)
        return timer

    @guarded("answer an agent check")
    def connectionMade(self) -> None:
        """Allow it its time."""
        self._opened.checks[self] = None
        self.setTimeout(PATIENCE)

    @guarded("answer an agent check", _abort)
    def lineReceived(self, line: bytes) -> None:
        """Answer, and be done; a question that makes no sense has no answer."""
        said = self._opened.answer(line)
        if said is not None:
            self.transport.write(f"{said}\n".encode("ascii"))
        self.transport.loseConnection()

    @guarded("answer an agent check")
    def timeoutConnection(self) -> None:
        """Be done with one that does not ask, or does not read."""
        self.abort()

    def abort(self) -> None:
        """Break it off."""
        self.transport.abortConnection()

    @guarded("answer an agent check")
    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        """Know that it is over."""
        self.setTimeout(None)
        self._opened.checks.pop(self, None)
