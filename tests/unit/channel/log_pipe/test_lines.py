"""Whole lines out of a stream of bytes."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.log_pipe.lines import LONGEST_LINE, Lines

#: Around the length at which a line is cut.
LENGTHS = st.sampled_from(
    [0, 1, 5, *(n * LONGEST_LINE + m for n in (1, 2) for m in (-1, 0, 1))]
)
PIECES = st.tuples(LENGTHS, st.sampled_from([b"", b"\n", b"\r\n", b"\r", b"\xff\n"]))
STREAMS = st.lists(PIECES, max_size=5).map(
    lambda pieces: b"".join(b"x" * length + end for length, end in pieces)
)


def lines_of(*received: bytes) -> list[str]:
    """Return the lines of a stream that arrives in these parts."""
    lines = Lines()
    found = [line for part in received for line in lines.feed(part)]
    return found + list(lines.end())


class LinesTests(SynchronousTestCase):
    """The lines that a process writes."""

    def test_lines(self) -> None:
        self.assertEqual(lines_of(b"a\n\nb\r\nc"), ["a", "", "b", "c"])

    def test_line_is_given_when_it_is_whole(self) -> None:
        lines = Lines()
        self.assertEqual(list(lines.feed(b"a")), [])
        self.assertEqual(list(lines.feed(b"b\nc")), ["ab"])
        self.assertEqual(list(lines.end()), ["c"])
        self.assertEqual(list(lines.end()), [])

    def test_character_in_two_parts(self) -> None:
        self.assertEqual(lines_of(b"\xc3", b"\xa4\n"), ["ä"])

    def test_what_is_not_utf_8(self) -> None:
        self.assertEqual(lines_of(b"a\xff\n"), ["a\\xff"])

    def test_long_line_is_cut(self) -> None:
        """A line that never ends fills no memory, and the cut is told."""
        lines = Lines()
        for _ in range(3):
            self.assertEqual(list(lines.feed(b"x" * LONGEST_LINE)), [])
        self.assertLess(len(lines._kept), LONGEST_LINE + 2)
        [line] = lines.feed(b"\n")
        self.assertEqual(line, "x" * LONGEST_LINE + f"… [{2 * LONGEST_LINE} bytes cut]")
        self.assertEqual(list(lines.feed(b"next\n")), ["next"])

    def test_longest_line(self) -> None:
        """Its end is no part of it."""
        for end in (b"\n", b"\r\n"):
            self.assertEqual(lines_of(b"x" * LONGEST_LINE + end), ["x" * LONGEST_LINE])

    @given(STREAMS, st.lists(st.integers(0, 100_000), max_size=6))
    @example(b"x" * LONGEST_LINE + b"\r\n", [LONGEST_LINE + 1])
    def test_any_division_gives_the_same_lines(
        self, stream: bytes, cuts: list[int]
    ) -> None:
        places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
        parts = [stream[start:end] for start, end in pairwise(places)]
        self.assertEqual(lines_of(*parts), lines_of(stream))
