"""Clients that belong to the slot of a worker that receives SIGTERM."""

import os
import select
import signal
import socket
import time
from contextlib import ExitStack

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import APPS, RunningCluster, cluster

#: How long the request takes that the worker has when it receives SIGTERM, in seconds.
SLOW = 8.0


class SigtermTests(SynchronousTestCase):
    """A worker drains for seconds, and its clients do not wait for that."""

    def test_header(self) -> None:
        """The master looks at each first request."""
        self.check("header:X-Session")

    def test_client_ip(self) -> None:
        """The kernel decides."""
        self.check("client-ip")

    def check(self, key: str) -> None:
        """Ask for something slow, terminate the worker, and ask its slot."""
        flags = ("--app", "shop:app", "--dispatch", "sticky", "--sticky", key)
        with (
            cluster(*flags, workers=2, env={"PYTHONPATH": str(APPS)}) as running,
            ExitStack() as clients,
        ):
            slow, kept = (clients.enter_context(running.connect()) for _ in range(2))
            old = ask(kept, "/pid")
            slow.sendall(request(f"/slow/{SLOW}"))
            running.wait_for(f"slow in {old}")
            os.kill(int(old), signal.SIGTERM)
            began = time.monotonic()
            running.wait_for(rf"\(pid {old}\) has received SIGTERM")
            # What the master had put into the slot's queue is served by the worker that
            # empties it when it stops accepting.
            while (new := self.ask_anew(running)) == old:
                self.assertLess(time.monotonic() - began, SLOW / 2)
            seconds = time.monotonic() - began
            print(f"{key}: answered {seconds:.2f} s after SIGTERM")
            self.assertLess(seconds, SLOW / 2)
            # An idle connection goes on, whichever process has it now.
            self.assertEqual(ask(kept, "/pid"), new)
            self.assertEqual(select.select([slow], [], [], 0)[0], [])
            self.assertIn(b"slow but sure", read(slow))
            running.wait_for(rf"\(pid {old}\) left with status 0")
            self.assertEqual(self.ask_anew(running), new)
            self.assertEqual(len(running.children()), 2)

    def ask_anew(self, running: RunningCluster) -> str:
        """Ask on a new connection; return the pid that answers."""
        with running.connect() as connection:
            return ask(connection, "/pid")


def request(target: str) -> bytes:
    """Write a request of the one client that there is."""
    return f"GET {target} HTTP/1.1\r\nHost: a\r\nX-Session: one\r\n\r\n".encode()


def ask(connection: socket.socket, target: str) -> str:
    """Ask, and return the body of the response."""
    connection.sendall(request(target))
    return read(connection).decode()


def read(connection: socket.socket) -> bytes:
    """Read one response with a Content-Length; return its body."""
    with connection.makefile("rb") as reader:
        length = 0
        for line in iter(reader.readline, b"\r\n"):
            assert line, "closed"
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return reader.read(length)
