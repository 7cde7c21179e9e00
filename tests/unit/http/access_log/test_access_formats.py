"""The lines of the access log, as text."""

import json
import os
import re
import time
from select import PIPE_BUF
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.access_log.access_formats import (
    WorkerIdentity,
    combined_lines,
    json_lines,
)
from clusterapp.http.access_log.access_record import AccessRecord

#: 2026-11-22 22:54:17.25 UTC.
NOW = 1795388057.25
LONG = 1 << 20

USUAL = AccessRecord(
    client="203.0.113.7",
    method=b"GET",
    target=b"/hello?name=world",
    version=b"HTTP/1.1",
    fields=[
        (b"Host", b"example.org"),
        (b"User-Agent", b"curl/8.5.0"),
        (b"referer", b"https://example.org/"),
        (b"X-Request-ID", b"7f3a-11"),
    ],
    status=200,
    sent=5,
    seconds=0.0012345,
)
BARE = USUAL._replace(fields=[])
NO_REQUEST = AccessRecord("::1", b"-", b"", b"HTTP/1.1", [], 400, 11, 0.0)

#: How a parser that knows nothing of escapes reads a combined line.
COMBINED = re.compile(
    rb'(?P<client>[^ ]+) - - \[(?P<time>[^\]]+)\] "(?P<request>[^"]*)"'
    rb' (?P<status>\d{3}) (?P<bytes>\d+) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)"\n'
)

VALUES = st.binary(max_size=60) | st.sampled_from(
    [b'" 200 0 "-" "-"\n1.2.3.4 - -', b"\r\n", b'\\"', b"\xff\x00\x1b[31m", b"-", b""]
)
NAMES = st.sampled_from(
    [b"User-Agent", b"Referer", b"X-Request-Id", b"Host", b"\xe9"]
) | st.binary(max_size=12)
ANSWERS = st.builds(
    AccessRecord,
    client=st.text(max_size=80),
    method=VALUES,
    target=VALUES,
    version=st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]),
    fields=st.lists(st.tuples(NAMES, VALUES), max_size=6),
    status=st.integers(100, 599) | st.just(0),
    sent=st.integers(0, 1 << 40),
    seconds=st.floats(0, 1e6),
)
HUGE = st.sampled_from([b"a", b"\xff", b'"', b"\x01", "\N{EURO SIGN}".encode()]).map(
    lambda each: each * 9000
)


class CombinedTests(SynchronousTestCase):
    """The format of NCSA's and Apache's servers."""

    def setUp(self) -> None:
        self.line = combined_lines(LONG)
        self.in_zone("UTC0")

    def in_zone(self, zone: str) -> None:
        """Set the local time zone for the test, as TZ names it."""
        before = os.environ.get("TZ")

        def back() -> None:
            os.environ.pop("TZ", None)
            if before is not None:
                os.environ["TZ"] = before
            time.tzset()

        self.addCleanup(back)
        os.environ["TZ"] = zone
        time.tzset()

    def test_usual(self) -> None:
        self.assertEqual(
            self.line(USUAL, NOW),
            b"203.0.113.7 - - [22/Nov/2026:22:54:17 +0000]"
            b' "GET /hello?name=world HTTP/1.1" 200 5'
            b' "https://example.org/" "curl/8.5.0"\n',
        )

    def test_nothing(self) -> None:
        """A hyphen stands for what is not there, also for what was no request."""
        self.assertTrue(self.line(BARE, NOW).endswith(b' 200 5 "-" "-"\n'))
        empty = [(b"Referer", b""), (b"User-Agent", b"")]
        self.assertEqual(
            self.line(USUAL._replace(fields=empty), NOW), self.line(BARE, NOW)
        )
        self.assertIn(b'] "-" 400 11 "-" "-"\n', self.line(NO_REQUEST, NOW))

    def test_no_response(self) -> None:
        """A status that other servers use for it."""
        line = self.line(BARE._replace(status=0, sent=0), NOW)
        self.assertIn(b'" 499 0 "', line)

    def test_repeated_fields(self) -> None:
        """The first one counts."""
        fields = [(b"Referer", b"a"), (b"REFERER", b"b")]
        self.assertIn(b' "a" "-"', self.line(USUAL._replace(fields=fields), NOW))

    def test_escapes(self) -> None:
        """All but printable ASCII, quotation marks and backslashes."""
        forged = USUAL._replace(
            client="a b\n",
            target=b'/"\\\r\n\x7f',
            fields=[(b"Referer", b"\xff"), (b"User-Agent", b'x" "y')],
        )
        line = self.line(forged, NOW)
        self.assertTrue(line.startswith(b"a\\x20b\\x0A - - ["))
        self.assertIn(b'"GET /\\x22\\x5C\\x0D\\x0A\\x7F HTTP/1.1"', line)
        self.assertTrue(line.endswith(b' "\\xFF" "x\\x22 \\x22y"\n'))

    def test_clock_moves(self) -> None:
        """Each second has a stamp of its own, also one that comes again."""
        stamps = [
            self.line(BARE, NOW + more).partition(b"]")[0][-14:-6]
            for more in (0, 0.5, 1, 0)
        ]
        self.assertEqual(stamps, [b"22:54:17", b"22:54:17", b"22:54:18", b"22:54:17"])

    def test_local_time(self) -> None:
        for zone, common_header_lines in (
            ("XXX-05:30", b"[23/Nov/2026:04:24:17 +0530]"),
            ("XXX+03:30", b"[22/Nov/2026:19:24:17 -0330]"),
        ):
            self.in_zone(zone)
            self.assertIn(common_header_lines, combined_lines(LONG)(BARE, NOW))

    @given(ANSWERS)
    def test_line_that_any_parser_reads(self, answered: AccessRecord) -> None:
        """Whatever clients send, there are these fields, and one line's end."""
        line = self.line(answered, NOW)
        self.assertTrue(line.isascii())
        found = COMBINED.fullmatch(line)
        assert found is not None, line
        self.assertEqual(int(found["status"]), answered.status or 499)
        self.assertEqual(int(found["bytes"]), answered.sent)
        if answered.method != b"-":
            self.assertEqual(
                re.sub(
                    rb"\\x(..)",
                    lambda code: bytes([int(code[1], 16)]),
                    found["request"],
                ),
                b" ".join((answered.method, answered.target, answered.version)),
            )


class JsonTests(SynchronousTestCase):
    """One object a line."""

    def setUp(self) -> None:
        self.line = json_lines(WorkerIdentity(slot=3, generation=2, pid=4242), LONG)

    def read(self, answered: AccessRecord, now: float = NOW) -> dict[str, Any]:
        """Return what a parser reads, having looked that it is one line."""
        line = self.line(answered, now)
        self.assertTrue(line.isascii())
        self.assertEqual(line.find(b"\n"), len(line) - 1)
        found: dict[str, Any] = json.loads(line)
        return found

    def test_usual(self) -> None:
        """The fields stand in this order."""
        self.assertEqual(
            list(self.read(USUAL).items()),
            [
                ("time", "2026-11-22T22:54:17.250Z"),
                ("client", "203.0.113.7"),
                ("method", "GET"),
                ("target", "/hello?name=world"),
                ("version", "HTTP/1.1"),
                ("status", 200),
                ("bytes", 5),
                ("complete", True),
                ("duration_ms", 1.234),
                ("referer", "https://example.org/"),
                ("user_agent", "curl/8.5.0"),
                ("slot", 3),
                ("generation", 2),
                ("pid", 4242),
                ("request_id", "7f3a-11"),
            ],
        )

    def test_nothing(self) -> None:
        """Every key is always there."""
        bare, no_request = self.read(BARE), self.read(NO_REQUEST)
        self.assertEqual(bare.keys(), self.read(USUAL).keys())
        self.assertEqual(no_request.keys(), bare.keys())
        for key in ("referer", "user_agent", "request_id"):
            self.assertIsNone(bare[key], key)
        for key in ("method", "target", "version"):
            self.assertIsNone(no_request[key], key)

    def test_no_response(self) -> None:
        self.assertEqual(self.read(BARE._replace(status=0))["status"], 499)

    def test_time(self) -> None:
        """The last millisecond of a second is not rounded up into the next."""
        self.assertEqual(self.read(BARE, NOW)["time"][-10:], ":54:17.250Z"[1:])
        late = self.read(BARE, 1795388057.9999)["time"]
        self.assertEqual(late, "2026-11-22T22:54:17.999Z")

    def test_request_ids(self) -> None:
        """Only what is sane is passed on: letters, digits and a few marks."""
        for value, wanted in (
            (b"a" * 128, "a" * 128),
            (b"a" * 129, None),
            (b"A1.b-c_d~", "A1.b-c_d~"),
            (b'a"b', None),
            (b"a b", None),
            (b"a\n", None),
            (b"", None),
        ):
            answered = USUAL._replace(fields=[(b"x-request-id", value)])
            self.assertEqual(self.read(answered)["request_id"], wanted, value)

    def test_bytes_that_are_no_text(self) -> None:
        """UTF-8 is read, and what is not UTF-8 is written out."""
        answered = USUAL._replace(target="/\N{EURO SIGN}".encode() + b"\xff\xe2\n")
        self.assertEqual(self.read(answered)["target"], "/\N{EURO SIGN}\\xff\\xe2\n")

    @given(ANSWERS)
    @example(USUAL._replace(client="\udcff"))
    def test_round_trip(self, answered: AccessRecord) -> None:
        """A parser reads what the client has sent, in one line."""
        found = self.read(answered)
        self.assertEqual(found["client"], answered.client)
        self.assertEqual(found["status"], answered.status or 499)
        self.assertEqual(found["bytes"], answered.sent)
        if answered.method not in {b"-", b""}:
            self.assertEqual(
                found["method"], answered.method.decode("utf-8", "backslashreplace")
            )
            self.assertEqual(
                found["target"] or "",
                answered.target.decode("utf-8", "backslashreplace"),
            )


class LengthTests(SynchronousTestCase):
    """Lines for a pipe, which does not mix what is no longer than `PIPE_BUF`."""

    lines = (
        combined_lines(PIPE_BUF),
        json_lines(WorkerIdentity(9999, 9999, 4194304), PIPE_BUF),
    )

    @given(
        target=HUGE,
        agent=HUGE,
        referer=HUGE,
        client=st.text(min_size=60, max_size=200),
        number=st.sampled_from([b"r" * 128, b"r" * 9000]),
    )
    @example(
        target=b"\x01" * 9000,
        agent=b"\x01" * 9000,
        referer=b"\x01" * 9000,
        client="\N{SNAKE}" * 200,
        number=b"r" * 128,
    )
    def test_longest(
        self, target: bytes, agent: bytes, referer: bytes, client: str, number: bytes
    ) -> None:
        """Whatever the values are made of."""
        fields = [
            (b"User-Agent", agent),
            (b"Referer", referer),
            (b"X-Request-Id", number),
        ]
        answered = AccessRecord(
            client, target, target, b"HTTP/1.1", fields, 200, 1 << 60, 1e6
        )
        for line in self.lines:
            written = line(answered, NOW)
            self.assertLessEqual(len(written), PIPE_BUF)
            self.assertEqual(written.count(b"\n"), 1)

    def test_what_is_cut(self) -> None:
        """As little as will do: values that are short stay as they are."""
        answered = USUAL._replace(target=b"/" + b"a" * 5000)
        combined, in_json = (line(answered, NOW) for line in self.lines)
        self.assertIn(b"GET /" + b"a" * 846 + b"... HTTP", combined)
        found = json.loads(in_json)
        self.assertEqual(found["target"], "/" + "a" * 846 + "...")
        self.assertEqual(found["user_agent"], "curl/8.5.0")
        self.assertEqual(found["request_id"], "7f3a-11")

    def test_request_id_is_never_cut(self) -> None:
        """Half of one would be another one."""
        fields = [(b"x-request-id", b"a" * 500), (b"user-agent", b"\x01" * 5000)]
        line = self.lines[1](USUAL._replace(fields=fields), NOW)
        self.assertIsNone(json.loads(line)["request_id"])
