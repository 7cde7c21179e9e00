"""What a connection writes to before the loop has a transport for it."""

import asyncio
import socket

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.transports.inline_transport import (
    HIGH_WATER,
    EarlyTransport,
    TransportEvents,
)


class Recorder(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def eof_received(self) -> None:
        self.told.append("eof")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append(error)


class Successor(asyncio.Transport):
    """A transport that takes all at once."""

    def __init__(self) -> None:
        super().__init__()
        self.did: list[object] = []

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.did.append(data)

    def write_eof(self) -> None:
        self.did.append("eof")

    def close(self) -> None:
        self.did.append("close")

    def abort(self) -> None:
        self.did.append("abort")

    def get_write_buffer_size(self) -> int:
        return 0


class EarlyTests(SynchronousTestCase):
    """One connection, over a pair of sockets."""

    def setUp(self) -> None:
        self.near, far = socket.socketpair()
        self.near.setblocking(False)
        far.setblocking(False)
        self.addCleanup(self.near.close)
        self.addCleanup(far.close)
        self.protocol = Recorder()
        self.early = EarlyTransport(far, self.protocol)
        self.successor = Successor()

    def test_last_words(self) -> None:
        """All that was written arrives, and then the end."""
        for _ in range(1000):
            self.early.write(b"12345678")
        self.early.close()
        self.early.write(b"too late")
        self.assertTrue(self.early.settle())
        self.early.end()
        self.assertEqual(self.near.recv(100_000), b"12345678" * 1000)
        self.assertEqual(self.near.recv(1), b"")
        self.assertEqual(self.protocol.told, [None])

    def test_connection_that_goes_on(self) -> None:
        """What was written is sent at once, though there is more to come."""
        self.early.write(b"one")
        self.assertFalse(self.early.settle())
        self.assertEqual(self.near.recv(100), b"one")
        self.early.write(b"two")
        self.early.write_eof()
        self.early.hand_over(self.successor)
        self.assertEqual(self.successor.did, [b"two", "eof"])

    def test_more_than_the_kernel_takes(self) -> None:
        """The rest is the successor's, who then closes; nothing is lost."""
        whole = bytes(range(256)) * 20_000
        self.early.write(whole)
        self.early.close()
        self.assertFalse(self.early.settle())
        got = b""
        while len(got) < len(whole) - self.early.get_write_buffer_size():
            got += self.near.recv(len(whole))
        self.early.hand_over(self.successor)
        rest, closed = self.successor.did
        self.assertIsInstance(rest, bytes)
        self.assertEqual((got + rest, closed), (whole, "close"))  # type: ignore[operator]

    def test_full(self) -> None:
        """The producer is paused once, and resumed when the successor took all data."""
        self.early.write(b"x" * HIGH_WATER)
        self.assertEqual(self.protocol.told, [])
        self.early.write(b"xx")
        self.early.write(b"xx")
        self.assertEqual(self.protocol.told, ["pause"])
        self.early.hand_over(self.successor)
        self.assertEqual(self.protocol.told, ["pause", "resume"])

    def test_abort(self) -> None:
        """Nothing more is sent, here or by the successor."""
        self.early.write(b"never")
        self.early.abort()
        self.assertTrue(self.early.settle())
        self.assertRaises(BlockingIOError, self.near.recv, 1)
        self.early.hand_over(self.successor)
        self.assertEqual(self.successor.did, ["abort"])

    def test_client_that_has_gone(self) -> None:
        """The connection hears why it is over."""
        self.near.close()
        self.early.write(b"hello?")
        self.assertTrue(self.early.settle())
        self.early.end()
        [error] = self.protocol.told
        self.assertIsInstance(error, BrokenPipeError)

    def test_what_is_told_of_the_socket(self) -> None:
        """Its own name, and the socket itself; asyncio's other names are unknown."""
        there = self.early.get_extra_info("socket")
        self.assertEqual(there.getsockname(), self.early.get_extra_info("sockname"))
        self.assertIsNone(self.early.get_extra_info("sslcontext"))

    def test_what_came_meanwhile(self) -> None:
        """The connection hears it in its order."""
        arrival = TransportEvents()
        arrival.connection_made(self.successor)
        arrival.data_received(b"more")
        self.assertTrue(arrival.eof_received())
        self.assertIs(arrival.transport, self.successor)
        arrival.connection_lost(None)
        self.assertIsNone(arrival.transport)
        arrival.replay(self.protocol)
        self.assertEqual(self.protocol.told, [b"more", "eof", None])
