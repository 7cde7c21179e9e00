"""WebSockets that a worker's own application serves, by both libraries."""

import itertools
import re
import signal
import socket
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from struct import pack
from types import MappingProxyType

import trustme
from twisted.trial.unittest import SynchronousTestCase
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Request,
    TextMessage,
)

from clusterapp.http.websocket.frame_boundaries import SERVICE_RESTART
from tests.integration.running import APPS, DEADLINE, RunningCluster, cluster
from tests.unit.http.tls.pem_files import chain, key

PATHS = ("/twisted", "/autobahn")


class Client:
    """
    A client that has agreed on WebSocket.

    :param connection: its connection, of TCP or of TLS.
    :param path: where it connects to.
    :param fields: more fields for the request's head.
    """

    def __init__(
        self,
        connection: socket.socket,
        path: str,
        fields: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.connection = connection
        self._wire = WSConnection(ConnectionType.CLIENT)
        self._events: list[Event] = []
        more = [(name.encode(), value.encode()) for name, value in fields.items()]
        self.send(Request("localhost", path, extra_headers=more))
        self.expect(AcceptConnection)

    def send(self, *events: Event) -> None:
        """Send events, all at once."""
        self.connection.sendall(b"".join(map(self._wire.send, events)))

    def expect(self, kind: type[Event]) -> Event:
        """Return the next event, which must be of this kind."""
        while not self._events:
            self._wire.receive_data(self.connection.recv(65536) or None)
            self._events += self._wire.events()
        event = self._events.pop(0)
        if not isinstance(event, kind):
            raise AssertionError(f"{event} is no {kind}")  # noqa: TRY004
        return event

    def message(self) -> str | bytes:
        """Receive one whole message."""
        parts = []
        while True:
            event = self.expect(Message)
            assert isinstance(event, Message)
            parts.append(event.data)
            if event.message_finished:
                empty = parts[0][:0]
                return empty.join(parts)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Close properly."""
        self.send(CloseConnection(1000))
        self.expect(CloseConnection)


class WebSocketCase(SynchronousTestCase):
    """A cluster that listens on TCP and on TLS."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        authority = trustme.CA()
        leaf = authority.issue_cert("localhost")
        certificate, secret = Path(folder.name) / "pem", Path(folder.name) / "key"
        certificate.write_bytes(chain(leaf))
        secret.write_bytes(key(leaf))
        self.spec = f"tls:0:interface=127.0.0.1:certificate={certificate}:key={secret}"
        self.tls = ssl.create_default_context()
        authority.configure_trust(self.tls)

    @contextmanager
    def running(self, app: str, *, tls: bool) -> Iterator[RunningCluster]:
        """Run an application; `connect` connects to it, by TLS or not."""
        self.port = 0
        environment = {"PYTHONPATH": str(APPS)}
        with cluster(
            *("--app", app, "--listen", self.spec), workers=1, env=environment
        ) as running:
            if tls:
                found = re.search(r"https://127\.0\.0\.1:(\d+)", running.text())
                assert found is not None
                self.port = int(found[1])
            yield running

    @contextmanager
    def client(self, running: RunningCluster, path: str) -> Iterator[Client]:
        """Connect a client."""
        with self.connect(running) as connection:
            yield Client(connection, path)

    def connect(self, running: RunningCluster) -> socket.socket:
        """Connect to a cluster."""
        if not self.port:
            return running.connect()
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)
        try:
            return self.tls.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise


class MessageTests(WebSocketCase):
    """What goes both ways, for each library, by Klein and without, with TLS or not."""

    def test_klein(self) -> None:
        """A Klein route returns the resource."""
        self.check("sockets:app")

    def test_resource(self) -> None:
        """The resource is one of a tree."""
        self.check("sockets:root")

    def check(self, app: str) -> None:
        """Try everything with an application, over TLS and without."""
        with self.running(app, tls=True) as running:
            ports = self.port, 0
            for port, path in itertools.product(ports, PATHS):
                self.port = port
                self.check_messages(running, path)
                self.check_ends(running, path)

    def check_messages(self, running: RunningCluster, path: str) -> None:
        """All kinds and sizes of messages come back, in their order."""
        with self.client(running, path) as client:
            for text in ("hello", "ä" * 35_000):
                client.send(TextMessage(text))
                self.assertEqual(client.message(), text)
            for data in (b"\0\xff", bytes(range(250)) * 280):
                client.send(BytesMessage(data))
                self.assertEqual(client.message(), data)
            texts = [f"message {number}" for number in range(1000)]
            client.send(*map(TextMessage, texts))
            self.assertEqual([client.message() for _ in texts], texts)
            client.close()
        running.wait_for("websocket over")

    def check_ends(self, running: RunningCluster, path: str) -> None:
        """Each side may close, and the server hears of a client that just dies."""
        with self.client(running, path) as client:
            client.send(TextMessage("bye"))
            closed = client.expect(CloseConnection)
            assert isinstance(closed, CloseConnection)
            self.assertEqual(closed.code, 1000)
        running.wait_for("websocket over")
        for reset in (False, True):
            with self.client(running, path) as client:
                client.send(TextMessage("hello"))
                client.message()
                if reset:
                    client.connection.setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0)
                    )
            running.wait_for("websocket over")


class StopTests(WebSocketCase):
    """A cluster that stops while WebSockets are open."""

    def test_stop(self) -> None:
        """It does not wait for them, and the application hears of the end of each."""
        with ExitStack() as opened:
            running = opened.enter_context(self.running("sockets:app", tls=True))
            clients = []
            for port, path in itertools.product((self.port, 0), PATHS):
                self.port = port
                client = opened.enter_context(self.client(running, path))
                client.send(TextMessage("hello"))
                client.message()
                clients.append(client)
            running.signal(signal.SIGTERM)
            for client in clients:
                # Of an idle WebSocket there is nothing else to come.
                self.assertEqual(client.connection.recv(65536), SERVICE_RESTART)
                client.connection.close()
            for _ in clients:
                running.wait_for("websocket over")
            self.assertEqual(running.wait(deadline=10), 0)
