"""Conditional requests for a file (RFC 9110, section 13)."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import datetimeToString

from clusterapp.web.static.conditional_requests import (
    ConditionResult,
    allows_range,
    judge,
)
from tests.unit.web.static.static_files import LETTERS, StaticCase

TAG = b'"abc"'
THEN = 784111777
MODIFIED = datetimeToString(THEN)
BEFORE = datetimeToString(THEN - 1)
AFTER = datetimeToString(THEN + 1)


class JudgeTests(SynchronousTestCase):
    """Every condition, and which of two counts."""

    def judge(self, **asked: bytes) -> ConditionResult:
        fields = {
            name.replace("_", "-").encode(): value for name, value in asked.items()
        }
        return judge(fields, TAG, MODIFIED)

    def test_nothing_asked(self) -> None:
        self.assertIs(self.judge(), ConditionResult.PERFORM)

    def test_if_none_match(self) -> None:
        """Weakly: a proxy that compresses makes weak tags of ours."""
        for value in (
            TAG,
            b"*",
            b'W/"abc"',
            b'"x", "abc"',
            b'"x","y" ,W/"abc"',
            b',"abc"',
        ):
            self.assertIs(
                self.judge(if_none_match=value), ConditionResult.UNCHANGED, value
            )
        for value in (b'"x"', b"abc", b"", b'"ab", "c"', b'"abc"x', b'"x" "abc"'):
            self.assertIs(
                self.judge(if_none_match=value), ConditionResult.PERFORM, value
            )

    def test_if_match(self) -> None:
        """Strongly."""
        for value in (TAG, b"*", b'"x", "abc"', b'W/"abc", "abc"'):
            self.assertIs(self.judge(if_match=value), ConditionResult.PERFORM, value)
        for value in (b'"x"', b'W/"abc"', b"", b"abc"):
            self.assertIs(self.judge(if_match=value), ConditionResult.FAILED, value)

    def test_tags_may_have_commas(self) -> None:
        self.assertIs(
            self.judge(if_none_match=b'"x,\\"abc\\",y"'), ConditionResult.PERFORM
        )

    def test_if_modified_since(self) -> None:
        for value in (MODIFIED, AFTER):
            self.assertIs(
                self.judge(if_modified_since=value), ConditionResult.UNCHANGED
            )
        self.assertIs(self.judge(if_modified_since=BEFORE), ConditionResult.PERFORM)

    def test_if_unmodified_since(self) -> None:
        for value in (MODIFIED, AFTER):
            self.assertIs(
                self.judge(if_unmodified_since=value), ConditionResult.PERFORM
            )
        self.assertIs(self.judge(if_unmodified_since=BEFORE), ConditionResult.FAILED)

    def test_older_forms_of_dates(self) -> None:
        for value in (b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"):
            self.assertIs(
                self.judge(if_modified_since=value), ConditionResult.UNCHANGED
            )
        for value in (b"Sunday, 06-Nov-94 08:49:36 GMT", b"Sun Nov  6 08:49:36 1994"):
            self.assertIs(self.judge(if_modified_since=value), ConditionResult.PERFORM)

    def test_what_is_no_date_does_not_count(self) -> None:
        for value in (b"", b"yesterday", b"\xff", b"0", MODIFIED + b", " + MODIFIED):
            self.assertIs(
                self.judge(if_modified_since=value), ConditionResult.PERFORM, value
            )
            self.assertIs(
                self.judge(if_unmodified_since=value), ConditionResult.PERFORM, value
            )

    def test_what_is_nearly_a_date_does_not_count(self) -> None:
        """Only the three forms of section 5.6.7 do, with times that there are."""
        later = b"Mon, 07 Nov 1994 08:49:37 GMT"
        for old, new in (
            (b"07", b"99"),
            (b"07", b"7"),
            (b"07 Nov", b"31 Nov"),
            (b"1994", b"99999999999999"),
            (b"1994", b"94"),
            (b"1994", b"0000"),
            (b"08:49:37", b"99:99:99"),
            (b"08:49:37", b"24:00:00"),
            (b"08:49:37", b"08:49:61"),
            (b"08:49:37", b"08:49"),
            (b"Mon,", b"Mon"),
            (b"Mon,", b"Xyz,"),
            (b"Nov", b"Nix"),
            (b"GMT", b"CET"),
            (b"GMT", b"+0000"),
            (b" GMT", b""),
            (b"GMT", b"GMT; length=5"),
            (b" ", b"  "),
        ):
            value = later.replace(old, new)
            self.assertNotEqual(value, later)
            self.assertIs(
                self.judge(if_modified_since=value), ConditionResult.PERFORM, value
            )
            value = value.replace(b"1994", b"1984")  # before
            self.assertIs(
                self.judge(if_unmodified_since=value), ConditionResult.PERFORM, value
            )
        for value in (
            b"Mon, 99 Nov 99999999999999 99:99:99 GMT",
            b"Monday, 07-Nov-1994 08:49:37 GMT",
            b"Mon, 07-Nov-94 08:49:37 GMT",
            b"Mon Nov 7 08:49:37 1994",
            b"Mon Nov  7 08:49:37 94",
        ):
            self.assertIs(
                self.judge(if_modified_since=value), ConditionResult.PERFORM, value
            )
        self.assertIs(self.judge(if_modified_since=later), ConditionResult.UNCHANGED)

    def test_leap_seconds(self) -> None:
        value = b"Sun, 31 Dec 1995 23:59:60 GMT"
        self.assertIs(self.judge(if_modified_since=value), ConditionResult.UNCHANGED)

    def test_years_of_two_digits(self) -> None:
        """They are at most fifty years from now."""
        now = datetime.now(UTC).year
        for years, verdict in (
            (48, ConditionResult.UNCHANGED),
            (52, ConditionResult.PERFORM),
        ):
            value = b"Sunday, 06-Nov-%02d 08:49:37 GMT" % ((now + years) % 100)
            modified = b"Sun, 06 Nov %d 08:49:37 GMT" % (now - 20)
            asked = {b"if-modified-since": value}
            self.assertIs(judge(asked, TAG, modified), verdict, value)

    def test_tags_come_before_dates(self) -> None:
        """Section 13.2.2."""
        self.assertIs(
            self.judge(if_none_match=b'"x"', if_modified_since=AFTER),
            ConditionResult.PERFORM,
        )
        self.assertIs(
            self.judge(if_match=TAG, if_unmodified_since=BEFORE),
            ConditionResult.PERFORM,
        )

    def test_what_forbids_comes_first(self) -> None:
        self.assertIs(
            self.judge(if_match=b'"x"', if_none_match=TAG), ConditionResult.FAILED
        )
        self.assertIs(
            self.judge(if_unmodified_since=BEFORE, if_none_match=TAG),
            ConditionResult.FAILED,
        )
        self.assertIs(
            self.judge(if_match=TAG, if_none_match=TAG), ConditionResult.UNCHANGED
        )

    def test_if_range(self) -> None:
        """Strongly, and a date must be the very same."""
        for value in (TAG, MODIFIED):
            self.assertTrue(allows_range({b"if-range": value}, TAG, MODIFIED), value)
        for value in (b'W/"abc"', b'"x"', b"*", BEFORE, AFTER, b'"abc", "x"'):
            self.assertFalse(allows_range({b"if-range": value}, TAG, MODIFIED), value)
        self.assertTrue(allows_range({}, TAG, MODIFIED))

    @given(st.binary(max_size=60))
    def test_whatever_a_client_writes_is_no_error(self, value: bytes) -> None:
        self.judge(if_modified_since=value, if_match=value)
        self.judge(if_unmodified_since=value)
        self.judge(if_none_match=value)

    @given(st.lists(st.from_regex(rb'(W/)?"[!#-~\x80-\xff]*"', fullmatch=True)))
    def test_lists_of_tags(self, tags: list[bytes]) -> None:
        """They are found by what they are, however many there are."""
        one = self.judge(if_none_match=b" , ".join([*tags, TAG]))
        self.assertIs(one, ConditionResult.UNCHANGED)
        strong = TAG in tags
        both = self.judge(if_match=b",".join([*tags, b'"other"']))
        self.assertIs(
            both, ConditionResult.PERFORM if strong else ConditionResult.FAILED
        )


class ConditionalRequestTests(StaticCase):
    """What is sent for them."""

    def test_unchanged_by_its_tag(self) -> None:
        """The answer has what section 15.4.5 asks for, and no more."""
        first = self.get(b"letters.txt").fields
        same = self.get(b"letters.txt", b"If-None-Match: " + first[b"etag"])
        self.assertEqual((same.status, same.body), (304, b""))
        names = {b"etag", b"last-modified", b"cache-control"}
        self.assertEqual(same.fields, {name: first[name] for name in names})

    def test_unchanged_by_its_date(self) -> None:
        seen = self.get(b"letters.txt").fields[b"last-modified"]
        answer = self.get(b"letters.txt", b"IF-MODIFIED-SINCE: " + seen)
        self.assertEqual((answer.status, answer.body), (304, b""))

    def test_unchanged_for_a_head(self) -> None:
        answer = self.get(b"letters.txt", b"If-None-Match: *", method=b"HEAD")
        self.assertEqual(answer.status, 304)

    def test_unchanged_is_prepared_once(self) -> None:
        one, other = (
            self.prepared(b"/static/letters.txt", b"If-None-Match: *") for _ in range(2)
        )
        self.assertIs(one, other)

    def test_first_request_of_all_may_be_conditional(self) -> None:
        """A worker that has just started has not seen the file before."""
        self.assertEqual(self.get(b"letters.txt", b"If-None-Match: *").status, 304)

    def test_several_lines_are_one_list(self) -> None:
        tag = self.get(b"letters.txt").fields[b"etag"]
        lines = (b'If-None-Match: "x"', b"if-none-match: " + tag)
        self.assertEqual(self.get(b"letters.txt", *lines).status, 304)

    def test_failed(self) -> None:
        for field in (b'If-Match: "x"', b"If-Unmodified-Since: " + datetimeToString(0)):
            answer = self.get(b"letters.txt", field)
            self.assertEqual(answer.status, 412)
            self.assertNotIn(LETTERS, answer.body)

    def test_tag_changes_with_the_content_alone(self) -> None:
        """So machines that got a file at different times have the same tag."""
        first = self.get(b"letters.txt").fields[b"etag"]
        self.write("letters.txt", LETTERS, seconds=2000)
        self.pass_a_second()
        self.assertEqual(self.get(b"letters.txt").fields[b"etag"], first)
        self.write("letters.txt", LETTERS.upper(), seconds=2000)
        self.pass_a_second()
        self.assertNotEqual(self.get(b"letters.txt").fields[b"etag"], first)

    def test_tag_of_a_large_file(self) -> None:
        """It is made of size and time, since the content is not read."""
        size, tags = 300 * 1024, set()
        for length, seconds in ((size, 1000), (size, 2000), (size + 1, 2000)):
            self.write("large.bin", bytes(length), seconds)
            self.pass_a_second()
            tags.add(self.get(b"large.bin").fields[b"etag"])
        self.assertEqual(len(tags), 3)

    def test_file_from_before_the_epoch(self) -> None:
        self.write("old.txt", seconds=-5)
        answer = self.get(b"old.txt")
        self.assertEqual(answer.fields[b"last-modified"], datetimeToString(0))
