"""What clients of a worker that leaves see, with real clusters."""

import socket
import ssl
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import trustme
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import (
    DEADLINE,
    SCRIPTS,
    clean_environment,
    cluster,
)

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

GET = b"GET /pid HTTP/1.1\r\nHost: localhost\r\n\r\n"


def answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """Read one response with a Content-Length; give its head and its body."""
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


class DrainCase(SynchronousTestCase):
    """A folder with an application and a control socket."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "pages.py").write_text(SITE)
        control = str(self.folder / "control.sock")
        self.flags = ("--app", "pages:app", "--control", control)

    def reload(self) -> None:
        subprocess.run(
            [
                SCRIPTS / "clusterctl",
                "reload",
                "--socket",
                self.folder / "control.sock",
            ],
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            timeout=DEADLINE,
            check=True,
        )


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
            for connection in connections:
                connection.sendall(GET)
                head, pid = answer(connection)
                self.assertNotIn(pid, old)
                self.assertNotIn(b"close", head)

    def test_tls(self) -> None:
        """They cannot be taken; the next response says that they close."""
        authority = trustme.CA()
        papers = authority.issue_cert("localhost")
        papers.private_key_and_cert_chain_pem.write_to_path(self.folder / "site.pem")
        listen = (
            f"tls:0:interface=127.0.0.1:certificate={self.folder}/site.pem"
            f":key={self.folder}/site.pem"
        )
        flags = ("--listen", listen, "--drain-spread", "60")
        with cluster(*self.flags, *flags, cwd=self.folder) as running:
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


class StreamTests(DrainCase):
    """Responses that would not end by themselves."""

    def test_events(self) -> None:
        """They end whole; who comes back is served by the new generation."""
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
