"""Connections that arrive, and a reactor that the test turns."""

import contextlib
import os
import select
import socket
from collections.abc import Iterator
from resource import RLIMIT_NOFILE, getrlimit, setrlimit

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.fakes import descriptors


class Turning(MemoryReactorClock):
    """A reactor whose readers are told when the test says so."""

    def turn(self) -> int:
        """Return each reader once that has something to read; return how many had."""
        readers = {reader.fileno(): reader for reader in self.getReaders()}
        ready, _, _ = select.select(list(readers), (), (), 0)
        for number in ready:
            if readers[number] in self.getReaders():
                readers[number].doRead()
        return len(ready)

    def run_dry(self) -> None:
        """Turn until nobody has anything to read."""
        for _ in range(100):
            if not self.turn():
                return
        raise AssertionError("there is always something to read")


class ArrivingCase(SynchronousTestCase):
    """Sockets of which none is left, and a reactor that nobody waits in."""

    def setUp(self) -> None:
        before = descriptors()
        self.addCleanup(lambda: self.assertEqual(descriptors(), before))
        self.reactor = Turning()
        self.addCleanup(self.assert_nobody_waits)

    def assert_nobody_waits(self) -> None:
        """Neither a timer nor a reader."""
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.getReaders(), [])

    def listen(self) -> socket.socket:
        """Listen on a port of loopback."""
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        listening.setblocking(False)
        return listening

    def connect(self, listening: socket.socket) -> socket.socket:
        """Connect a client; it waits ten seconds for what it is to get."""
        client = socket.create_connection(listening.getsockname(), timeout=10)
        self.addCleanup(client.close)
        return client

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Return a client and a connection that was accepted from it."""
        listening = self.listen()
        client = self.connect(listening)
        accepted, _ = listening.accept()
        listening.close()
        self.addCleanup(accepted.close)
        return client, accepted

    def raw(self) -> tuple[socket.socket, int]:
        """Return a client, and the descriptor of its connection: another's to close."""
        client, accepted = self.pair()
        return client, accepted.detach()

    def assert_closed(self, client: socket.socket) -> None:
        """Nobody has a client's connection any more."""
        client.settimeout(10)
        try:
            left = client.recv(1)
        except ConnectionResetError:
            left = b""
        self.assertEqual(left, b"")

    def assert_open(self, client: socket.socket) -> None:
        """Somebody has it."""
        client.setblocking(False)
        self.assertRaises(BlockingIOError, client.recv, 1)


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Leave this process so many descriptors that it can still open."""
    soft, hard = getrlimit(RLIMIT_NOFILE)
    highest = max(number for number, _ in descriptors())
    taken = []
    setrlimit(RLIMIT_NOFILE, (highest + 1 + count, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for number in taken[len(taken) - count :]:
            os.close(number)
        del taken[len(taken) - count :]
        yield
    finally:
        setrlimit(RLIMIT_NOFILE, (soft, hard))
        for number in taken:
            os.close(number)
