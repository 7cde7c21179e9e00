"""Sessions in a worker's memory: long polls as socket.io makes them, and WebSockets."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import product

from twisted.trial.unittest import SynchronousTestCase
from wsproto.events import CloseConnection, TextMessage
from wsproto.frame_protocol import CloseReason

from tests.integration.http.test_websockets import Client
from tests.integration.http_clients import HttpClient, Way
from tests.integration.running import DEADLINE
from tests.integration.sticky_site import site

#: How many sessions there are at a time, and how many messages each has.
SESSIONS, MESSAGES = 12, 5


class PollingTests(SynchronousTestCase):
    """Polls, posts, and the WebSocket that follows them."""

    def test_cookie(self) -> None:
        self.check("cookie")

    def test_query(self) -> None:
        self.check("query:user")

    def test_client_ip(self) -> None:
        self.check("client-ip")

    def check(self, key: str) -> None:
        """Sessions by each way, all concurrent, stay with their slots."""
        with site(key, workers=2) as at, ThreadPoolExecutor(SESSIONS) as executor:
            for name in ("nginx", "haproxy", "kept", "tls"):
                way = at.ways[name]
                numbers = range(SESSIONS)
                slots = set(executor.map(self.live, numbers, [way] * SESSIONS))
                print(f"{name}: sessions in slots {slots}")
                self.assertGreater(len(slots), 1)

    def live(self, number: int, way: Way) -> int:
        """Run a client; return the slot that has served all its requests."""
        # A poll waits on a connection of its own, as in a browser.
        polls = Way(f"polls by {way.name}", way.port, tls=way.tls)
        with (
            closing(HttpClient(number)) as http_client,
            ThreadPoolExecutor(1) as polling,
        ):
            began = http_client.ask(way, "/poll")
            slot, sid = began["slot"], began["sid"]
            assert isinstance(slot, int)
            for count in range(MESSAGES):
                text = f"message {count} for {number}"
                poll = polling.submit(http_client.ask, polls, "/poll", sid=sid)
                posted = http_client.ask(way, "/poll", text, sid=sid)
                self.assertEqual(posted["slot"], slot)
                polled = poll.result(DEADLINE)
                self.assertEqual((polled["slot"], polled["message"]), (slot, text))
            self.upgrade(http_client, way, slot, sid)
            return slot

    def upgrade(self, http_client: HttpClient, way: Way, slot: int, sid: str) -> None:
        """Go on with a session on a WebSocket."""
        with websocket(http_client, way, sid) as client:
            for text in ("hello", "ä" * 20_000):
                client.send(TextMessage(text))
                self.assertEqual(client.message(), f"{slot} {text}")
            client.close()


class ReloadTests(SynchronousTestCase):
    """WebSockets to workers that are replaced."""

    def test_all_come_back(self) -> None:
        """They are told to, also those that one worker has passed to another."""
        spread = ("--drain-spread", "1")
        with site("query:user", *spread, workers=2) as at, ExitStack() as opened:
            clients = []
            for number, name in product(range(4), ("nginx", "haproxy", "kept", "tls")):
                http_client, way = HttpClient(number), at.ways[name]
                opened.callback(http_client.close)
                sid = http_client.ask(way, "/poll")["sid"]
                clients.append(opened.enter_context(websocket(http_client, way, sid)))
            at.clusterctl("reload")
            for client in clients:
                closed = client.expect(CloseConnection)
                assert isinstance(closed, CloseConnection)
                self.assertEqual(closed.code, CloseReason.SERVICE_RESTART)


@contextmanager
def websocket(http_client: HttpClient, way: Way, sid: str) -> Iterator[Client]:
    """Connect a client's session to a WebSocket."""
    target, fields = http_client.marks(way, "/socket", sid=sid)
    with closing(way.connect(http_client.address)) as connection:
        connection.connect()
        yield Client(connection.sock, target, fields)
