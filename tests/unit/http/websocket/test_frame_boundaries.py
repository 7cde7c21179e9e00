"""Where WebSocket frames begin and end."""

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection

from clusterapp.http.websocket.frame_boundaries import SERVICE_RESTART, FrameBoundaries


def frame(length: int, mask: bytes) -> bytes:
    """Write a binary frame (RFC 6455, section 5.2)."""
    masked = 0x80 if mask else 0
    if length < 126:
        head = bytes((0x82, masked | length))
    elif length < 1 << 16:
        head = bytes((0x82, masked | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x82, masked | 127)) + length.to_bytes(8, "big")
    return head + mask + b"\x81" * length


LENGTHS = st.sampled_from((0, 1, 2, 125, 126, 127, 65_535, 65_536, 70_000))
MASKS = st.sampled_from((b"", b"\0\1\2\3"))


class FrameTests(SynchronousTestCase):
    """A stream, cut anywhere."""

    @given(
        st.lists(st.tuples(LENGTHS, MASKS), min_size=1, max_size=4),
        st.lists(st.integers(1, 300), min_size=1, max_size=30),
    )
    def test_boundaries(self, frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
        """It is between frames exactly where one ends."""
        written = [frame(length, mask) for length, mask in frames]
        stream = b"".join(written)
        ends = {0}
        for each in written:
            ends.add(max(ends) + len(each))
        boundaries = FrameBoundaries()
        at = 0
        for cut in [*cuts, len(stream)]:
            boundaries.feed(stream[at : at + cut])
            at = min(at + cut, len(stream))
            self.assertEqual(boundaries.between, at in ends, (at, ends))

    def test_byte_by_byte(self) -> None:
        boundaries = FrameBoundaries()
        for byte in frame(300, b"abcd"):
            boundaries.feed(bytes((byte,)))
        self.assertTrue(boundaries.between)
        boundaries.feed(b"\x82")
        self.assertFalse(boundaries.between)

    @given(
        st.lists(st.tuples(LENGTHS, MASKS), min_size=1, max_size=4),
        st.integers(0, 80_000),
    )
    def test_one_frame(self, frames: list[tuple[int, bytes]], before: int) -> None:
        """What is taken of the next bytes ends where the frame under way does."""
        written = [frame(length, mask) for length, mask in frames]
        stream = b"".join(written)
        before = min(before, len(stream) - 1)
        boundaries = FrameBoundaries()
        boundaries.feed(stream[:before])
        end = before + boundaries.feed_one(stream[before:])
        lengths = list(accumulate(map(len, written)))
        self.assertEqual(end, next(each for each in lengths if each > before))
        self.assertTrue(boundaries.between)

    def test_service_restart(self) -> None:
        """A client's library reads it as the close that it is to be."""
        client = Connection(ConnectionType.CLIENT)
        client.receive_data(SERVICE_RESTART)
        [closed] = client.events()
        assert isinstance(closed, CloseConnection)
        self.assertEqual(closed.code, 1012)
