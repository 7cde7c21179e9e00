"""What is passed on of a client's frames, and what is refused."""

import time
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Ping

from clusterapp.http.websocket.frames import (
    JOINED,
    MESSAGE_TOO_BIG,
    PROTOCOL_ERROR,
    ClientFrames,
    FramingError,
    close_frame,
)
from tests.unit.http.streams import bounded
from tests.unit.http.websockets import (
    BINARY,
    CLOSE,
    FIRST,
    LAST,
    MORE,
    PING,
    TEXT,
    frame,
    header,
)

MASK = b"\x12\x34\x56\x78"
COMPRESSED = 0x40
MOST = 1_000_000

LENGTHS = st.sampled_from((0, 1, 125, 126, 300, JOINED - 1, JOINED, 3 * JOINED))
MESSAGES = st.lists(st.lists(LENGTHS, min_size=1, max_size=5), min_size=1, max_size=3)


def passed(frames: ClientFrames, *pieces: bytes) -> list[bytes]:
    """Feed pieces; return what is passed on for each of them and after that."""
    given = []
    for piece in pieces:
        frames.feed(piece)
        while True:
            given.append(frames.take())
            if not frames.more:
                break
    return [each for each in given if each]


def received(stream: Iterable[bytes]) -> list[bytes]:
    """Parse a stream by wsproto; return its messages and the payloads of pings."""
    server = Connection(ConnectionType.SERVER)
    messages, parts = [], bytearray()
    for piece in stream:
        server.receive_data(piece)
        for event in server.events():
            if isinstance(event, Ping):
                messages.append(bytes(event.payload))
                continue
            assert isinstance(event, BytesMessage), event
            parts += event.data
            if event.message_finished:
                messages.append(bytes(parts))
                parts.clear()
    return messages


class PassingTests(SynchronousTestCase):
    """What a protocol gets means what the client has sent."""

    @bounded(50)
    @given(
        MESSAGES,
        st.lists(st.integers(1, JOINED), max_size=20),
        st.sampled_from((MASK, b"\0\0\0\0")),
    )
    def test_messages(
        self, messages: list[list[int]], cuts: list[int], mask: bytes
    ) -> None:
        """The same messages, however they are cut into frames, and these into reads."""
        stream, expected = b"", []
        for number, lengths in enumerate(messages):
            whole = b""
            for at, length in enumerate(lengths):
                payload = bytes((number + at,)) * length
                first = (MORE if at else FIRST) | (
                    LAST if at + 1 == len(lengths) else 0
                )
                stream += frame(payload, first, mask)
                whole += payload
                if at + 1 < len(lengths):
                    stream += frame(b"ping", PING, mask)
                    expected.append(b"ping")
            expected.append(whole)
        pieces: list[bytes] = []
        for cut in [*cuts, len(stream)]:
            pieces.append(stream[:cut])
            stream = stream[cut:]
        frames = ClientFrames(5 * 3 * JOINED)
        self.assertEqual(received(passed(frames, *pieces)), expected)
        self.assertFalse(frames.waiting)

    def test_whole_frames(self) -> None:
        """Whole frames are passed on as they are, together."""
        stream = frame(b"one", TEXT, MASK) + frame(b"", CLOSE, MASK) + frame(b"2")
        self.assertEqual(passed(ClientFrames(MOST), stream), [stream])

    def test_byte_by_byte(self) -> None:
        """A frame is passed on when it is whole."""
        stream = frame(b"hello", TEXT, MASK)
        pieces = [bytes((byte,)) for byte in stream]
        self.assertEqual(passed(ClientFrames(MOST), *pieces), [stream])

    def test_fragments(self) -> None:
        """Short ones come as one frame, and so does what is compressed."""
        for mark in (0, COMPRESSED):
            frames = ClientFrames(MOST)
            stream = (
                frame(b"a", FIRST | mark, MASK)
                + frame(b"", MORE, MASK)
                + frame(b"bc", LAST, MASK)
            )
            joined = frame(b"abc", FIRST | LAST | mark)
            self.assertEqual(passed(frames, stream), [joined])
            self.assertEqual(frames.compressed, bool(mark))

    def test_long_fragment_behind_short_ones(self) -> None:
        """The order is kept, and the first of them is the one that begins."""
        for before in (b"", b"ab"):
            frames = ClientFrames(MOST)
            stream = frame(before, FIRST, MASK) + frame(bytes(JOINED), LAST, MASK)
            [whole] = (received(passed(frames, stream)),)
            self.assertEqual(whole, [before + b"".join([bytes(JOINED)])])

    def test_bounded_turns(self) -> None:
        """A read full of small frames is passed on in parts."""
        frames = ClientFrames(MOST)
        frames.feed(frame(b"", PING) * 1000)
        sizes = []
        while True:
            sizes.append(len(frames.take()) // 6)
            if not frames.more:
                break
        self.assertEqual(sum(sizes), 1000)
        self.assertLessEqual(max(sizes), 100)

    def test_few_pieces(self) -> None:
        """The longer a message is, the longer its pieces: a library may copy it all."""
        most = 64 * 1024**2
        frames = ClientFrames(most)
        piece = bytes(1024)
        count = copied = size = 0
        for data in [header(BINARY, most), *[piece] * (most // len(piece))]:
            for each in passed(frames, data):
                count += 1
                size += len(each)
                copied += size
        self.assertLess(count, 100)
        self.assertLess(copied, 12 * most)
        self.assertLessEqual(len(frames._buffer), 0)

    def test_linear_time(self) -> None:
        """Twice as many fragments, or bytes of a frame, take about twice the time."""
        for unit, begin in (
            (frame(b"x", MORE) * 1000, frame(b"", FIRST)),
            (bytes(1000), header(BINARY, 2**40)),
        ):
            times = []
            for count in (50, 400):
                frames = ClientFrames(2**41)
                frames.feed(begin)
                began = time.process_time()
                for _ in range(count):
                    passed(frames, unit)
                times.append(time.process_time() - began)
            # Eight times as much; 64 times for quadratic time.
            self.assertLess(times[1], 30 * max(times[0], 0.001))


class RefusalTests(SynchronousTestCase):
    """What ends a connection, by the first bytes that show it."""

    def refused(self, stream: bytes, code: int, most: int = MOST) -> None:
        """It is refused at its last byte and not before."""
        for whole in (stream, stream + bytes(1000)):
            frames = ClientFrames(most)
            frames.feed(whole)
            error = self.assertRaises(FramingError, drained, frames)
            self.assertEqual(error.code, code)
        frames = ClientFrames(most)
        frames.feed(stream[:-1])
        drained(frames)

    def test_forbidden(self) -> None:
        """Each rule of RFC 6455, section 5, that a header can break."""
        open_message = frame(b"a", FIRST, MASK)
        for stream in (
            b"\x82\x01",  # no mask
            b"\x82\x00",
            *(bytes((0x80 | bits | 0x02, 0x80)) for bits in (0x10, 0x20, 0x30)),
            *(bytes((0x80 | opcode, 0x80)) for opcode in (3, 4, 5, 6, 7, 11, 12, 15)),
            b"\xc9\x80",  # a compressed ping
            b"\x09\x80",  # a fragmented one
            b"\x88\xfe",  # a long close
            b"\x8a\xff",
            b"\x80\x80",  # nothing to continue
            b"\x00\x80",
            open_message + b"\x82\x80",  # a message within another
            open_message + b"\x01\x80",
            open_message + b"\xc0\x80",  # a compressed continuation
        ):
            self.refused(stream, PROTOCOL_ERROR)
        for length in (
            b"\xfe\0\x7d",
            b"\xff" + b"\0" * 6 + b"\xff\xff",
            b"\xff\x80" + bytes(7),
        ):
            self.refused(b"\x82" + length + MASK, PROTOCOL_ERROR)

    def test_too_long(self) -> None:
        """A message is refused at the header with which it gets too long."""
        for stream in (
            header(BINARY, 11),
            header(BINARY, 2**40),
            header(FIRST, 2**63 - 1),
            frame(b"12345678", FIRST) + header(MORE, 3),
            frame(b"1234567890", FIRST) + frame(b"", MORE) * 100 + header(LAST, 1),
            frame(b"1234567890") + frame(b"", PING) + header(TEXT, 11),
        ):
            self.refused(stream, MESSAGE_TOO_BIG, most=10)

    def test_allowed(self) -> None:
        """The longest message may come, again and again."""
        stream = (
            frame(b"1234567890") * 3 + frame(b"12345", FIRST) + frame(b"67890", LAST)
        )
        drained_stream = passed(ClientFrames(10), stream)
        self.assertEqual(received(drained_stream), [b"1234567890"] * 4)

    def test_what_came_before(self) -> None:
        """Whole frames before a bad one are passed on, and then it is refused."""
        frames = ClientFrames(MOST)
        frames.feed(frame(b"good") + b"\xff\xff" + frame(b"never"))
        self.assertEqual(frames.take(), frame(b"good"))
        self.assertTrue(frames.more)
        self.assertRaises(FramingError, frames.take)

    @bounded(200)
    @given(st.binary(max_size=200), st.integers(1, 50))
    def test_any_bytes(self, stream: bytes, cut: int) -> None:
        """Whatever comes, it is passed on, held, or refused; wsproto reads no error."""
        frames = ClientFrames(MOST)
        server = Connection(ConnectionType.SERVER)
        for at in range(0, len(stream), cut):
            frames.feed(stream[at : at + cut])
            try:
                server.receive_data(drained(frames))
            except FramingError:
                return
            for event in server.events():
                if isinstance(event, CloseConnection):
                    # What only the payload shows: a bad close, bad UTF-8; and a
                    # compressed message that nobody has agreed to.
                    self.assertIn(event.code, (1000, 1001, 1002, 1005, 1007))
                    return


def drained(frames: ClientFrames) -> bytes:
    """Take all that can be taken."""
    pieces = [frames.take()]
    while frames.more:
        pieces.append(frames.take())
    return b"".join(pieces)


class CloseTests(SynchronousTestCase):
    """The close frames that a server writes."""

    def test_close_frame(self) -> None:
        """A client's library reads the code that it is to have."""
        for code in (1002, 1009, 1011, 1012):
            client = Connection(ConnectionType.CLIENT)
            client.receive_data(close_frame(code))
            [closed] = client.events()
            assert isinstance(closed, CloseConnection)
            self.assertEqual(closed.code, code)
