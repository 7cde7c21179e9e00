"""
HAProxy's agent checks, answered by the master: ``agent-check`` in HAProxy's manual.

HAProxy connects, sends the text of ``agent-send``, and reads a line. Here each check
asks for one slot, as in ``slot 2``. With session affinity it asks for
``slot 2 sticky``: a changed weight would move clients, and a worker that has crashed
is waited for, as its port stays open.
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

#: The timeout of a check in seconds, from its connection to its end.
TIMEOUT = 3.0

#: The most checks under way; the oldest one is closed for another.
MOST_CONNECTIONS = 256

#: The maximum length of a question, in bytes.
LONGEST_LINE = 64

#: The lag at which a worker's weight is halved, in seconds.
_HALVING = 0.1

#: The states of a worker that will soon be ready again.
_AWAITED = frozenset({"starting", "backoff"})

_QUESTION = re.compile(rb"slot (?P<slot>[0-9]{1,9})(?P<sticky> sticky)?\r?")


def weight(lag: float) -> int:
    """
    Return the weight of a worker.

    :param lag: the lag of its event loop, in seconds.
    :return: per cent of the weight without lag, from 100 down to 1.
    """
    return max(1, round(100 / (1 + max(lag, 0.0) / _HALVING)))


def answer(
    state: State | None, lag: float, *, stopping: bool = False, sticky: bool = False
) -> str:
    """
    Return the state of a slot in HAProxy's syntax.

    :param state: the state of the slot; None if there is no such slot.
    :param lag: the lag of its worker's event loop, in seconds.
    :param stopping: whether the whole cluster is about to stop.
    :param sticky: whether clients have session affinity.
    """
    if state is None:
        return "down #there is no such slot"
    serves = state == "running" or (sticky and state in _AWAITED)
    if state == "draining" or (serves and stopping):
        return "drain"
    if not serves:
        return f"down #{state}"
    return f"ready up {100 if sticky else weight(lag)}%"


class CheckedMaster(Protocol):
    """The part of the master that agent checks need."""

    @property
    def reactor(self) -> Any:
        """The master's reactor."""

    @property
    def phase(self) -> Phase:
        """The phase of the master's life: starting, running or stopping."""

    @property
    def sockets(self) -> Sockets:
        """The listening sockets and the state folder."""

    @property
    def deployment(self) -> Deployment:
        """
        The core and the workers.

        :raise OperationError: if the cluster is not running.
        """


class ActiveRole(Protocol):
    """The master's position in a sequence of upgrades."""

    @property
    def is_active(self) -> bool:
        """Whether this master is the one that operators and load balancers address."""


class AgentCheck:
    """
    Answers agent checks while a cluster runs, if they are configured.

    :param master: the master.
    :param role: its position in a sequence of upgrades.
    """

    def __init__(self, master: CheckedMaster, role: ActiveRole) -> None:
        self._master = master
        self._upgrade_role = role
        self._open: _AgentListener | None = None

    def changed(self) -> None:
        """Called when any state has changed: open or close the listener of checks."""
        listening = self._master.sockets.agent if self._is_on_duty() else None
        if self._open is None and listening is not None:
            self._open = _AgentListener(self._master, listening)
        elif self._open is not None and listening is None:
            opened, self._open = self._open, None
            opened.close()

    def _is_on_duty(self) -> bool:
        """Return whether this master leads and a worker of it was ready."""
        try:
            was_ready = self._master.deployment.pool.ever_ready
        except OperationError:
            return False
        return was_ready and self._upgrade_role.is_active


class _AgentListener(Factory[LineOnlyReceiver]):
    """The open listener for agent checks, and the checks under way."""

    noisy = False

    def __init__(self, master: CheckedMaster, listening: socket.socket) -> None:
        #: The checks under way, the oldest first.
        self.checks: OrderedDict[_Check, None] = OrderedDict()
        self.reactor = master.reactor
        self._master = master
        # The acceptor closes its socket, but the listener must survive that.
        self._acceptor = Acceptor(
            self.reactor, listening.dup(), ConnectionAdopter(self.reactor, self)
        )
        self._acceptor.start()

    def buildProtocol(self, addr: IAddress | None) -> "_Check":  # noqa: ARG002
        """Return the protocol of a new check; close the oldest one to make room."""
        if len(self.checks) >= MOST_CONNECTIONS:
            # The oldest has sent no question: otherwise it would be answered and gone.
            oldest, _ = self.checks.popitem(last=False)
            oldest.abort()
        return _Check(self)

    def answer(self, question: bytes) -> str | None:
        """Return the answer to a question; None if the question is invalid."""
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
        """Stop accepting, and abort the checks under way."""
        self._acceptor.stop()
        for check in tuple(self.checks):
            check.abort()


def _abort(_failure: Failure, check: "_Check", _line: bytes) -> None:
    check.abort()


class _Check(LineOnlyReceiver, TimeoutMixin):
    """One agent check: a question line, an answer line, and the end."""

    delimiter = b"\n"
    MAX_LENGTH = LONGEST_LINE
    transport: ITCPTransport

    def __init__(self, opened: _AgentListener) -> None:
        self._opened = opened

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        """Schedule timeouts on the master's reactor."""
        timer: IDelayedCall = self._opened.reactor.callLater(period, func)
        return timer

    @guarded("answer an agent check")
    def connectionMade(self) -> None:
        """Start the timeout of the check."""
        self._opened.checks[self] = None
        self.setTimeout(TIMEOUT)

    @guarded("answer an agent check", _abort)
    def lineReceived(self, line: bytes) -> None:
        """Answer the question and close; an invalid one gets no answer."""
        reply = self._opened.answer(line)
        if reply is not None:
            self.transport.write(f"{reply}\n".encode("ascii"))
        self.transport.loseConnection()

    @guarded("answer an agent check")
    def timeoutConnection(self) -> None:
        """Called when the timeout is over: abort the connection."""
        self.abort()

    def abort(self) -> None:
        """Abort the connection."""
        self.transport.abortConnection()

    @guarded("answer an agent check")
    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        """Called when the connection is closed: remove the check."""
        self.setTimeout(None)
        self._opened.checks.pop(self, None)
