"""How the connections of a site that drains come to their ends."""

import errno
import os
import socket

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.fd_claims import OfferedSocket
from clusterapp.http.server.drain_policy import DrainPolicy


class OutOfOrderError(Exception):
    """A connection is in a state that it should not be in."""


class Connection:
    """An idle connection; it writes down what becomes of it."""

    listener = "0 tcp:80"

    def __init__(self, *, idle: bool = True, raises_when: str = "") -> None:
        self.socket: socket.socket | None = None
        self.became: list[str] = []
        self._idle = idle
        self._raises_when = raises_when

    def offer_fd(self) -> socket.socket | None:
        self._become("lent")
        if self._idle:
            self.socket = socket.socket()
        return self.socket

    def transferred(self) -> None:
        self._become("given")

    def keep(self) -> None:
        self._become("stays")

    def reclaim(self) -> None:
        self._become("reclaimed")

    def _become(self, what: str) -> None:
        self.became.append(what)
        if what == self._raises_when:
            raise OutOfOrderError


class DepartureTests(SynchronousTestCase):
    """Connections that are offered to another process."""

    def setUp(self) -> None:
        self.asked: list[tuple[socket.socket, Deferred[bool]]] = []
        self.clock = Clock()
        self.drain_policy = DrainPolicy(5.0, self.hand_over, self.clock)
        self.gone: Exception | None = None

    def hand_over(self, connection: socket.socket, listener: str) -> Deferred[bool]:
        self.assertEqual(listener, Connection.listener)
        if self.gone is not None:
            return fail(self.gone)
        answer: Deferred[bool] = Deferred()
        self.asked.append((connection, answer))
        return answer

    def offer(self, count: int) -> list[Connection]:
        connections = [Connection() for _ in range(count)]
        for each in connections:
            self.assertTrue(self.drain_policy.offer(each))
        return connections

    def test_taken(self) -> None:
        """The socket is kept open until the other process has it."""
        [connection] = self.offer(1)
        [(lent, answer)] = self.asked
        self.assertNotEqual(lent.fileno(), -1)
        self.assertEqual(connection.became, ["lent"])
        answer.callback(True)
        self.assertEqual(connection.became, ["lent", "given"])
        self.assertEqual(lent.fileno(), -1)

    def test_not_taken(self) -> None:
        """Nobody wants it, or there is nobody to ask any more."""
        refused, broken = self.offer(2)
        self.asked[0][1].callback(False)
        self.asked[1][1].errback(ConnectionError("no channel"))
        for connection in (refused, broken):
            self.assertEqual(connection.became, ["lent", "stays"])
        for lent, _ in self.asked:
            self.assertEqual(lent.fileno(), -1)

    def test_master_that_stands_still(self) -> None:
        """Nobody waits for it for long, and nothing more is offered."""
        connections = self.offer(40)
        self.clock.advance(1.9)
        self.assertEqual(connections[0].became, ["lent"])
        self.clock.advance(0.2)
        for connection in connections[:32]:
            self.assertEqual(connection.became, ["lent", "reclaimed"])
        for connection in connections[32:]:
            self.assertEqual(connection.became, ["stays"])
        self.assertFalse(self.drain_policy.offer(Connection()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        # It comes to itself: the offers are not worth anything any more.
        for lent, answer in self.asked:
            self.assertEqual(lent.fileno(), -1)
            answer.callback(False)

    def test_answer_that_is_lost(self) -> None:
        """A connection that another process has claimed is not served here as well."""
        late, broken = self.offer(2)
        for lent, _ in self.asked:
            assert isinstance(lent, OfferedSocket)
            self.assertTrue(lent.claim())
        self.asked[1][1].errback(ConnectionError("no channel"))
        self.assertEqual(broken.became, ["lent", "given"])
        self.clock.advance(2)
        self.assertEqual(late.became, ["lent", "given"])

    def test_no_descriptor_left(self) -> None:
        """Then nothing can be offered."""

        def refuse(*_: object) -> int:
            raise OSError(errno.EMFILE, "no descriptor left")

        self.patch(os, "eventfd", refuse)
        [connection] = self.offer(1)
        self.assertEqual(connection.became, ["lent", "stays"])
        assert connection.socket is not None
        self.assertEqual(connection.socket.fileno(), -1)

    def test_so_many_at_once(self) -> None:
        """AMP would take any number, and keep it in memory."""
        connections = self.offer(40)
        self.assertEqual(len(self.asked), 32)
        for _, answer in self.asked[:8]:
            answer.callback(True)
        self.assertEqual(len(self.asked), 40)
        for _, answer in self.asked[8:]:
            answer.callback(True)
        for connection in connections:
            self.assertEqual(connection.became, ["lent", "given"])

    def test_channel_breaks_with_many_waiting(self) -> None:
        """Each stays; that is said at once then, and must not pile up on the stack."""
        connections = self.offer(3000)
        waiting, self.asked = self.asked, []
        self.gone = ConnectionError("no channel")
        for _, answer in waiting:
            answer.errback(self.gone)
        for connection in connections:
            self.assertEqual(connection.became, ["lent", "stays"])
            assert connection.socket is not None
            self.assertEqual(connection.socket.fileno(), -1)

    def test_asking_raises(self) -> None:
        """Twisted's transports do so when they are gone."""

        def refuse(_: socket.socket, _listener: str) -> Deferred[bool]:
            raise ValueError("Invalid file descriptor: -1")

        self.drain_policy = DrainPolicy(5.0, refuse)
        for connection in self.offer(40):
            self.assertEqual(connection.became, ["lent", "stays"])

    def test_lending_raises(self) -> None:
        """An exception for one connection ends that one here; the next is offered."""
        broken = Connection(raises_when="lent")
        self.assertTrue(self.drain_policy.offer(broken))
        self.assertEqual(broken.became, ["lent", "stays"])
        [connection] = self.offer(1)
        self.asked[0][1].callback(True)
        self.assertEqual(connection.became, ["lent", "given"])
        self.assertEqual(len(self.flushLoggedErrors(OutOfOrderError)), 1)

    def test_ending_offers_raises(self) -> None:
        """Exceptions for all that are under way do not hold up those in the queue."""
        broken = [Connection(raises_when="given") for _ in range(32)]
        for each in broken:
            self.drain_policy.offer(each)
        [connection] = self.offer(1)
        self.assertEqual(connection.became, [])
        for _, answer in self.asked[:32]:
            answer.callback(True)
        self.asked[32][1].callback(True)
        self.assertEqual(connection.became, ["lent", "given"])
        for lent, _ in self.asked:
            self.assertEqual(lent.fileno(), -1)
        self.assertEqual(len(self.flushLoggedErrors(OutOfOrderError)), 32)

    def test_staying_raises(self) -> None:
        """When no offers are made any more, each connection still ends by itself."""
        self.offer(32)
        broken = Connection(raises_when="stays")
        self.drain_policy.offer(broken)
        [connection] = self.offer(1)
        self.clock.advance(2)
        self.assertEqual(broken.became[0], "stays")
        self.assertEqual(connection.became, ["stays"])
        self.assertTrue(self.flushLoggedErrors(OutOfOrderError))

    def test_not_idle_any_more(self) -> None:
        """A request came before its turn: it is none of the others' business."""
        busy = Connection(idle=False)
        self.drain_policy.offer(busy)
        [connection] = self.offer(1)
        self.assertEqual(busy.became, ["lent"])
        self.asked[0][1].callback(True)
        self.assertEqual(connection.became, ["lent", "given"])

    def test_nobody_to_hand_over_to(self) -> None:
        connection = Connection()
        self.assertFalse(DrainPolicy(5.0, None).offer(connection))
        self.assertEqual(connection.became, [])

    def test_moments(self) -> None:
        """They are spread, and within the time."""
        moments = [self.drain_policy.moment() for _ in range(200)]
        self.assertTrue(all(0 <= each <= 5 for each in moments))
        self.assertGreater(max(moments) - min(moments), 1)
        self.assertEqual(DrainPolicy(0.0, None).moment(), 0)
