"""A message means the same in whatever segments it arrives."""

from collections.abc import Iterator, Sequence

from tests.unit.http.conformance.corpus import TABLES
from tests.unit.http.wire import FOLLOWER, ConformanceTestCase, Row, converse

#: Longer messages are cut at fewer places.
LONG = 300
STRIDE = 997


def cuts(stream: bytes) -> Iterator[list[bytes]]:
    """Return every way to cut a stream in two, and the one into single bytes."""
    step = 1 if len(stream) < LONG else STRIDE
    for place in range(1, len(stream), step):
        yield [stream[:place], stream[place:]]
    yield [stream[place : place + 1] for place in range(len(stream))]


class SegmentTests(ConformanceTestCase):
    """Every message of the tables, and a request after it, in segments."""

    def assert_cuts_do_not_count(self, rows: Sequence[Row]) -> None:
        """Require the same outcome as in one piece."""
        problems = []
        for row in rows:
            stream = row.message + FOLLOWER
            whole = converse([stream])
            for pieces in cuts(stream):
                outcome = converse(pieces)
                if outcome != whole:
                    problems.append(f"{pieces[:2]}: {outcome}, not {whole}")
                    break
        self.assertEqual(problems, [], "\n" + "\n".join(problems))

    def test_lines(self) -> None:
        """Of the request line."""
        self.assert_cuts_do_not_count(TABLES["line"])

    def test_targets(self) -> None:
        """Of targets and hosts."""
        self.assert_cuts_do_not_count(TABLES["targets"])

    def test_lengths(self) -> None:
        """Of lengths and codings."""
        self.assert_cuts_do_not_count(TABLES["lengths"])

    def test_chunks(self) -> None:
        """Of chunks and trailers."""
        self.assert_cuts_do_not_count(TABLES["chunks"])

    def test_fields(self) -> None:
        """Of header fields."""
        self.assert_cuts_do_not_count(TABLES["fields"])
