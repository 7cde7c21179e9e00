"""Parts of files: what is asked for, joined, refused, ignored and sent."""

import email
import email.policy

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import datetimeToString

from clusterapp.http.server.prepared_response import FilePart
from clusterapp.web.static.range_requests import MOST_RANGES, parse_ranges
from tests.unit.web.static.static_files import LARGE, LETTERS, Answer, StaticCase

#: Longer than the gaps that are sent along, and no two parts of it are the same.
NUMBERS = b"".join(b"%04d" % number for number in range(2500))
SIZE = len(NUMBERS)


class RangeRequestTests(StaticCase):
    """One range, several, and none that can be sent."""

    def setUp(self) -> None:
        super().setUp()
        self.write("numbers.txt", NUMBERS)

    def wanted(
        self, value: bytes, *fields: bytes, name: bytes = b"numbers.txt"
    ) -> Answer:
        return self.get(name, b"Range: bytes=" + value, *fields)

    def parts_of(self, answer: Answer) -> list[tuple[str | None, str, bytes]]:
        """Take a multipart answer apart as a mail program would."""
        head = b"Content-Type: " + answer.fields[b"content-type"] + b"\r\n"
        whole = email.message_from_bytes(head + answer.body, policy=email.policy.HTTP)
        return [
            (
                part["Content-Range"],
                part.get_content_type(),
                part.get_content().encode(),
            )
            for part in whole.iter_parts()
        ]

    def test_one_range(self) -> None:
        for wanted, body, stated in (
            (b"0-2", b"abc", b"bytes 0-2/26"),
            (b"23-", b"xyz", b"bytes 23-25/26"),
            (b"23-9999", b"xyz", b"bytes 23-25/26"),
            (b"-3", b"xyz", b"bytes 23-25/26"),
            (b"-9999", LETTERS, b"bytes 0-25/26"),
            (b"99-, 0-0", b"a", b"bytes 0-0/26"),
        ):
            answer = self.wanted(wanted, name=b"letters.txt")
            self.assertEqual((answer.status, answer.body), (206, body), wanted)
            self.assertEqual(answer.fields[b"content-range"], stated, wanted)
            self.assertEqual(answer.fields[b"content-length"], b"%d" % len(body))

    def test_part_has_the_fields_of_the_whole(self) -> None:
        whole = self.get(b"letters.txt").fields
        part = self.wanted(b"0-2", name=b"letters.txt").fields
        self.assertEqual(part.pop(b"content-range"), b"bytes 0-2/26")
        self.assertEqual(part | {b"content-length": b"26"}, whole)

    def test_a_range_beyond_the_end(self) -> None:
        for wanted in (b"26-", b"99-100", b"-0", b"99-,100-", b"26-26"):
            answer = self.wanted(wanted, name=b"letters.txt")
            self.assertEqual(answer.status, 416, wanted)
            self.assertEqual(answer.fields[b"content-range"], b"bytes */26", wanted)
            self.assertNotIn(LETTERS, answer.body)

    def test_ranges_that_are_ignored(self) -> None:
        """Malformed ones, other units, and too many: the whole file, once."""
        many = b",".join(b"%d-%d" % (each, each) for each in range(0, 9900, 300))
        self.assertGreater(many.count(b","), MOST_RANGES - 1)
        for field in (
            b"bytes=",
            b"bytes=-",
            b"bytes=,",
            b"bytes=2-1",
            b"bytes=a-b",
            b"bytes=0-1,x",
            b"bytes=0-1,2-1",
            b"bytes=+0-1",
            b"bytes=0--1",
            b"bytes=" + b"9" * 5000 + b"-",
            b"lines=0-1",
            b"nonsense",
            b"bytes=" + many,
            b"bytes=" + b",".join([b"0-"] * 100),
            b"bytes=" + b",".join([b"0-0"] * 800),
        ):
            answer = self.get(b"numbers.txt", b"Range: " + field)
            self.assertEqual((answer.status, answer.body), (200, NUMBERS), field)

    def test_two_fields_are_ignored(self) -> None:
        """One that is there twice is no list of ranges."""
        answer = self.wanted(b"0-1", b"Range: bytes=5-6")
        self.assertEqual((answer.status, answer.body), (200, NUMBERS))

    def test_not_for_head(self) -> None:
        """Section 14.2: a range means something for GET alone."""
        answer = self.get(b"letters.txt", b"Range: bytes=0-2", method=b"HEAD")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.fields[b"content-length"], b"26")

    def test_several_ranges(self) -> None:
        """In the order in which they are asked for."""
        answer = self.wanted(b"-4, 0-3,5000-5003")
        self.assertEqual(answer.status, 206)
        self.assertNotIn(b"content-range", answer.fields)
        self.assertEqual(answer.fields[b"content-length"], b"%d" % len(answer.body))
        self.assertEqual(
            self.parts_of(answer),
            [
                (f"bytes 9996-9999/{SIZE}", "text/plain", b"2499"),
                (f"bytes 0-3/{SIZE}", "text/plain", b"0000"),
                (f"bytes 5000-5003/{SIZE}", "text/plain", b"1250"),
            ],
        )

    def test_ranges_that_overlap_or_nearly_touch(self) -> None:
        """They are sent as one, which is no multipart if nothing else is left."""
        for wanted in (b"0-9,5-19", b"10-19,0-9", b"0-4,15-19", b"0-19,3-4,0-,0-0"):
            answer = self.wanted(wanted)
            end = SIZE if b"0-," in wanted else 20
            self.assertEqual((answer.status, answer.body), (206, NUMBERS[:end]))

    def test_ranges_of_a_large_file(self) -> None:
        """They are sent from the disk."""
        content = NUMBERS * (LARGE // SIZE + 1)
        self.write("large.txt", content)
        target = b"/static/large.txt"
        one = self.prepared(target, b"Range: bytes=100001-200000")
        self.assertEqual([type(part) for part in one.parts], [FilePart])
        part = self.wanted(b"100001-200000", name=b"large.txt")
        self.assertEqual(part.body, content[100001:200001])
        several = self.wanted(b"0-3,200001-200004", name=b"large.txt")
        bodies = [body for _, _, body in self.parts_of(several)]
        self.assertEqual(bodies, [content[:4], content[200001:200005]])

    def test_range_of_a_file_that_has_changed(self) -> None:
        """If-Range: a part of the old file must not meet one of the new."""
        seen = self.get(b"letters.txt").fields
        for same in (seen[b"last-modified"], seen[b"etag"]):
            answer = self.wanted(b"0-2", b"If-Range: " + same, name=b"letters.txt")
            self.assertEqual((answer.status, answer.body), (206, b"abc"))
        for other in (datetimeToString(0), b'"etag"', b"W/" + seen[b"etag"]):
            answer = self.wanted(b"0-2", b"If-Range: " + other, name=b"letters.txt")
            self.assertEqual((answer.status, answer.body), (200, LETTERS))

    def test_conditions_come_before_ranges(self) -> None:
        self.assertEqual(self.wanted(b"0-2", b"If-None-Match: *").status, 304)
        self.assertEqual(self.wanted(b"0-2", b'If-Match: "x"').status, 412)
        self.assertEqual(self.wanted(b"99999-", b"If-None-Match: *").status, 304)

    def test_boundary_is_nobodys_to_know(self) -> None:
        """Else a file could have parts of its own."""
        first = self.wanted(b"0-3,5000-5003").fields[b"content-type"]
        self.serve(self.options)
        other = self.wanted(b"0-3,5000-5003").fields[b"content-type"]
        self.assertNotEqual(first, other)


class ParseRangesTests(SynchronousTestCase):
    """A Range field is one or more ranges within the file, none, or ignored."""

    @given(st.integers(0, 30), st.integers(0, 40), st.integers(0, 40))
    def test_as_slices_of_the_file(self, size: int, first: int, last: int) -> None:
        """Every well-formed range is what slicing gives."""
        content = bytes(range(size))

        def parts(value: bytes) -> list[bytes] | None:
            found = parse_ranges(value, size)
            return (
                None
                if found is None
                else [content[start : end + 1] for start, end in found]
            )

        def expected(part: bytes) -> list[bytes]:
            return [part] if part else []

        self.assertEqual(parts(b"bytes=%d-" % first), expected(content[first:]))
        suffix = content[-last:] if last else b""
        self.assertEqual(parts(b"bytes=-%d" % last), expected(suffix))
        if first <= last:
            self.assertEqual(
                parts(b"Bytes=%d-%d" % (first, last)),
                expected(content[first : last + 1]),
            )
        else:
            self.assertIsNone(parts(b"bytes=%d-%d" % (first, last)))

    @given(st.binary(max_size=40), st.integers(0, 100))
    def test_anything_else_is_ignored(self, value: bytes, size: int) -> None:
        """Whatever a client sends, it is no error."""
        for each in (value, b"bytes=" + value):
            for first, last in parse_ranges(each, size) or ():
                self.assertTrue(0 <= first <= last < size)

    @given(
        st.lists(
            st.tuples(st.integers(0, 5000), st.integers(0, 900)),
            min_size=1,
            max_size=MOST_RANGES,
        ),
        st.integers(1, 5000),
    )
    def test_several(self, pairs: list[tuple[int, int]], size: int) -> None:
        """All that was asked for is there once, and never more than the file."""
        asked = [(first, first + more) for first, more in pairs]
        field = b"bytes=" + b",".join(b"%d-%d" % each for each in asked)
        found = parse_ranges(field, size)
        assert found is not None
        sent = [place for part in found for place in range(part.first, part.last + 1)]
        self.assertEqual(len(sent), len(set(sent)))
        wanted = {each for first, last in asked for each in range(first, last + 1)}
        self.assertLessEqual(wanted & set(range(size)), set(sent))
        self.assertLessEqual(set(sent), set(range(size)))
