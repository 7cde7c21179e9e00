"""What one client sends, or makes fail, is nothing that another one notices."""

import errno
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.application import spooled_body as content
from clusterapp.http.application.request import ClusterRequest
from clusterapp.http.connection.request_cycle import RequestCycle
from clusterapp.http.connection_limits import Limits
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.request_head import (
    BadMessageError,
    HeadReader,
    content_length,
)
from tests.unit.http.clients import Client
from tests.unit.http.conformance.corpus import ANY_MESSAGE
from tests.unit.http.streams import STREAMS, bounded, damaged, segments
from tests.unit.http.wire import Application, get, post

#: More digits than Python converts at all.
ZEROS = b"0" * 5000
LARGE = post(b"Content-Length: 100000", body=b"x" * 100_000)
CHUNKED = post(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n")
POLITE = (
    get(b"Cookie: a=b", b"Authorization: Basic eA=="),
    post(b"Content-Length: 3", body=b"abc"),
    CHUNKED,
    b"GET /old HTTP/1.0\r\nHost: h\r\nCookie: c=d\r\nConnection: keep-alive\r\n\r\n",
)
HOSTILE = STREAMS | damaged(ANY_MESSAGE) | st.binary(max_size=100)


class Site:
    """A site, and what its application has seen."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.application = Application()
        self.site = ClusterSite(self.clock, self.application)

    def client(self) -> Client:
        return Client(self.site, self.clock)

    def ask(self, client: Client, pieces: Sequence[bytes]) -> tuple[bytes, list[Any]]:
        """Send pieces; return what is answered, and the requests that are seen."""
        for piece in pieces:
            self.deliver(client, piece)
        return client.received, list(self.application.requests)

    def deliver(self, client: Client, piece: bytes) -> None:
        """Deliver a piece to the site, unless the connection is closed or paused."""
        if client.transport.protocol is not None and client.reading:
            client.channel.dataReceived(piece)
            self.clock.advance(0)


def fails(error: Exception) -> Callable[..., NoReturn]:
    """Return a function that raises an error, whatever it is called with."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


class HeadTests(SynchronousTestCase):
    """Heads that a reader raises for."""

    def test_digits(self) -> None:
        """Leading zeros are of no account; more than 18 digits are too much."""
        self.assertEqual(content_length(ZEROS + b"12"), 12)
        self.assertEqual(content_length(ZEROS), 0)
        with self.assertRaises(BadMessageError) as caught:
            content_length(b"1" * 19)
        self.assertEqual(caught.exception.status, 413)

    def test_length_of_many_digits(self) -> None:
        """It is read like any other one, and the next head as if it had not been."""
        reader = HeadReader(Limits())
        head = reader.read(get(b"Content-Length: " + ZEROS + b"7"))
        self.assertEqual(head.length, 7)
        again = reader.read(get(b"Cookie: a=b"))
        self.assertEqual(again.fields, [(b"Host", b"h"), (b"Cookie", b"a=b")])

    def test_any_error(self) -> None:
        """Whatever a field makes it raise, the next head is read as ever."""
        reader = HeadReader(Limits())
        for error in (ValueError("v"), MemoryError(), RuntimeError("r")):
            with self.subTest(error=error):
                patch = self.patch(reader, "_note", fails(error))
                # llhttp has taken a part of the head by then.
                self.assertRaises(type(error), reader.read, get(b"Expect: x"))
                patch.restore()
                head = reader.read(get(b"Expect: x", b"A: b"))
                self.assertEqual(len(head.fields), 3)


class InjectedErrorTests(SynchronousTestCase):
    """An exception somewhere between a client's socket and the application."""

    def outcome(self, request: bytes, status: bytes, kind: type[Exception]) -> None:
        """Require that a request gets a status, and its neighbour nothing of it."""
        site = self.made
        hostile, polite = site.client(), site.client()
        site.deliver(polite, POLITE[0][:20])
        site.deliver(hostile, request)
        self.assertEqual(hostile.received[9:12], status)
        self.assertIn(b"Connection: close", hostile.received)
        self.assertNotEqual(hostile.transport.ended, "")
        self.assertEqual(len(self.flushLoggedErrors(kind)), 1)
        site.clock.advance(20)
        self.assertEqual(site.site.connections, 1)
        self.restore()
        site.deliver(polite, POLITE[0][20:])
        self.assertEqual(polite.received[9:12], b"200")
        polite.goes()

    def inject(self, where: object, name: str, error: Exception) -> None:
        """Make a method raise an error, until `restore`."""
        self.made = Site()
        self.restore = self.patch(where, name, fails(error)).restore

    def test_in_each_callback(self) -> None:
        """It is a 500, one line in the log, and the end of that connection."""
        places: list[tuple[object, str, bytes]] = [
            (HeadReader, "on_header", get()),
            (HeadReader, "read", get()),
            (ClusterSite, "message", get()),
            (RequestCycle, "_make", get()),
            (ClusterRequest, "serve", get()),
            (ClusterRequest, "begin", CHUNKED),
            (ClusterRequest, "received", CHUNKED),
            (ClusterRequest, "completed", CHUNKED),
            (content.Content, "add", CHUNKED),
            (content, "TemporaryFile", LARGE),
        ]
        for where, name, request in places:
            for error in (ValueError("v"), OSError(errno.EIO, "io"), MemoryError()):
                with self.subTest(name=name, error=error):
                    self.inject(where, name, error)
                    self.outcome(request, b"500", type(error))

    def test_without_space(self) -> None:
        """A disk that is full, or a quota that is used up, is a 507."""
        for number in (errno.ENOSPC, errno.EDQUOT):
            self.inject(content, "TemporaryFile", OSError(number, "full"))
            self.outcome(LARGE, b"507", OSError)

    def test_in_a_timer(self) -> None:
        """The other connections' times are looked at all the same."""
        site = Site()
        first, second = site.client(), site.client()
        self.patch(first.channel, "close", fails(ValueError("v")))
        site.clock.pump([1.0] * 70)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(first.transport.ended, "reset")
        self.assertEqual(second.transport.ended, "closed")
        first.goes()

    def test_in_a_drain(self) -> None:
        """A connection that cannot drain is broken off; the others do drain."""
        site = Site()
        clients = [site.client() for _ in range(3)]
        for client in clients:
            self.patch(client.channel, "withdraw", fails(ValueError("v")))
        closes = clients[1].connection.loseConnection
        self.patch(clients[1].channel, "withdraw", lambda **_: closes())
        drained = site.site.drain()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        self.assertEqual(
            [client.transport.ended for client in clients], ["reset", "closed", "reset"]
        )
        for client in clients:
            client.goes()
        self.successResultOf(drained)


class NeighbourTests(SynchronousTestCase):
    """Two connections of one site, whose pieces come in any order."""

    @bounded(300)
    @given(
        segments(HOSTILE),
        st.lists(st.sampled_from(POLITE), min_size=1, max_size=4),
        st.lists(st.integers(1, 60), max_size=20),
        st.lists(st.booleans(), max_size=60),
    )
    def test_two_clients(
        self,
        hostile: list[bytes],
        requests: list[bytes],
        sizes: list[int],
        order: list[bool],
    ) -> None:
        """The one gets what it would have got alone, whatever the other one sends."""
        pieces = _cut(b"".join(requests), sizes)
        alone = Site()
        expected, expected_requests = alone.ask(alone.client(), pieces)

        site = Site()
        seen: list[Any] = []
        polite, other = site.client(), site.client()
        waiting = list(pieces)
        for of_other in [*order, *[False] * len(waiting)]:
            if of_other and hostile:
                site.deliver(other, hostile[0])
                hostile = hostile[1:]
            elif waiting:
                before = len(site.application.requests)
                site.deliver(polite, waiting.pop(0))
                seen += site.application.requests[before:]
        self.assertEqual(_undated(polite.received), _undated(expected))
        self.assertEqual(seen, expected_requests)
        polite.goes()
        other.goes()


def _undated(answers: bytes) -> bytes:
    """Leave the time out of answers: it may be another one a moment later."""
    return re.sub(rb"Date: [^\r]*", b"", answers)


def _cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Cut data into pieces of these sizes, and what is left."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [piece for piece in [*pieces, data] if piece]
