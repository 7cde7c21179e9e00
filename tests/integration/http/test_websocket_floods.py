"""WebSockets whose clients send too much, or what they must not, to real processes."""

import contextlib
import select
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from struct import unpack
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase
from wsproto.events import BytesMessage, CloseConnection, TextMessage

from tests.integration.http.test_websockets import Client
from tests.integration.running import APPS, DEADLINE, RunningCluster, cluster
from tests.integration.worker.test_core import resident
from tests.unit.http.websockets import (
    CLOSE,
    FIRST,
    HANDSHAKE,
    LAST,
    MORE,
    PING,
    frame,
    header,
)

MIB = 1024**2

#: What a client sends at most that never reads, and what a process may keep of it:
#: buffers of both directions, in each process on the way.
MOST_SENT, MOST_KEPT = 200 * MIB, 40 * MIB
#: How long nothing may be taken of what such a client sends, until it is believed
#: that nothing more is read, in seconds.
QUIET = 2.0
#: How long another client may have to wait, in seconds. A turn of the event loop takes
#: less than half a second of processor time; this is for a machine that does much else.
MOST_WAITED = 2.5

LIBRARIES = ("/twisted", "/autobahn", "/core/twisted", "/core/autobahn")
PATHS = (*LIBRARIES, "/paced")


@contextmanager
def running(*flags: str, workers: int = 1) -> Iterator[RunningCluster]:
    """Run the application."""
    environment = {"PYTHONPATH": str(APPS)}
    with cluster(
        *("--app", "sockets:app", *flags), workers=workers, env=environment
    ) as found:
        found.get("/core/pid")  # the core is there
        yield found


class Flood:
    """
    A client that sends what it has, and never reads.

    :param client: what has agreed on WebSocket.
    :param piece: what it sends, again and again.
    """

    def __init__(self, client: Client, piece: bytes) -> None:
        self.client = client
        self.sent = 0
        self._piece = piece
        self._rest = b""

    def go_on(self) -> None:
        """Send until nothing more is taken."""
        connection = self.client.connection
        connection.setblocking(False)
        while self.sent < MOST_SENT and select.select([], [connection], [], QUIET)[1]:
            rest = self._rest or self._piece
            try:
                sent = connection.send(rest)
            except BlockingIOError:
                continue
            self._rest = rest[sent:]
            self.sent += sent

    def finish(self) -> None:
        """Send the rest of the last piece while reading; read all that is owed."""
        connection = self.client.connection
        owed = self.sent + len(self._rest)
        got = 0
        until = time.monotonic() + DEADLINE
        while got < owed * 9 // 10:
            assert time.monotonic() < until, (got, owed)
            writers = [connection] if self._rest else []
            reads, writes, _ = select.select([connection], writers, [], DEADLINE)
            if writes:
                self._rest = self._rest[connection.send(self._rest) :]
            if reads:
                got += len(connection.recv(MIB))


class FloodTests(SynchronousTestCase):
    """A client that sends and never reads."""

    def check(
        self,
        at: RunningCluster,
        path: str,
        piece: bytes,
        connection: socket.socket | None = None,
        **fields: str,
    ) -> None:
        """Nothing more of it is read, others are served, and nothing is lost."""
        pids = [at.pid, *at.children()]
        before = {pid: resident(pid) for pid in pids}
        with connection or at.connect() as own:
            flood = Flood(Client(own, path, fields), piece)
            flood.go_on()
            self.assertLess(flood.sent, MOST_SENT, path)
            for pid in pids:
                self.assertLess(resident(pid) - before[pid], MOST_KEPT, path)
            with at.connect() as other:
                client = Client(other, path, fields)
                client.send(TextMessage("hello"))
                self.assertEqual(client.message(), "hello")
                client.close()
            self.assertEqual(at.get("/slot"), b"0")
            flood.finish()

    def test_messages(self) -> None:
        """Of each library, in a worker and in the core, with a producer or not."""
        with running() as at:
            for path in PATHS:
                self.check(at, path, frame(bytes(60_000)))
            at.wait_for("paced: pause")
            at.wait_for("paced: resume")

    def test_pings(self) -> None:
        """So with pings, whose pongs the client never reads."""
        with running() as at:
            for path in ("/twisted", "/core/autobahn"):
                self.check(at, path, frame(bytes(125), PING) * 500)

    def test_isolated_core(self) -> None:
        """So in a core of its own."""
        with running("--core", "isolated") as at:
            for path in ("/core/twisted", "/core/autobahn"):
                self.check(at, path, frame(bytes(60_000)))

    def test_relayed(self) -> None:
        """So through a worker that another worker's client has connected to."""
        with running(
            *("--dispatch", "sticky", "--sticky", "header:X-Session"), workers=2
        ) as at:
            homes: dict[bytes, str] = {}
            for number in range(100):
                name = str(number)
                _, _, slot = at.request("GET", "/slot", headers={"X-Session": name})
                homes.setdefault(slot, name)
                if len(homes) > 1:
                    break
            one, other = homes[b"0"], homes[b"1"]
            connection = at.connect()
            connection.sendall(
                b"GET /slot HTTP/1.1\r\nHost: h\r\nX-Session: %b\r\n\r\n"
                % other.encode()
            )
            self.assertTrue(connection.recv(65536).endswith(b"1"))
            piece = frame(bytes(60_000))
            self.check(at, "/twisted", piece, connection, **{"X-Session": one})


class SizeTests(SynchronousTestCase):
    """Messages that are too long, and what is kept of them."""

    def test_too_long(self) -> None:
        """It is refused with 1009: at the header that claims it, or when it is so."""
        piece = frame(bytes(60_000), MORE)
        with running("--websocket-max-size", "1 MiB") as at:
            before = {pid: resident(pid) for pid in (at.pid, *at.children())}
            for path in PATHS:
                for stream in (
                    header(FIRST, 2**40),
                    header(FIRST | LAST, 2**62),
                    frame(b"", FIRST) + piece * 20,
                ):
                    with at.connect() as connection:
                        client = Client(connection, path)
                        connection.sendall(stream)
                        closed = client.expect(CloseConnection)
                        assert isinstance(closed, CloseConnection)
                        self.assertEqual(closed.code, 1009)
                        self.assertEqual(connection.recv(1), b"")
                with at.connect() as connection:
                    client = Client(connection, path)
                    client.send(BytesMessage(bytes(MIB)))
                    self.assertEqual(client.message(), bytes(MIB))
            for pid, resident_before in before.items():
                self.assertLess(resident(pid) - resident_before, MOST_KEPT)


class PieceTests(SynchronousTestCase):
    """
    Messages in too many pieces, and long ones.

    :cvar at: a cluster that no test changes.
    """

    at: ClassVar[RunningCluster]

    @classmethod
    def setUpClass(cls) -> None:
        """Run it while there are tests."""
        super().setUpClass()
        cls.at = cls.enterClassContext(running())

    def waited(self, at: RunningCluster, path: str, stream: bytes) -> tuple[float, int]:
        """Send a stream; return how long others waited, and the length of the echo."""
        ask = "/core/pid" if path.startswith("/core") else "/slot"
        with at.connect() as connection:
            client = Client(connection, path)
            connection.setblocking(False)
            view, worst = memoryview(stream), 0.0
            while view:
                began = time.monotonic()
                with at.connect() as other:
                    other.sendall(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % ask.encode())
                    view = self.send_until(other, connection, view)
                    self.assertTrue(other.recv(65536).startswith(b"HTTP/1.1 200 "))
                worst = max(worst, time.monotonic() - began)
            connection.settimeout(DEADLINE)
            return worst, len(client.message())

    @staticmethod
    def send_until(
        readable: socket.socket, connection: socket.socket, view: memoryview
    ) -> memoryview:
        """Send until another socket can be read; return what is left."""
        while True:
            writers = [connection] if view else []
            reads, writes, _ = select.select([readable], writers, [], DEADLINE)
            if reads:
                return view
            assert writes, "nothing happens any more"
            with contextlib.suppress(BlockingIOError):
                view = view[connection.send(view[:MIB]) :]

    def test_many_pieces(self) -> None:
        """A long message in tiny fragments arrives, and holds nobody up."""
        fragments = frame(b"x", MORE) * 200_000
        self.check(frame(b"", FIRST) + fragments + frame(b"", LAST), 200_000)

    def test_longest(self) -> None:
        """The longest message that is allowed holds nobody up, either."""
        self.check(frame(bytes(16 * MIB)), 16 * MIB)

    def check(self, stream: bytes, length: int) -> None:
        """A message comes back, and others are served meanwhile."""
        for path in LIBRARIES:
            waited, echoed = self.waited(self.at, path, stream)
            self.assertLess(waited, MOST_WAITED, path)
            self.assertEqual(echoed, length)

    def test_inflated(self) -> None:
        """What autobahn inflates is bounded, though its own option is not set."""
        squeeze = zlib.compressobj(wbits=-15)
        bomb = squeeze.compress(bytes(32 * MIB)) + squeeze.flush(zlib.Z_SYNC_FLUSH)
        self.assertLess(len(bomb), MIB)
        for path in ("/deflating", "/core/deflating"):
            with self.at.connect() as connection:
                connection.sendall(
                    b"GET %b HTTP/1.1\r\nHost: h\r\n" % path.encode()
                    + HANDSHAKE
                    + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
                )
                received = connection.recv(65536)
                self.assertIn(b"permessage-deflate", received)
                connection.sendall(frame(bomb, 0xC2))
                with connection.makefile("rb") as reader:
                    first, length, code = unpack("!BBH", reader.read(4))
                self.assertEqual((first, code), (CLOSE, 1009), length)


class FailureTests(SynchronousTestCase):
    """Protocols that raise, in a worker and in the core."""

    def test_failures(self) -> None:
        """Each ends its connection alone, and is logged once."""
        with running() as at:
            for where in ("", "/core"):
                with at.connect() as connection:
                    client = Client(connection, f"{where}/failing")
                    client.send(TextMessage("hello"))
                    closed = client.expect(CloseConnection)
                    assert isinstance(closed, CloseConnection)
                    self.assertEqual(closed.code, 1011)
                    self.assertEqual(connection.recv(1), b"")
                at.wait_for("failed at a message")
                asked = rf"GET {where}/failing \(route {where}/failing, client .*\)"
                at.wait_for(rf"#error\] .*by \w+: {asked}$")
                at.wait_for("failed at the end")
                with at.connect() as connection:
                    connection.sendall(
                        b"GET %b/failing-at-start HTTP/1.1\r\nHost: h\r\n"
                        % where.encode()
                        + HANDSHAKE
                        + b"\r\n"
                    )
                    answer = connection.recv(65536)
                    self.assertTrue(answer.startswith(b"HTTP/1.1 500 "), answer)
                at.wait_for("failed at the start")
            self.assertEqual(at.get("/slot"), b"0")
            for failure in ("at a message", "at the end", "at the start"):
                logged = at.text().count(f"RuntimeError: failed {failure}")
                self.assertEqual(logged, 2, failure)
