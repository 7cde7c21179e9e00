"""HAProxy's agent checks, answered in memory."""

import socket
from dataclasses import dataclass, field
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import OperationError
from clusterapp.lifecycle import State
from clusterapp.master.distribution.agent_check import (
    LONGEST_LINE,
    MOST_CONNECTIONS,
    TIMEOUT,
    AgentCheck,
    answer,
    weight,
)

LAGS = st.floats(min_value=0, max_value=1e6)


class WeightTests(SynchronousTestCase):
    """What a lag is worth."""

    def test_figures(self) -> None:
        weights = [weight(lag) for lag in (0, 0.001, 0.1, 1.0, 3600)]
        self.assertEqual(weights, [100, 99, 50, 9, 1])

    @given(LAGS, LAGS)
    def test_less_for_more_lag(self, one: float, other: float) -> None:
        """Never nothing, and never more for a worker that lags more."""
        less, more = sorted((one, other))
        self.assertLessEqual(weight(more), weight(less))
        self.assertTrue(1 <= weight(more) <= weight(less) <= 100)


class AnswerTests(SynchronousTestCase):
    """HAProxy's words for a slot."""

    def test_running(self) -> None:
        self.assertEqual(answer("running", 0.1), "ready up 50%")

    def test_about_to_leave(self) -> None:
        """What it has it may finish; new connections go elsewhere."""
        self.assertEqual(answer("draining", 0.0), "drain")
        self.assertEqual(answer("running", 0.0, stopping=True), "drain")

    def test_not_running(self) -> None:
        states: tuple[State, ...] = ("stopped", "starting", "backoff", "fatal")
        for state in states:
            self.assertEqual(answer(state, 0.0), f"down #{state}")
            self.assertEqual(answer(state, 0.0, stopping=True), f"down #{state}")
        self.assertEqual(answer(None, 0.0), "down #there is no such slot")

    def test_clients_that_stay(self) -> None:
        """They are neither moved by a lag, nor by a worker that will be back."""
        for state, said in (
            ("running", "ready up 100%"),
            ("starting", "ready up 100%"),
            ("backoff", "ready up 100%"),
            ("draining", "drain"),
            ("stopped", "down #stopped"),
            ("fatal", "down #fatal"),
        ):
            self.assertEqual(answer(cast("State", state), 0.1, sticky=True), said)


class Reactor(MemoryReactorClock):
    """Connects nothing by itself."""


@dataclass
class Slot:
    """As much of a slot as is asked for."""

    state: State = "running"
    lag: float | None = None


@dataclass
class Pool:
    """As much of a pool as is asked for."""

    slots: dict[int, Slot] = field(default_factory=dict)
    ever_ready: bool = True


@dataclass
class Sockets:
    """The one socket that matters here."""

    agent: socket.socket | None = None


class Master:
    """A master whose slots the test makes."""

    def __init__(self, listening: socket.socket | None) -> None:
        self.reactor = Reactor()
        self.sockets = Sockets(listening)
        self.pool = Pool({0: Slot(), 1: Slot("draining")})
        self.phase = "running"
        self.is_active = self.runs = True

    @property
    def deployment(self) -> "Master":
        if not self.runs:
            raise OperationError("the cluster does not run")
        return self


class Transport(StringTransport):
    """Tells how it was closed."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class CheckCase(SynchronousTestCase):
    """A master on duty."""

    def setUp(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listening.close)
        self.master = Master(self.listening)
        self.checks: Any = AgentCheck(self.master, self.master)  # type: ignore[arg-type]
        self.checks.changed()
        self.addCleanup(self.go_off_duty)

    def go_off_duty(self) -> None:
        self.master.runs = False
        self.checks.changed()
        self.assertEqual(self.master.reactor.getReaders(), [])

    def connect(self) -> tuple[Any, Transport]:
        check, transport = self.checks._open.buildProtocol(None), Transport()
        check.makeConnection(transport)
        return check, transport

    def ask(self, *pieces: bytes) -> str:
        """Ask, and see that the connection is closed."""
        check, transport = self.connect()
        for piece in pieces:
            check.dataReceived(piece)
        self.assertTrue(transport.disconnecting)
        check.connectionLost()
        self.assertEqual(self.master.reactor.getDelayedCalls(), [])
        return str(transport.value(), "ascii")


class QuestionTests(CheckCase):
    """What is asked, and what is answered."""

    def test_slots(self) -> None:
        self.assertEqual(self.ask(b"slot 0\n"), "ready up 100%\n")
        self.assertEqual(self.ask(b"slot 1\r\n"), "drain\n")
        self.assertEqual(self.ask(b"slot 2\n"), "down #there is no such slot\n")

    def test_in_pieces(self) -> None:
        self.assertEqual(self.ask(b"sl", b"ot 0", b"\nslot 1\n"), "ready up 100%\n")

    def test_lag(self) -> None:
        """It lowers the weight, unless the balancer keeps clients where they are."""
        slot = self.master.pool.slots[0]
        slot.lag = 0.1
        self.assertEqual(self.ask(b"slot 0\n"), "ready up 50%\n")
        slot.lag = 1.0
        self.assertEqual(self.ask(b"slot 0\n"), "ready up 9%\n")
        self.assertEqual(self.ask(b"slot 0 sticky\n"), "ready up 100%\n")

    def test_stopping(self) -> None:
        self.master.phase = "stopping"
        self.assertEqual(self.ask(b"slot 0\n"), "drain\n")

    def test_nonsense(self) -> None:
        """It is answered with nothing, and the connection is closed."""
        for line in (
            b"", b"slot", b"slot -1", b"slot 1 2", b"slot 0 heavy", b"SLOT 0",
            b"slot 9999999999", b"slot \xd9\xa1", b"GET / HTTP/1.1\r", b"\0",
        ):  # fmt: skip
            self.assertEqual(self.ask(line + b"\n"), "", line)

    def test_line_without_end(self) -> None:
        self.assertEqual(self.ask(b"slot " + b"1" * LONGEST_LINE), "")

    @given(st.binary(max_size=200))
    def test_anything(self, sent: bytes) -> None:
        """Whatever comes, nothing but a line of these goes out."""
        check, transport = self.connect()
        check.dataReceived(sent)
        check.connectionLost()
        said = transport.value()
        self.assertIn(said.partition(b" ")[0], {b"", b"ready", b"drain\n", b"down"})


class BoundTests(CheckCase):
    """What a check may take."""

    def test_time(self) -> None:
        _, transport = self.connect()
        self.master.reactor.advance(TIMEOUT - 0.1)
        self.assertFalse(transport.aborted)
        self.master.reactor.advance(0.1)
        self.assertTrue(transport.aborted)

    def test_answer_that_nobody_reads(self) -> None:
        """The time goes on until the connection is gone."""
        check, transport = self.connect()
        check.dataReceived(b"slot 0\n")
        self.master.reactor.advance(TIMEOUT)
        self.assertTrue(transport.aborted)

    def test_connections(self) -> None:
        """The oldest one makes room for a new one, which is answered."""
        silent = [self.connect() for _ in range(MOST_CONNECTIONS)]
        self.assertFalse(any(transport.aborted for _, transport in silent))
        asking, transport = self.connect()
        asking.dataReceived(b"slot 0\n")
        self.assertEqual(transport.value(), b"ready up 100%\n")
        aborted = [transport.aborted for _, transport in silent]
        self.assertEqual(aborted, [True] + [False] * (MOST_CONNECTIONS - 1))
        self.assertEqual(len(self.checks._open.checks), MOST_CONNECTIONS)
        for check, _ in silent:
            check.connectionLost()
        self.assertEqual(len(self.checks._open.checks), 1)

    def test_room(self) -> None:
        """A check that has ended makes room, and no other one is closed."""
        silent = [self.connect() for _ in range(MOST_CONNECTIONS)]
        silent[7][0].connectionLost()
        self.connect()
        self.assertFalse(any(transport.aborted for _, transport in silent))


class DutyTests(CheckCase):
    """When the master answers agent checks."""

    def readers(self) -> int:
        return len(self.master.reactor.getReaders())

    def test_only_once(self) -> None:
        self.checks.changed()
        self.assertEqual(self.readers(), 1)

    def test_end(self) -> None:
        """Checks under way are broken off; the socket stays the master's."""
        _, transport = self.connect()
        self.go_off_duty()
        self.assertTrue(transport.aborted)
        self.assertNotEqual(self.listening.fileno(), -1)

    def test_upgrade(self) -> None:
        """Of two masters with one socket, only the one that leads answers."""
        self.master.is_active = False
        self.checks.changed()
        self.assertEqual(self.readers(), 0)
        self.master.is_active = True
        self.checks.changed()
        self.assertEqual(self.readers(), 1)

    def test_start(self) -> None:
        """Before a worker was ready there is nothing to tell."""
        self.go_off_duty()
        self.master.runs, self.master.pool.ever_ready = True, False
        self.checks.changed()
        self.assertEqual(self.readers(), 0)

    def test_not_wanted(self) -> None:
        self.go_off_duty()
        self.master.runs, self.master.sockets.agent = True, None
        self.checks.changed()
        self.assertEqual(self.readers(), 0)
