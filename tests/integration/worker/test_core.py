"""The way of a request through a worker to the core and back, in real processes."""

import hashlib
import http.client
import re
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
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

from tests.integration.running import APPS, DEADLINE, RunningCluster, cluster

MIB = 1024**2


def backend(*flags: str) -> AbstractContextManager[RunningCluster]:
    """Run the application whose core does everything."""
    return cluster(
        *("--app", "backend:app", *flags),
        workers=1,
        env={"PYTHONPATH": str(APPS)},
    )


def resident(pid: int, field: str = "VmRSS") -> int:
    """Return a process's resident memory in bytes; its peak with ``VmHWM``."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


class SizeTests(SynchronousTestCase):
    """A body of any size takes no more memory than a small one."""

    @contextmanager
    def no_growth(self, running: RunningCluster) -> Iterator[None]:
        """Check that no process of a cluster grows by more than 16 MiB meanwhile."""
        running.get("/core/pid")
        processes = {running.pid, *running.children()}
        before = {}
        for pid in processes:
            # 5 sets the peak back to what the process has now: proc(5).
            Path(f"/proc/{pid}/clear_refs").write_text("5")
            before[pid] = resident(pid)
        yield
        for pid in processes:
            grown = resident(pid, "VmHWM") - before[pid]
            self.assertLess(grown, 16 * MIB, f"{pid} of {running.pid}")

    @pytest.mark.timeout(300)
    def test_upload(self) -> None:
        """1 GiB goes up."""
        piece = bytes(range(256)) * 4096
        count = 1024**3 // len(piece)
        digest = hashlib.sha256()
        with (
            backend("--max-body", "1 GiB") as running,
            self.no_growth(running),
            running.connect() as connection,
        ):
            connection.sendall(
                b"POST /core/upload HTTP/1.1\r\nHost: test\r\n"
                b"Content-Length: %d\r\nConnection: close\r\n\r\n" % 1024**3
            )
            for _ in range(count):
                connection.sendall(piece)
                digest.update(piece)
            response = http.client.HTTPResponse(connection)
            response.begin()
            answer = response.read().decode()
        self.assertEqual(answer, f"{1024**3} {digest.hexdigest()}")

    @pytest.mark.timeout(300)
    def test_download(self) -> None:
        """1 GiB comes down."""
        with backend() as running, self.no_growth(running):
            connection = http.client.HTTPConnection(
                "127.0.0.1", running.port, timeout=DEADLINE
            )
            self.addCleanup(connection.close)
            connection.request("GET", "/core/download")
            response = connection.getresponse()
            received = 0
            while piece := response.read(MIB):
                received += len(piece)
        self.assertEqual(received, 1024**3)

    def test_a_client_that_does_not_read(self) -> None:
        """What the client does not take stays where it is made."""
        with (
            backend() as running,
            self.no_growth(running),
            running.connect() as connection,
        ):
            connection.sendall(b"GET /core/download HTTP/1.0\r\n\r\n")
            connection.recv(65536)
            # Other requests are served meanwhile, by the same two processes.
            for _ in range(50):
                running.get("/core/pid")


class SharedCase(SynchronousTestCase):
    """
    Tests that ask a cluster, and do not change it.

    :cvar flags: its settings.
    :cvar running: the cluster.
    """

    flags: ClassVar[tuple[str, ...] | None] = None
    running: ClassVar[RunningCluster]

    @classmethod
    def setUpClass(cls) -> None:
        """Run it while there are tests."""
        super().setUpClass()
        if cls.flags is not None:
            cls.running = cls.enterClassContext(backend(*cls.flags))


class FaithTests(SharedCase):
    """What arrives at the core is what the client sent."""

    flags = ("--trusted-proxies", "unix")

    def test_the_target_is_untouched(self) -> None:
        """Not one byte of a request's target is changed."""
        for rest in ("a%2Fb", "a//b", "a;b=1", "%zz", "x?", "x?a=%20&&b"):
            target = f"/core/echo/{rest}".encode()
            with self.running.connect() as connection:
                connection.sendall(
                    b"GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % target
                )
                answer = _read(connection)
            self.assertIn(b"GET %s" % target, answer)

    def test_the_client_is_named(self) -> None:
        """The core learns who asked, how, and for which host."""
        _, _, body = self.running.request(
            *("GET", "/core/echo/x"),
            headers={"Host": "shop.example", "X-Forwarded-For": "6.6.6.6"},
        )
        lines = body.decode().splitlines()
        self.assertIn("Host: shop.example", lines)
        self.assertIn("X-Forwarded-For: 127.0.0.1", lines)
        self.assertIn("X-Forwarded-Proto: http", lines)
        self.assertIn("X-Forwarded-Host: shop.example", lines)
        self.assertNotIn("6.6.6.6", body.decode())


class LeavingClientTests(SharedCase):
    """What happens when a client goes away: each of its lines is waited for."""

    flags = ()

    def test_a_client_that_leaves_cancels(self) -> None:
        """The core's Deferred is cancelled when nobody waits for it any more."""
        with self.running.connect() as connection:
            connection.sendall(b"GET /core/hang HTTP/1.1\r\nHost: h\r\n\r\n")
            self.running.wait_for("hangs")
        self.running.wait_for("cancelled")

    def test_a_client_that_resets_cancels(self) -> None:
        """So it is when the client's last bytes and its reset come together."""
        with self.running.connect() as connection:
            connection.sendall(b"GET /core/hang HTTP/1.1\r\nHost: h\r\n\r\n")
            self.running.wait_for("hangs")
            connection.sendall(b"GET /")
            # With this, close sends a reset: socket(7), SO_LINGER.
            reset = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        self.running.wait_for("cancelled", deadline=5)

    def test_events(self) -> None:
        """Each event arrives when it is sent; the client's leave ends the stream."""
        with self.running.connect() as connection:
            connection.sendall(b"GET /core/events HTTP/1.1\r\nHost: h\r\n\r\n")
            received = b""
            while received.count(b"data: tick") < 3:
                received += connection.recv(65536)
            self.assertIn(b"text/event-stream", received)


class FailureTests(SynchronousTestCase):
    """What happens when the core goes away."""

    def test_a_core_that_breaks_off(self) -> None:
        """A client is never made to believe that it has the whole answer."""
        with backend("--core", "isolated") as running, running.connect() as connection:
            running.get("/core/pid")
            connection.sendall(b"GET /core/die-midway HTTP/1.1\r\nHost: h\r\n\r\n")
            response = http.client.HTTPResponse(connection)
            response.begin()
            with self.assertRaises((http.client.IncompleteRead, ConnectionError)):
                response.read()

    def test_a_slow_core(self) -> None:
        """``--core-timeout`` bounds the wait, and cancels."""
        with backend("--core-timeout", "0.5") as running:
            self.assertEqual(running.request("GET", "/core/hang")[0], 504)
            running.wait_for("cancelled")


class StreamTests(SynchronousTestCase):
    """Answers that do not end, and connections that become something else."""

    def test_events_do_not_hold_up_a_stop(self) -> None:
        """A stream of events ends when its worker drains."""
        with backend() as running, running.connect() as connection:
            connection.sendall(b"GET /core/events HTTP/1.1\r\nHost: h\r\n\r\n")
            while b"data: tick" not in connection.recv(65536):
                pass
            running.signal(signal.SIGTERM)
            self.assertTrue(_read(connection).endswith(b"0\r\n\r\n"))
            self.assertEqual(running.wait(deadline=10), 0)

    def test_websocket(self) -> None:
        """Messages of all sizes go both ways, and each side hears of the end."""
        for core in ("master", "isolated"):
            with backend("--core", core) as running, running.connect() as connection:
                running.get("/core/pid")
                client = WSConnection(ConnectionType.CLIENT)
                connection.sendall(client.send(Request("h", "/core/ws")))
                (accepted,) = _receive(client, connection, AcceptConnection)
                self.assertIsInstance(accepted, AcceptConnection)
                for text in ("hello", "x" * 70_000):
                    connection.sendall(client.send(TextMessage(text)))
                    self.assertEqual(_message(client, connection), text)
                connection.sendall(client.send(BytesMessage(b"\0\xff")))
                self.assertEqual(_message(client, connection), b"\0\xff")
                connection.sendall(client.send(CloseConnection(1000)))
                _receive(client, connection, CloseConnection)
                running.wait_for("websocket over")

    def test_a_websocket_does_not_hold_up_a_stop(self) -> None:
        """A drained worker closes what has become a WebSocket: come back later."""
        with backend() as running, running.connect() as connection:
            client = WSConnection(ConnectionType.CLIENT)
            connection.sendall(client.send(Request("h", "/core/ws")))
            _receive(client, connection, AcceptConnection)
            running.signal(signal.SIGTERM)
            _receive(client, connection, CloseConnection)
            self.assertEqual(running.wait(deadline=10), 0)
            self.assertEqual(connection.recv(65536), b"")


def _receive(
    client: WSConnection, connection: socket.socket, kind: type[Event]
) -> list[Event]:
    """Read until an event of a kind comes; return all that came."""
    found: list[Event] = []
    while not any(isinstance(event, kind) for event in found):
        received = connection.recv(65536)
        client.receive_data(received or None)
        found += client.events()
    return found


def _message(client: WSConnection, connection: socket.socket) -> str | bytes:
    """Read one whole message."""
    parts: list[str | bytes] = []
    while True:
        for event in _receive(client, connection, Message):
            assert isinstance(event, Message)
            parts.append(event.data)
            if event.message_finished:
                empty = parts[0][:0]
                return empty.join(parts)  # type: ignore[arg-type]


def _read(connection: socket.socket) -> bytes:
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)
