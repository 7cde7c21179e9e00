"""Log events on the wire: JSON in records that several processes write to one pipe."""

import json
from itertools import pairwise
from select import PIPE_BUF

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.log_pipe.log_events import (
    LONGEST_TEXT,
    ChildEvent,
    RequestFacts,
)
from clusterapp.channel.log_pipe.log_records import (
    LONGEST_MESSAGE,
    MOST_WRITERS,
    RecordReader,
    records_of,
)
from clusterapp.printable import shortened
from clusterapp.tracebacks import LONGEST_TRACEBACK

MESSAGES = st.lists(
    st.tuples(st.sampled_from([1, 2, 3]), st.binary(min_size=1, max_size=20_000)),
    max_size=6,
)


class RecordTests(SynchronousTestCase):
    """Messages of several writers."""

    def read(self, *received: bytes) -> list[bytes]:
        reader = RecordReader()
        return [message for each in received for message in reader.feed(each)]

    @given(MESSAGES, st.lists(st.integers(0, 60_000), max_size=6))
    def test_any_division(
        self, messages: list[tuple[int, bytes]], cuts: list[int]
    ) -> None:
        """However the bytes arrive, the same messages come out."""
        sent = b"".join(b"".join(records_of(*each)) for each in messages)
        places = sorted({min(cut, len(sent)) for cut in cuts} | {0, len(sent)})
        parts = [sent[start:end] for start, end in pairwise(places)]
        self.assertEqual(self.read(*parts), [message for _, message in messages])

    def test_records_are_written_at_once(self) -> None:
        """The kernel keeps each together (pipe(7))."""
        for record in records_of(1, b"x" * 20_000):
            self.assertLessEqual(len(record), PIPE_BUF)

    def test_writers_take_turns(self) -> None:
        """Records of two processes between each other make two messages."""
        first, second = (records_of(pid, b"%d" % pid * 9_000) for pid in (1, 2))
        mixed = [each for pair in zip(first, second, strict=True) for each in pair]
        self.assertEqual(self.read(b"".join(mixed)), [b"1" * 9_000, b"2" * 9_000])

    def test_writer_that_was_killed(self) -> None:
        """What it had begun is forgotten when another of its pid begins anew."""
        begun = records_of(1, b"a" * 9_000)[0]
        self.assertEqual(self.read(begun, *records_of(1, b"whole")), [b"whole"])

    def test_bytes_that_are_no_records(self) -> None:
        """The application can write there, too; at most the next record is lost."""
        [record] = records_of(1, b"whole")
        for junk in (b"junk", b"\xf5", b"\xf5" * 30, b"\xf5\0\0\0\0\3\xff\xff"):
            found = self.read(junk, record * (PIPE_BUF // len(record) + 1), record)
            self.assertEqual(found[-1:], [b"whole"], junk)

    def test_bounds(self) -> None:
        """Neither long messages nor many writers fill the memory."""
        reader = RecordReader()
        for pid in range(MOST_WRITERS * 2):
            self.assertEqual(list(reader.feed(records_of(pid, b"a" * 9_000)[0])), [])
        self.assertEqual(len(reader._begun), MOST_WRITERS)
        too_long = b"".join(records_of(7, b"a" * (LONGEST_MESSAGE + 1)))
        self.assertEqual(list(reader.feed(too_long)), [])
        self.assertNotIn(7, reader._begun)


class EventTests(SynchronousTestCase):
    """An event and its JSON."""

    def event(self, **fields: object) -> ChildEvent:
        usual = {"time": 1.5, "level": "error", "namespace": "shop", "text": "no"}
        return ChildEvent(**{**usual, **fields})  # type: ignore[arg-type]

    def test_round_trip(self) -> None:
        facts = RequestFacts(method="GET", path="/a", route="/<b>", request_id="7")
        for event in (
            self.event(traceback="Trace\n  back", request=facts, pid=7),
            self.event(text="München → \udcff \x1b"),
        ):
            self.assertEqual(ChildEvent.from_bytes(event.to_bytes()), event)

    def test_long_values_are_cut(self) -> None:
        """Whatever they hold, the message is not too long to be delivered."""
        for character in ("x", "\x00", "🙂"):
            path = RequestFacts(
                method=character * 10_000,
                path=character * 10_000,
                route=character * 10_000,
                client=character * 10_000,
                request_id=character * 10_000,
            )
            event = self.event(
                namespace=character * 10_000,
                text=character * 1_000_000,
                traceback=character * 1_000_000,
                request=path,
            )
            message = event.to_bytes()
            self.assertLess(len(message), LONGEST_MESSAGE)
            read = ChildEvent.from_bytes(message)
            self.assertIn(f"[{1_000_000 - LONGEST_TEXT} characters cut]", read.text)
            self.assertLess(len(read.traceback), LONGEST_TRACEBACK + 100)

    def test_both_ends_of_a_text_are_kept(self) -> None:
        """The last line of a traceback says what it was."""
        text = shortened("start" + "x" * 10_000 + "end", 100)
        self.assertTrue(text.startswith("start"))
        self.assertTrue(text.endswith("end"))

    def test_no_event(self) -> None:
        """What the application writes there itself is refused, in one way."""
        fine = json.loads(self.event().to_bytes())
        for change in (
            {"time": "x"},
            {"time": float("nan")},
            {"time": 1e300},
            {"time": -1},
            {"request": {"a": 1}},
            {"request": 7},
            {"pid": None},
        ):
            message = json.dumps({**fine, **change}).encode()
            self.assertRaises(ValueError, ChildEvent.from_bytes, message)
        for message in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000):
            self.assertRaises(ValueError, ChildEvent.from_bytes, message)

    def test_request(self) -> None:
        """It is shown with what is known of it."""
        facts = RequestFacts(method="GET", path="/a")
        self.assertEqual(str(facts), "GET /a")
        facts = RequestFacts(
            method="GET", path="/a/7", route="/a/<n>", client="1.2.3.4", request_id="x"
        )
        self.assertEqual(
            str(facts), "GET /a/7 (route /a/<n>, client 1.2.3.4, request id x)"
        )
