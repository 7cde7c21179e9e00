"""Lingering close on Twisted's own transports, by each reactor, with real sockets."""

import socket
import ssl
import sys
import tempfile
from pathlib import Path

import trustme
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.master.test_draining import answer
from tests.integration.running import APPS, DEADLINE, Running

PROGRAM = APPS / "last_request.py"
LONG = 3_000_000


def get(length: int) -> bytes:
    """Return a request for so many bytes."""
    return b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % length


class LingeringTests(SynchronousTestCase):
    """A client whose next requests arrive when the server has closed."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        issued.private_key_and_cert_chain_pem.write_to_path(self.folder / "site.pem")
        self.trusting = ssl.create_default_context()
        authority.configure_trust(self.trusting)

    def behind_the_last(self, reactor: str) -> None:
        command = [sys.executable, str(PROGRAM), reactor, str(self.folder / "site.pem")]
        running = Running(command, cwd=self.folder)
        self.addCleanup(running.close)
        plain, tls = map(int, running.wait_for(r"ports (\d+) (\d+)").groups())
        with self.connected(plain) as client:
            self.ask(client)
        with (
            self.connected(tls) as client,
            self.trusting.wrap_socket(client, server_hostname="localhost") as wrapped,
        ):
            self.ask(wrapped)
        running.signal(15)
        running.wait()

    def connected(self, port: int) -> socket.socket:
        """Connect a client whose kernel takes only a little at a time."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.settimeout(DEADLINE)
        client.connect(("127.0.0.1", port))
        return client

    def ask(self, client: socket.socket) -> None:
        """Ask for the last response, and again when it has begun; then read all."""
        client.sendall(get(1))
        self.assertEqual(answer(client)[1], b"~")
        client.sendall(get(LONG))
        received = client.recv(1)
        client.sendall(get(1) * 2)
        while not received.endswith(b"\r\n\r\n"):
            received += client.recv(1)
        self.assertIn(b"Connection: close", received)
        body = 0
        while piece := client.recv(65536):
            if body < LONG // 2 <= body + len(piece):
                client.sendall(get(1))
            body += len(piece)
        self.assertEqual(body, LONG)

    def test_epoll(self) -> None:
        self.behind_the_last("epoll")

    def test_select(self) -> None:
        self.behind_the_last("select")

    def test_asyncio(self) -> None:
        self.behind_the_last("asyncio")
