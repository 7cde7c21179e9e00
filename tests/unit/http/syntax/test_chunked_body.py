"""Chunked bodies: how much is done for each, and in what pieces they are passed on."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.connection_limits import LONGEST_NAME, MANY_CHUNKS
from clusterapp.http.syntax.chunked_body import ChunkedReader
from clusterapp.http.syntax.request_head import BadMessageError
from tests.unit.http.streams import bounded, segments
from tests.unit.http.wire import Conversation

KIB = 1024


def reader() -> ChunkedReader:
    """Make a reader with the bounds that clients have."""
    return ChunkedReader(32 * KIB, 100)


def in_chunks(body: bytes, size: int, line: bytes = b"%x") -> bytes:
    """Write a body in chunks of a size, without the last one."""
    return b"".join(
        line % len(piece) + b"\r\n" + piece + b"\r\n"
        for at in range(0, len(body), size)
        for piece in [body[at : at + size]]
    )


class PiecesTests(SynchronousTestCase):
    """What comes at once is passed on at once."""

    def test_one_piece(self) -> None:
        """However many chunks came, their readers are called once."""
        body = bytes(range(256)) * 16
        for size in (1, 2, 15, 16, 255, 256, 4096):
            for line in (b"%x", b"%X", b"%02x", b"%015x", b"%x;a=b"):
                pieces = reader().feed(in_chunks(body, size, line))
                self.assertEqual(pieces, [body], (size, line))

    def test_nothing(self) -> None:
        """Nothing is passed on where there is no data."""
        reading = reader()
        for data in (b"", b"5", b"\r", b"\n"):
            self.assertEqual(reading.feed(data), [])
        self.assertEqual(reading.feed(b"hel"), [b"hel"])
        self.assertEqual(reading.feed(b"lo\r\n0\r\n\r\nrest"), [b"lo"])
        self.assertEqual((reading.complete, reading.rest()), (True, b"rest"))

    @bounded(200)
    @given(st.data(), st.binary(max_size=600), st.integers(1, 300))
    def test_in_any_segments(self, data: st.DataObject, body: bytes, size: int) -> None:
        """The body is the same, however its bytes come."""
        stream = in_chunks(body, size) + b"0\r\nA: b\r\n\r\n"
        reading = reader()
        pieces = data.draw(segments(st.just(stream)))
        read = [piece for each in pieces for piece in reading.feed(each)]
        self.assertEqual(b"".join(read), body)
        self.assertTrue(reading.complete)
        self.assertEqual(reading.trailers, [(b"A", b"b")])


class TurnTests(SynchronousTestCase):
    """Many chunks take a turn of the event loop for each read."""

    def test_one_read_a_turn(self) -> None:
        """What comes is read in the next turn, and the body is whole."""
        conversation = Conversation()
        head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = b"ab" * MANY_CHUNKS
        conversation.send([head, in_chunks(body, 1)])
        self.assertFalse(conversation.reading)
        conversation.clock.advance(0)
        self.assertTrue(conversation.reading)
        conversation.send([in_chunks(body, 1)])
        self.assertFalse(conversation.reading)
        conversation.clock.advance(0)
        conversation.send([b"0\r\n\r\n"])
        self.assertEqual(conversation.outcome().statuses, [200])
        self.assertEqual(conversation.requests[0].body, body * 2)

    def test_few_chunks(self) -> None:
        """They do not wait."""
        conversation = Conversation()
        head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        conversation.send([head, in_chunks(b"a" * MANY_CHUNKS, 1)])
        self.assertTrue(conversation.reading)

    def test_client_that_leaves(self) -> None:
        """Before the next turn: nothing is read any more."""
        conversation = Conversation()
        head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        conversation.send([head, in_chunks(b"a" * 2 * MANY_CHUNKS, 1)])
        conversation.hang_up()
        conversation.clock.advance(0)
        self.assertEqual(conversation.outcome().requests, [])


class TrailerTests(SynchronousTestCase):
    """The fields behind a body."""

    def test_bytes_that_come_one_by_one(self) -> None:
        """They are read as what comes at once, good or bad."""
        for section, is_good in (
            (b"A: b\r\nC: \td \r\n\r\n", True),
            (b"A: b\r\nC: d\n\r\n\r\n", False),
            (b"A: b\nC: d\r\n\r\n", False),
            (b"\n\r\n", False),
            (b"A: \r\r\n\r\n", False),
        ):
            reading = reader()
            taken = True
            try:
                for byte in b"0\r\n" + section:
                    reading.feed(bytes([byte]))
            except BadMessageError:
                taken = False
            self.assertEqual(taken and reading.complete, is_good, section)

    def test_names_are_bounded(self) -> None:
        """A name of 256 bytes is read; a longer one is a 431."""
        name = b"N" * LONGEST_NAME
        reading = reader()
        reading.feed(b"0\r\n" + name + b": 1\r\n\r\n")
        self.assertEqual(reading.trailers, [(name, b"1")])
        with self.assertRaises(BadMessageError) as caught:
            reader().feed(b"0\r\nN" + name + b": 1\r\n\r\n")
        self.assertEqual(caught.exception.status, 431)

    def test_number_is_bounded(self) -> None:
        """As many as in a head are read, and no more."""
        reading = reader()
        reading.feed(b"0\r\n" + b"A: b\r\n" * 100 + b"\r\n")
        self.assertEqual(len(reading.trailers), 100)
        with self.assertRaises(BadMessageError):
            reader().feed(b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n")
