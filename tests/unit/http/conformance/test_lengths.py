"""Where a request's body ends: Content-Length and Transfer-Encoding."""

from tests.unit.http.wire import (
    ConformanceTestCase,
    Good,
    Row,
    bad,
    either,
    get,
    post,
    seen,
)

#: A body in chunks, read in the one right way.
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
HOST = (b"host", b"h")


def measured(value: bytes, body: bytes = b"hello") -> bytes:
    """Write a request with a ``Content-Length``."""
    return post(b"Content-Length:" + value, body=body)


def coded(*values: bytes) -> bytes:
    """Write a request with ``Transfer-Encoding`` lines, its body in chunks."""
    return post(*(b"Transfer-Encoding:" + value for value in values), body=CHUNKS)


def long(value: bytes, body: bytes = b"hello") -> Good:
    """Expect a body after a ``Content-Length``."""
    fields = [HOST, (b"content-length", value.strip())]
    return Good(measured(value, body), [seen(b"POST", b"/", fields, body)])


def decoded(value: bytes) -> Good:
    """Expect the decoded body after a ``Transfer-Encoding``."""
    fields = [HOST, (b"transfer-encoding", value.strip())]
    return Good(coded(value), [seen(b"POST", b"/", fields, b"hello")])


def fieldless(message: bytes, *fields: tuple[bytes, bytes]) -> Good:
    """Expect a request without a body."""
    return Good(message, [seen(b"POST", b"/", [HOST, *fields])])


LENGTHS = [
    long(b"5"),
    long(b" \t5\t "),
    long(b"005"),
    long(b"0" * 15 + b"5"),
    long(b"0", b""),
    long(b"000", b""),
    long(b"35", b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"),
    fieldless(post()),
    Good(
        get(b"Content-Length: 5") + b"hello",
        [seen(b"GET", b"/", [HOST, (b"content-length", b"5")], b"hello")],
    ),
    fieldless(post(b"Content_Length: 5"), (b"content_length", b"5")),
    fieldless(post(b"X-Content-Length: 5"), (b"x-content-length", b"5")),
]
#: What follows these is never looked at.
LAST = [
    Good(
        post(b"Connection: close", b"Content-Length: 5", body=b"hello"),
        [
            seen(
                b"POST",
                b"/",
                [HOST, (b"connection", b"close"), (b"content-length", b"5")],
                b"hello",
            )
        ],
        kept=False,
    ),
    Good(
        post(b"Connection: close", CHUNKED, body=CHUNKS),
        [
            seen(
                b"POST",
                b"/",
                [HOST, (b"connection", b"close"), (b"transfer-encoding", b"chunked")],
                b"hello",
            )
        ],
        kept=False,
    ),
    Good(
        b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
        [seen(b"POST", b"/", [(b"content-length", b"5")], b"hello")],
        kept=False,
    ),
]
NO_LENGTHS = bad(
    [
        measured(value)
        for value in (
            b"",
            b" ",
            b"+5",
            b"-5",
            b"-0",
            b"0x5",
            b"5 5",
            b"5\t5",
            b"5,5",
            b"5, 5",
            b"5,",
            b",5",
            b"5;",
            b"5.0",
            b"5e0",
            b"1_0",
            b"five",
            b'"5"',
            b"5\0",
            b"\x0b5",
            b"5\x0c",
            b"\xb5",
            b"\xd9\xa5",  # a digit of another script
            b"5\r",
        )
    ]
)
HUGE = bad(
    [measured(digit * count) for digit in (b"1", b"9") for count in (20, 40, 400)]
    + [measured(str(value).encode()) for value in (2**63, 2**64, 2**64 + 5, 2**32)],
    400,
    413,
)
REPEATED = bad(
    [
        post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
        post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"),
        post(b"Content-Length: 5", b"A: b", b"content-length: 0", body=b"hello"),
        post(b"Content-Length: 0", b"Content-Length: 5", body=b"hello"),
        post(b"Content-Length: 0", b"Content-Length: 0"),
        post(b"Content-Length: 5", b"Content-Length:", body=b"hello"),
    ]
)

CODINGS = [decoded(b"chunked"), decoded(b" Chunked "), decoded(b"CHUNKED")]
#: Names that a strict server does not take for the field.
OTHER_NAMES = [
    fieldless(post(b"Transfer_Encoding: chunked"), (b"transfer_encoding", b"chunked")),
    fieldless(post(b"TE: chunked"), (b"te", b"chunked")),
]
#: RFC 9112, section 6.3: chunked comes last, and once, or there is no end.
NO_CODINGS = bad(
    [
        coded(value)
        for value in (
            b"",
            b"identity",
            b"gzip",
            b"gzip, chunked",
            b"gzip,chunked",
            b"chunked, gzip",
            b"chunked, identity",
            b"identity, chunked",
            b"chunked, chunked",
            b"chunked,chunked",
            b"chunked;q=1",
            b"chunked; a=b",
            b"xchunked",
            b"chunkedx",
            b"chunke",
            b"chun ked",
            b"chunked chunked",
            b"\x0bchunked",
            b"chunked\x0c",
            b'"chunked"',
            b"'chunked'",
            b"chunked\0",
            b"chunked\xa0",
            b"\xe2\x84\xaachunked",
            b"chunked\r",
            b"5",
        )
    ],
    400,
    501,
)
#: RFC 9110, sections 5.5 and 5.6.1.2, has these read; llhttp does not.
ODD_CODINGS = either(
    [decoded(value) for value in (b",chunked", b"chunked,", b"chunked\t")], 400, 501
)
TWO_LINES = bad(
    [
        coded(b"chunked", b"chunked"),
        coded(b"chunked", b"identity"),
        coded(b"identity", b"chunked"),
        coded(b"gzip", b"chunked"),
        coded(b"chunked", b"gzip"),
        coded(b"", b"chunked"),
        coded(b"chunked", b""),
    ],
    400,
    501,
)
BOTH = bad(
    [
        post(CHUNKED, b"Content-Length: 15", body=CHUNKS),
        post(b"Content-Length: 15", CHUNKED, body=CHUNKS),
        post(b"Content-Length: 0", CHUNKED, body=CHUNKS),
        post(CHUNKED, b"A: b", b"content-length: 5", body=CHUNKS),
        post(b"Transfer-Encoding: identity", b"Content-Length: 5", body=b"hello"),
        post(b"Transfer-Encoding:", b"Content-Length: 5", body=b"hello"),
        post(b"Content-Length: x", CHUNKED, body=CHUNKS),
        post(b"Content-Length:", CHUNKED, body=CHUNKS),
    ],
    400,
    501,
)
#: RFC 9112, section 6.1: HTTP/1.0 knows no chunks.
OLD = bad(
    [
        b"POST / HTTP/1.0\r\nHost: h\r\n" + CHUNKED + b"\r\n\r\n" + CHUNKS,
        b"POST / HTTP/1.0\r\n" + CHUNKED + b"\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\n"
        + CHUNKED
        + b"\r\n\r\n"
        + CHUNKS,
        b"GET / HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n",
    ],
    400,
    501,
)

ROWS: list[Row] = [
    *LENGTHS,
    *LAST,
    *NO_LENGTHS,
    *HUGE,
    *REPEATED,
    *CODINGS,
    *OTHER_NAMES,
    *NO_CODINGS,
    *ODD_CODINGS,
    *TWO_LINES,
    *BOTH,
    *OLD,
]


class ContentLengthTests(ConformanceTestCase):
    """RFC 9110, section 8.6."""

    def test_body_is_as_long_as_announced(self) -> None:
        """What is in it, is no request."""
        self.assert_handled(LENGTHS)

    def test_nothing_follows_the_last_body(self) -> None:
        """What comes after it, is not answered."""
        self.assert_handled(LAST)

    def test_length_is_digits_only(self) -> None:
        """No sign, no list, no other base."""
        self.assert_handled(NO_LENGTHS)

    def test_huge_length_does_not_overflow(self) -> None:
        """It is too much, in any arithmetic."""
        self.assert_handled(HUGE)

    def test_length_is_said_once(self) -> None:
        """Even the same again tells that somebody on the way is confused."""
        self.assert_handled(REPEATED)


class TransferEncodingTests(ConformanceTestCase):
    """RFC 9112, section 6."""

    def test_chunked_is_decoded(self) -> None:
        """Its case does not count."""
        self.assert_handled(CODINGS)

    def test_other_fields_do_not_frame(self) -> None:
        """Names are compared whole."""
        self.assert_handled(OTHER_NAMES)

    def test_other_codings_are_refused(self) -> None:
        """Chunked comes once, and alone."""
        self.assert_handled(NO_CODINGS)

    def test_odd_lists_change_nothing(self) -> None:
        """An empty element or a tab is skipped or refused."""
        self.assert_handled(ODD_CODINGS)

    def test_lines_count_together(self) -> None:
        """None of them is looked at alone."""
        self.assert_handled(TWO_LINES)

    def test_both_are_refused(self) -> None:
        """Both framings in one request are refused: parsers differ in which holds."""
        self.assert_handled(BOTH)

    def test_http_1_0_has_none(self) -> None:
        """What an old proxy does not know, it passes on as it is."""
        self.assert_handled(OLD)
