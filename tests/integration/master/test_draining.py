"""What clients of a worker that leaves see, with real clusters."""

import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import trustme
from twisted.trial.unittest import SynchronousTestCase
from wsproto.events import CloseConnection, TextMessage

from tests.integration.http.test_websockets import Client
from tests.integration.running import (
    APPS,
    DEADLINE,
    SCRIPTS,
    RunningCluster,
    clean_environment,
    cluster,
    wait_until_gone,
)

PYTHON = {"PYTHONPATH": str(APPS)}

SITE = """\
import os
from klein import Klein
from twisted.internet.defer import Deferred

app = Klein()

@app.route("/pid")
def pid(request):
    return str(os.getpid())

@app.route("/events")
def events(request):
    request.setHeader(b"content-type", b"text/event-stream")
    request.write(b"data: %d\\n\\n" % os.getpid())
    request.notifyFinish().addErrback(lambda _: print("nobody listens", flush=True))
    return Deferred()

@app.route("/never")
def never(request):
    return Deferred(lambda _: print("given up", flush=True))
"""

#: What a client waits between two requests when it asks all the time, in seconds.
BREATH = 0.02

GET = b"GET /pid HTTP/1.1\r\nHost: localhost\r\n\r\n"


def answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """Read one response with a Content-Length; return its head and its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        assert piece, f"closed after {received!r}"
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head, body


def ask_until(connection: socket.socket, stopped: threading.Event) -> int:
    """Ask on one connection until it closes, or is told to stop; return how often."""
    asked = 0
    # With a pause: there is more to do for the processors meanwhile.
    while not stopped.wait(BREATH):
        connection.sendall(GET)
        head, _ = answer(connection)
        asked += 1
        if b"\r\nConnection: close" in head:
            assert connection.recv(1) == b""
            break
    return asked


class DrainCase(SynchronousTestCase):
    """A folder with an application and a control socket."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "pages.py").write_text(SITE)
        control = str(self.folder / "control.sock")
        self.flags = ("--app", "pages:app", "--control", control)

    def control(self, *command: str) -> str:
        """Run a command of clusterctl, which must succeed; return what it prints."""
        done = subprocess.run(
            [
                SCRIPTS / "clusterctl",
                *command,
                "--socket",
                self.folder / "control.sock",
            ],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=True,
        )
        return done.stdout

    def reload(self) -> None:
        self.control("reload")


class IdleTests(DrainCase):
    """Connections that are kept, and ask nothing at the time."""

    def test_plain(self) -> None:
        """A hundred of them: each goes on, with another process behind it."""
        with (
            cluster(*self.flags, cwd=self.folder) as running,
            ExitStack() as clients,
        ):
            connections = [clients.enter_context(running.connect()) for _ in range(100)]
            old = set()
            for connection in connections:
                connection.sendall(GET)
                old.add(answer(connection)[1])
            self.assertEqual(len(old), 2)
            self.reload()
            wait_until_gone(*map(int, old))
            for connection in connections:
                connection.sendall(GET)
                head, pid = answer(connection)
                self.assertNotIn(pid, old)
                self.assertNotIn(b"close", head)

    def test_signal(self) -> None:
        """TERM to a worker: the other one serves them, and another takes its slot."""
        with (
            cluster(*self.flags, cwd=self.folder) as running,
            ExitStack() as clients,
        ):
            connections = [clients.enter_context(running.connect()) for _ in range(40)]
            old = {}
            for connection in connections:
                connection.sendall(GET)
                old[connection] = answer(connection)[1]
            victim = old[connections[0]]
            number = victim.decode()
            os.kill(int(victim), signal.SIGTERM)
            running.wait_for(rf"\(pid {number}\) has received SIGTERM")
            for connection in connections:
                connection.sendall(GET)
                _, pid = answer(connection)
                self.assertTrue(pid == old[connection] or old[connection] == victim)
            running.wait_for(rf"\(pid {number}\) left with status 0")

    def test_requests_all_the_time(self) -> None:
        """Each is answered, by the old process or the new one, until one says so."""
        with (
            cluster(*self.flags, cwd=self.folder) as running,
            ExitStack() as clients,
        ):
            connections = [clients.enter_context(running.connect()) for _ in range(20)]
            stopped = threading.Event()
            asking = ThreadPoolExecutor(20)
            clients.callback(asking.shutdown)
            clients.callback(stopped.set)
            counts = [asking.submit(ask_until, each, stopped) for each in connections]
            for _ in range(3):
                self.reload()
            stopped.set()
            for count in counts:
                self.assertGreater(count.result(DEADLINE), 0)

    def test_tls(self) -> None:
        """They cannot be taken; the next response says that they close."""
        authority = trustme.CA()
        papers = authority.issue_cert("localhost")
        papers.private_key_and_cert_chain_pem.write_to_path(self.folder / "site.pem")
        listen = (
            f"tls:0:interface=127.0.0.1:certificate={self.folder}/site.pem"
            f":key={self.folder}/site.pem"
        )
        # So long that none is closed before it asks.
        flags = ("--listen", listen, "--drain-spread", "604800")
        with cluster(*self.flags, *flags, cwd=self.folder, workers=1) as running:
            port = int(
                next(line for line in running.lines if "https://" in line).split(":")[
                    -1
                ]
            )
            trusting = ssl.create_default_context()
            authority.configure_trust(trusting)
            with ExitStack() as clients:
                connections = []
                for _ in range(20):
                    plain = clients.enter_context(
                        socket.create_connection(("127.0.0.1", port), DEADLINE)
                    )
                    connections.append(
                        clients.enter_context(
                            trusting.wrap_socket(plain, server_hostname="localhost")
                        )
                    )
                for connection in connections:
                    connection.sendall(GET)
                    self.assertNotIn(b"close", answer(connection)[0])
                self.reload()
                for connection in connections:
                    connection.sendall(GET)
                    self.assertIn(b"\r\nConnection: close", answer(connection)[0])
                    self.assertEqual(connection.recv(1), b"")


class AffinityTests(DrainCase):
    """Requests that belong to another worker, which drains as well."""

    FLAGS = ("--dispatch", "sticky", "--sticky", "header:X-Session")
    ASK = b"GET /pid HTTP/1.1\r\nHost: h\r\nX-Session: %d\r\n\r\n"

    def begin(self, running: RunningCluster, clients: ExitStack) -> list[socket.socket]:
        """Ask on a few connections, and begin to ask for what belongs elsewhere."""
        connections = [clients.enter_context(running.connect()) for _ in range(20)]
        for number, connection in enumerate(connections):
            connection.sendall(self.ASK % number)
            answer(connection)
            connection.sendall((self.ASK % (number + 1))[:30])
        return connections

    def finish(self, connections: list[socket.socket]) -> None:
        """Send the rest, and expect the answers."""
        for number, connection in enumerate(connections):
            connection.sendall((self.ASK % (number + 1))[30:])
        for connection in connections:
            self.assertIn(b" 200 ", answer(connection)[0])

    def test_stop(self) -> None:
        with (
            cluster(
                *self.flags, *self.FLAGS, "--drain-spread", "0", cwd=self.folder
            ) as running,
            ExitStack() as clients,
        ):
            idle = [clients.enter_context(running.connect()) for _ in range(20)]
            for number, connection in enumerate(idle):
                connection.sendall(self.ASK % number)
                answer(connection)
            connections = self.begin(running, clients)
            running.signal(signal.SIGTERM)
            for connection in idle:
                self.assertEqual(connection.recv(1), b"")
            self.finish(connections)

    def test_upgrade(self) -> None:
        with (
            cluster(*self.flags, *self.FLAGS, cwd=self.folder) as running,
            ExitStack() as clients,
        ):
            connections = self.begin(running, clients)
            done = self.control("upgrade")
            successor = int(re.findall(r"pid (\d+) has taken over", done)[0])
            try:
                self.finish(connections)
            finally:
                os.kill(successor, signal.SIGTERM)
                wait_until_gone(successor)


class StreamTests(DrainCase):
    """Responses that would not end by themselves."""

    def test_events(self) -> None:
        """Event streams end cleanly; reconnected clients get the new generation."""
        with cluster(*self.flags, workers=1, cwd=self.folder) as running:
            old = running.get("/pid")
            ask = b"GET /events HTTP/1.1\r\nHost: h\r\n\r\n"
            with running.connect() as connection:
                connection.sendall(ask)
                while b"data: " + old not in connection.recv(65536):
                    pass
                self.reload()
                rest = b"".join(iter(lambda: connection.recv(65536), b""))
                self.assertTrue(rest.endswith(b"0\r\n\r\n"), rest)
            running.wait_for("nobody listens")
            with running.connect() as connection:
                connection.sendall(ask)
                received = b""
                while b"data: " not in received:
                    received += connection.recv(65536)
                self.assertNotIn(b"data: " + old, received)

    def test_events_of_the_core(self) -> None:
        """So do those that a worker passes on."""
        flags = ("--control", str(self.folder / "control.sock"), "--drain-spread", "1")
        with cluster("--app", "backend:app", *flags, workers=1, env=PYTHON) as running:
            ask = b"GET /core/events HTTP/1.1\r\nHost: h\r\n\r\n"
            with running.connect() as connection:
                connection.sendall(ask)
                while b"data: tick" not in connection.recv(65536):
                    pass
                self.reload()
                connection.settimeout(DEADLINE)
                rest = b""
                while not rest.endswith(b"\r\n0\r\n\r\n"):
                    piece = connection.recv(65536)
                    self.assertTrue(piece, rest)
                    rest += piece
                # The connection itself goes on, with the next worker.
                connection.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                self.assertEqual(answer(connection)[1], b"worker")


class WebSocketTests(DrainCase):
    """WebSockets, the workers' own and the core's."""

    def come_back(self, app: str, *paths: str, core: str = "master") -> None:
        """In a reload, WebSockets are closed with 1012, and can be opened anew."""
        control = str(self.folder / "control.sock")
        flags = ("--app", app, "--control", control, "--core", core)
        spread = ("--drain-spread", "1")
        with cluster(*flags, *spread, workers=1, env=PYTHON) as running:
            for path in paths:
                with running.connect() as connection:
                    client = Client(connection, path)
                    client.send(TextMessage("hello"))
                    self.assertEqual(client.message(), "hello")
                    self.reload()
                    closed = client.expect(CloseConnection)
                    assert isinstance(closed, CloseConnection)
                    self.assertEqual(closed.code, 1012)
                    client.send(closed.response())
                    self.assertEqual(connection.recv(1), b"")
                running.wait_for("websocket over")
                with running.connect() as connection:
                    Client(connection, path).close()
                running.wait_for("websocket over")

    def test_own(self) -> None:
        """They are told to come back, and are served by the new generation."""
        self.come_back("sockets:app", "/twisted", "/autobahn")

    def test_of_the_core(self) -> None:
        self.come_back("backend:app", "/core/ws")

    def test_of_an_isolated_core(self) -> None:
        """It is replaced at the same time."""
        self.come_back("backend:app", "/core/ws", core="isolated")


class RequestTimeoutTests(DrainCase):
    """Handlers that do not answer."""

    def test_handler_that_waits_for_ever(self) -> None:
        """The client is told, the handler is cancelled, the worker lives."""
        flags = ("--request-timeout", "1")
        with cluster(*self.flags, *flags, workers=1, cwd=self.folder) as running:
            worker = running.get("/pid")
            self.assertEqual(running.request("GET", "/never?a=b")[0], 503)
            running.wait_for("GET /never is given up: no response within 1 s")
            running.wait_for("given up$")
            self.assertEqual(running.get("/pid"), worker)
