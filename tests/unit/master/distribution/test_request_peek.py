"""Looking at the first requests of connections, with real sockets on loopback."""

import contextlib
import resource
import socket
import struct
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from clusterapp.http.connection_limits import Limits
from clusterapp.http.syntax.proxy_protocol import LONGEST
from clusterapp.master.distribution.request_peek import MOST, TIMEOUT, RequestPeek
from tests.unit.arriving import ArrivingCase

if TYPE_CHECKING:
    from clusterapp.http.syntax.request_head import Head

HEAD = b"GET /a?b=c HTTP/1.1\r\nHost: h\r\nX-Session: s\r\n\r\n"
LINE = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n"


class Silent:
    """A connection by which nothing comes; there can be thousands."""

    def __init__(self, number: int) -> None:
        self._number = number

    def recv(self, size: int, flags: int) -> bytes:
        raise BlockingIOError

    def fileno(self) -> int:
        return self._number


class Counting(socket.socket):
    """A connection that counts how often it is looked at."""

    looks = 0

    def recv(self, *how: int) -> bytes:
        self.looks += 1
        return super().recv(*how)


class PeekingCase(ArrivingCase):
    """What is seen of clients' connections."""

    def setUp(self) -> None:
        super().setUp()
        self.seen: list[tuple[Any, Any, Any, Head | None]] = []
        self.request_peek = RequestPeek(
            self.reactor, lambda *what: self.seen.append(what)
        )
        self.addCleanup(self.request_peek.stop)

    def look(
        self, *pieces: bytes, versions: str | None = None
    ) -> tuple[socket.socket, Counting]:
        """Look at a connection by which this has come."""
        client, accepted = self.pair()
        connection = Counting(fileno=accepted.detach())
        self.addCleanup(connection.close)
        connection.setblocking(False)
        for piece in pieces:
            self.send(client, connection, piece)
        peer = client.getsockname()
        self.request_peek.look(connection, peer, versions, "about")
        return client, connection

    def send(self, client: socket.socket, connection: Any, data: bytes) -> None:
        """Send, and wait until it is there."""
        before = self.there(connection)
        client.sendall(data)
        connection.setblocking(True)
        while self.there(connection) < before + len(data):
            """Loopback takes no time."""
        connection.setblocking(False)

    def there(self, connection: socket.socket) -> int:
        """Return how many bytes have come, of a million at most."""
        try:
            flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
            return len(socket.socket.recv(connection, 1_000_000, flags))
        except BlockingIOError:
            return 0

    def target(self) -> bytes | None:
        """Return the target of the only head that was seen."""
        [(_, _, _, head)] = self.seen
        return None if head is None else head.target


class HeadTests(PeekingCase):
    """Clients that ask for something."""

    def test_whole(self) -> None:
        """A complete head is passed to the callback at once."""
        client, connection = self.look(HEAD)
        [(seen, about, peer, head)] = self.seen
        assert head is not None
        self.assertIs(seen, connection)
        self.assertEqual((about, peer), ("about", client.getsockname()))
        self.assertEqual(head.target, b"/a?b=c")
        self.assertIn((b"X-Session", b"s"), list(head.fields))
        self.assert_nobody_waits()

    def test_it_is_left_there(self) -> None:
        """With what follows it, for the worker to read."""
        _, connection = self.look(HEAD + b"more")
        self.assertEqual(connection.recv(1000), HEAD + b"more")

    def test_later(self) -> None:
        client, connection = self.look()
        [reader] = self.reactor.getReaders()
        verifyObject(IReadDescriptor, reader)
        self.assertEqual(self.seen, [])
        self.send(client, connection, HEAD)
        self.reactor.turn()
        self.assertEqual(self.target(), b"/a?b=c")
        self.assert_nobody_waits()

    def test_in_pieces(self) -> None:
        """What has come wakes nobody again, so it is looked at after a while."""
        client, connection = self.look(HEAD[:10])
        self.assertEqual(self.reactor.getReaders(), [])
        self.send(client, connection, HEAD[10:20])
        self.reactor.advance(0.01)
        self.assertEqual(self.seen, [])
        self.send(client, connection, HEAD[20:])
        self.reactor.advance(0.01)
        self.assertEqual(self.seen, [])
        self.reactor.advance(0.01)
        self.assertEqual(self.target(), b"/a?b=c")
        self.assert_nobody_waits()

    def test_in_pieces_after_a_silence(self) -> None:
        client, connection = self.look()
        self.send(client, connection, HEAD[:10])
        self.reactor.turn()
        self.assertEqual(self.reactor.getReaders(), [])
        self.send(client, connection, HEAD[10:])
        self.reactor.advance(0.01)
        self.assertEqual(self.target(), b"/a?b=c")
        self.assert_nobody_waits()

    def test_length_of_many_digits(self) -> None:
        """It is read as any other one, and nobody waits for anything."""
        digits = b"Content-Length: " + b"0" * 5000 + b"\r\n"
        for _ in range(3):
            self.look(HEAD[:-2] + digits + b"\r\n")
        self.assertEqual([head and head.length for *_, head in self.seen], [0] * 3)
        self.assert_nobody_waits()

    def test_any_exception(self) -> None:
        """The connection is left to a worker, and nobody waits for anything."""

        def fail(_: object) -> None:
            raise ZeroDivisionError

        self.patch(self.request_peek.reader, "read", fail)
        client, connection = self.look(HEAD)
        late, waiting = self.look()
        self.send(late, waiting, HEAD)
        self.reactor.turn()
        self.assertEqual([head for *_, head in self.seen], [None, None])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assert_nobody_waits()
        self.assertEqual(connection.recv(1000), HEAD)
        self.assertEqual(self.seen[0][2], client.getsockname())

    @given(st.binary(max_size=200))
    @settings(max_examples=50, deadline=None)
    def test_whatever_comes(self, data: bytes) -> None:
        """It is seen once, and nothing is left of the looking."""
        self.seen.clear()
        _, connection = self.look(data)
        self.reactor.advance(TIMEOUT)
        self.assertEqual(len(self.seen), 1)
        self.assert_nobody_waits()
        connection.close()


class NoHeadTests(PeekingCase):
    """Clients of whose first request nothing can be said."""

    def assert_given_up(self) -> None:
        """The worker sees to it."""
        self.assertIsNone(self.target())
        self.assert_nobody_waits()

    def test_silence(self) -> None:
        self.look()
        self.reactor.advance(TIMEOUT - 0.001)
        self.assertEqual(self.seen, [])
        self.reactor.advance(0.001)
        self.assert_given_up()

    def test_half_a_head(self) -> None:
        """It is not waited for any longer than silence is, and seldom looked at."""
        _, connection = self.look(HEAD[:-2])
        for _ in range(1000):
            self.reactor.advance(TIMEOUT / 1000)
        self.assert_given_up()
        self.assertLess(connection.looks, 10)

    def test_half_a_head_after_a_silence(self) -> None:
        """It has no more time for it than others."""
        client, connection = self.look()
        self.reactor.advance(TIMEOUT - 0.005)
        self.send(client, connection, HEAD[:10])
        self.reactor.turn()
        self.reactor.advance(0.005)
        self.assert_given_up()

    def test_no_head_at_all(self) -> None:
        self.look(b"\x16\x03\x01\x02\0\r\n\r\n")
        self.assert_given_up()

    def test_forbidden_head(self) -> None:
        self.look(HEAD.replace(b"Host: h", b"Host : h"))
        self.assert_given_up()

    def test_huge_cookie(self) -> None:
        """No more of it is looked at than a head may have."""
        client, connection = self.look(b"GET / HTTP/1.1\r\nCookie: ")
        client.setblocking(False)
        sent, crumbs = 0, b"a=b; " * 10_000
        with contextlib.suppress(BlockingIOError):
            while sent < 10_000_000:
                sent += client.send(crumbs)
        self.assertGreater(sent, self.request_peek.most_bytes)
        for _ in range(1000):
            self.reactor.advance(TIMEOUT / 1000)
        self.assert_given_up()
        self.assertLess(connection.looks, 10)

    def test_too_long_a_head(self) -> None:
        """It is seen early that it can never be read."""
        self.look(b"GET / HTTP/1.1\r\nCookie: " + b"a" * self.request_peek.most_bytes)
        self.assert_given_up()

    def test_longest_that_is_looked_at(self) -> None:
        """Whatever a worker can read, the master can, a PROXY header before it too."""
        self.assertEqual(self.request_peek.most_bytes, Limits().head + LONGEST)

    def test_client_leaves(self) -> None:
        client, _ = self.look()
        client.close()
        self.reactor.turn()
        self.assert_given_up()

    def test_client_leaves_within_a_head(self) -> None:
        client, _ = self.look(HEAD[:10])
        client.close()
        self.reactor.advance(TIMEOUT)
        self.assert_given_up()

    def test_client_breaks_off(self) -> None:
        client, _ = self.look()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        self.reactor.turn()
        self.assert_given_up()

    def test_reactor_drops_it(self) -> None:
        """When the reactor drops the reader, the timeout gives the connection up."""
        self.look()
        [reader] = self.reactor.getReaders()
        self.reactor.removeReader(reader)
        reader.connectionLost(Failure(ConnectionLost()))
        self.reactor.advance(TIMEOUT)
        self.assert_given_up()


class ManyTests(PeekingCase):
    """More than can be looked at."""

    def setUp(self) -> None:
        super().setUp()
        self.silent = [Silent(10_000 + number) for number in range(MOST)]
        for each in self.silent:
            self.request_peek.look(each, ("127.0.0.1", 1), None, "silent")  # type: ignore[arg-type]

    def test_oldest_makes_room(self) -> None:
        """One more is waited for; the one that was waited for longest goes on."""
        self.assertEqual(self.seen, [])
        client, connection = self.look()
        [(seen, about, _, head)] = self.seen
        self.assertIs(seen, self.silent[0])
        self.assertEqual((about, head), ("silent", None))
        self.assertEqual(len(self.request_peek.watched), MOST)
        self.send(client, connection, HEAD)
        [reader] = [
            each
            for each in self.reactor.getReaders()
            if each.fileno() == connection.fileno()
        ]
        reader.doRead()
        self.assertIs(self.seen[1][0], connection)
        self.assertIsNotNone(self.seen[1][3])

    def test_what_is_there_is_seen(self) -> None:
        """It needs no room."""
        self.look(HEAD)
        self.assertEqual(self.target(), b"/a?b=c")

    def test_half_a_head(self) -> None:
        client, connection = self.look(HEAD[:10])
        self.send(client, connection, HEAD[10:])
        self.reactor.advance(0.01)
        self.assertEqual([head is None for *_, head in self.seen], [True, False])
        self.assertEqual(len(self.request_peek.watched), MOST - 1)

    def test_room_again(self) -> None:
        self.reactor.advance(TIMEOUT)
        self.assertEqual(len(self.seen), MOST)
        self.look()
        self.assertEqual(len(self.seen), MOST)
        self.request_peek.stop()
        self.assert_nobody_waits()

    def test_few_descriptors(self) -> None:
        """They are not all taken by connections that are waited for."""
        self.patch(resource, "getrlimit", lambda _: (256, 256))
        self.assertEqual(RequestPeek(self.reactor, lambda *_: None).most, 64)


class ProxyTests(PeekingCase):
    """Balancers that announce their clients."""

    def peer(self) -> Any:
        [(_, _, peer, _)] = self.seen
        return peer

    def test_client_is_announced(self) -> None:
        _, connection = self.look(LINE + HEAD, versions="auto")
        self.assertEqual(self.target(), b"/a?b=c")
        self.assertEqual(self.peer(), ("192.0.2.7", 4711))
        self.assertEqual(connection.recv(1000), LINE + HEAD)

    def test_of_six_words(self) -> None:
        """An IPv6 client is told as accept(2) would tell it."""
        line = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n"
        self.look(line + HEAD, versions="v1")
        self.assertEqual(self.peer()[:2], ("2001:db8::7", 4711))
        self.assertEqual(len(self.peer()), 4)

    def test_balancers_own_connection(self) -> None:
        client, _ = self.look(b"PROXY UNKNOWN\r\n" + HEAD, versions="auto")
        self.assertEqual(self.target(), b"/a?b=c")
        self.assertEqual(self.peer(), client.getsockname())

    def test_in_pieces(self) -> None:
        client, connection = self.look(LINE[:7], versions="auto")
        for piece in (LINE[7:], HEAD[:9], HEAD[9:]):
            self.assertEqual(self.seen, [])
            self.send(client, connection, piece)
            self.reactor.advance(0.1)
        self.assertEqual(self.target(), b"/a?b=c")
        self.assertEqual(self.peer(), ("192.0.2.7", 4711))
        self.assert_nobody_waits()

    def test_end_of_a_head_within_the_header(self) -> None:
        """That of version 2 begins with one."""
        rest = struct.pack("!4s4sHH", bytes(4), bytes(4), 1, 2)
        header = b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, 0x11, 12) + rest
        self.look(header + HEAD, versions="v2")
        self.assertEqual(self.target(), b"/a?b=c")
        self.assertEqual(self.peer(), ("0.0.0.0", 1))

    def test_malformed(self) -> None:
        """The worker refuses it at once."""
        for line in (b"PROXY TCP4 x\r\n", b"PROXY" + b"x" * 200, HEAD):
            self.seen.clear()
            self.look(line, versions="auto")
            self.assertIsNone(self.target())
            self.assert_nobody_waits()

    def test_wrong_version(self) -> None:
        self.look(LINE + HEAD, versions="v2")
        self.assertIsNone(self.target())

    def test_header_and_no_more(self) -> None:
        self.look(LINE, versions="auto")
        self.reactor.advance(TIMEOUT)
        self.assertIsNone(self.target())
        self.assertEqual(self.peer(), ("192.0.2.7", 4711))

    def test_nobody_may_announce(self) -> None:
        """It is no request then."""
        client, _ = self.look(LINE + HEAD)
        self.assertIsNone(self.target())
        self.assertEqual(self.peer(), client.getsockname())


class StopTests(PeekingCase):
    """The end: what there is must do."""

    def test_all_are_seen(self) -> None:
        """None is closed, none is waited for."""
        clients = [self.look()[0], self.look(HEAD[:10])[0]]
        waiting, connection = self.look()
        self.send(waiting, connection, HEAD)
        self.request_peek.stop()
        heads = [head for *_, head in self.seen]
        self.assertEqual(len(heads), 3)
        self.assertEqual([head.target for head in heads if head], [b"/a?b=c"])
        self.assert_nobody_waits()
        for client in clients:
            self.assert_open(client)

    def test_twice(self) -> None:
        self.look()
        self.request_peek.stop()
        self.request_peek.stop()
        self.assertEqual(len(self.seen), 1)
