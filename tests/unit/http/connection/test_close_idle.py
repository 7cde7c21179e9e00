"""Which connections a site closes where descriptors are scarce."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.site import ClusterSite
from tests.unit.http.clients import Client, Slow

GET = b"GET / HTTP/1.1\r\nHost: h\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"


class RoomTests(SynchronousTestCase):
    """`ClusterSite.close_idle`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.site = ClusterSite(self.clock, Slow())

    def client(self, *pieces: bytes) -> Client:
        client = Client(self.site, self.clock)
        client.send(*pieces)
        self.addCleanup(client.goes)
        self.clock.advance(0.1)
        return client

    def closed(self, *clients: Client) -> list[int]:
        """Make room; return which of these were closed."""
        ended = [client.transport.ended for client in clients]
        self.site.close_idle()
        return [
            number
            for number, client in enumerate(clients)
            if client.transport.ended != ended[number]
        ]

    def test_order(self) -> None:
        """Refused ones first, then idle ones, then heads, then slow bodies."""
        busy = self.client(GET + b"\r\n")
        slow = self.client(POST, b"x")
        head = self.client(GET)
        idle = self.client()
        refused = self.client(b"GET / HTTP/1.1\r\nHost : h\r\n\r\n")
        fast = self.client(POST)
        self.clock.advance(3)
        fast.send(b"x" * 50_000)
        clients = (busy, slow, head, idle, refused, fast)
        order = []
        for _ in range(5):
            order.append(self.closed(*clients))
            for number in order[-1]:
                clients[number].goes()
        self.assertEqual(order, [[4], [3], [2], [1], []])
        ended = [client.transport.ended for client in clients]
        self.assertEqual(ended, ["", "reset", "reset", "closed", "closed", ""])

    def test_rest_of_a_response(self) -> None:
        """A closed connection that its client keeps open is reset, if nothing else."""
        busy = self.client(GET + b"\r\n")
        closed = self.client()
        self.assertEqual(self.closed(busy, closed), [1])
        self.assertEqual(self.closed(busy, closed), [1])
        self.assertEqual(closed.transport.ended, "reset")

    def test_longest_first(self) -> None:
        """Of idle ones, one in sixteen is closed: those that are idle longest."""
        clients = [self.client() for _ in range(32)]
        self.assertEqual(self.closed(*clients), [0, 1])
        for client in clients[:2]:
            client.goes()
        self.assertEqual(self.closed(*clients), [2])
