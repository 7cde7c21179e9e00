"""How the connections of a site that drains come to their ends."""

import socket

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.departure import Departure


class Connection:
    """An idle connection; it writes down what becomes of it."""

    def __init__(self) -> None:
        self.socket: socket.socket | None = socket.socket()
        self.became: list[str] = []

    def lend(self) -> socket.socket | None:
        self.became.append("lent")
        return self.socket

    def given(self) -> None:
        self.became.append("given")

    def stay(self) -> None:
        self.became.append("stays")


class DepartureTests(SynchronousTestCase):
    """Connections that are offered to another process."""

    def setUp(self) -> None:
        self.asked: list[tuple[socket.socket, Deferred[bool]]] = []
        self.departure = Departure(5.0, self.hand_over)

    def hand_over(self, connection: socket.socket) -> Deferred[bool]:
        answer: Deferred[bool] = Deferred()
        self.asked.append((connection, answer))
        return answer

    def offer(self, count: int) -> list[Connection]:
        connections = [Connection() for _ in range(count)]
        for each in connections:
            self.assertTrue(self.departure.offer(each))
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

    def test_not_idle_any_more(self) -> None:
        """A request came before its turn: it is none of the others' business."""
        busy = Connection()
        assert busy.socket is not None
        busy.socket.close()
        busy.socket = None
        self.departure.offer(busy)
        [connection] = self.offer(1)
        self.assertEqual(busy.became, ["lent"])
        self.asked[0][1].callback(True)
        self.assertEqual(connection.became, ["lent", "given"])

    def test_nobody_to_hand_over_to(self) -> None:
        connection = Connection()
        assert connection.socket is not None
        connection.socket.close()
        self.assertFalse(Departure(5.0, None).offer(connection))
        self.assertEqual(connection.became, [])

    def test_moments(self) -> None:
        """They are spread, and within the time."""
        moments = [self.departure.moment() for _ in range(200)]
        self.assertTrue(all(0 <= each <= 5 for each in moments))
        self.assertGreater(max(moments) - min(moments), 1)
        self.assertEqual(Departure(0.0, None).moment(), 0)
