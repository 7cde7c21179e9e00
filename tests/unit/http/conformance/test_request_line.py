"""Request lines: how they begin and end, their methods and versions."""

from tests.unit.http.wire import (
    FOLLOWER,
    ConformanceTestCase,
    Conversation,
    Good,
    Row,
    Seen,
    bad,
    get,
    message,
    seen,
)

HOST = b"Host: h"
PLAIN = seen(b"GET", b"/", [(b"host", b"h")])
#: Every character that a token may have (RFC 9110, section 5.6.2).
TOKEN = b"!#$%&'*+-.^_`|~09azAZ"


def line(text: bytes) -> bytes:
    """Write a request with this line."""
    return message(text, HOST)


def with_method(method: bytes) -> Seen:
    """Note a plain request with another method."""
    return PLAIN._replace(method=method)


#: RFC 9112, section 2.2, asks to skip an empty line or more before a request.
LEADING = [Good(b"\r\n" * count + get(), [PLAIN]) for count in (1, 2)]
SHAPES = bad(
    [
        line(b"GET  / HTTP/1.1"),
        line(b"GET /  HTTP/1.1"),
        line(b"GET\t/ HTTP/1.1"),
        line(b"GET /\tHTTP/1.1"),
        line(b"GET\x0b/ HTTP/1.1"),
        line(b"GET / HTTP/1.1 "),
        line(b"GET / HTTP/1.1\t"),
        line(b" GET / HTTP/1.1"),
        line(b"\tGET / HTTP/1.1"),
        line(b"GET/ HTTP/1.1"),
        line(b"GET / / HTTP/1.1"),
        line(b"GET HTTP/1.1"),
        line(b"GET  HTTP/1.1"),
        line(b"/ HTTP/1.1"),
        line(b"HTTP/1.1 200 OK"),
        line(b"\0"),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS
    ]
)
#: RFC 9112, section 2.2: a bare CR is an error, and we take no bare LF either.
LINE_ENDS = bad(
    [
        b"GET / HTTP/1.1\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\nHost: h\n\n",
        b"GET / HTTP/1.1\r\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\n",
        b"GET / HTTP/1.1\r\nHost: h\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n",
        b"GET /\rX HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /\nX HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\rGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\r\n\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ]
)
UNFINISHED = bad(
    [
        b"GET / HTTP/1.1\rHost: h\r\r",
        b"GET / HTTP/1.1\r\nHost: h\r\n\rX",
        b"GET / HTTP/1.1\r\nHost: h\r\r",
    ],
    waits=True,
)
SIMPLE = [
    *bad([b"GET /\r\n\r\n", b"GET\r\n\r\n"], 400, 505),
    *bad([b"GET /\r\n"], 400, 505, waits=True),
]

KNOWN = [
    Good(line(method + b" / HTTP/1.1"), [with_method(method)])
    for method in (b"DELETE", b"GET", b"OPTIONS", b"PATCH", b"POST", b"PUT")
]
#: RFC 9110, section 9.1: methods are tokens in which case counts.
UNKNOWN = bad(
    [
        line(method + b" / HTTP/1.1")
        for method in (b"get", b"Get", b"GETX", b"GE", b"X", b"A" * 40, TOKEN)
    ],
    501,
)
NO_METHODS = bad(
    [
        line(method + b" / HTTP/1.1")
        for method in (
            b"G@T",
            b"GET(",
            b"GET/1",
            b"G\xc9T",
            b'"GET"',
            b"GET:",
            b"GET,PUT",
            b"[GET]",
            b"G\\T",
            b"G\0T",
            b"G\x01T",
            b"GET\x7f",
            b"{GET}",
        )
    ]
)

NO_VERSIONS = bad(
    [
        line(b"GET / " + version)
        for version in (
            b"http/1.1",
            b"Http/1.1",
            b"HTTP/1",
            b"HTTP/1.",
            b"HTTP/.1",
            b"HTTP/1.1x",
            b"HTTP/1,1",
            b"HTTP/1.10",
            b"HTTP/11",
            b"HTTP/11.1",
            b"HTTP/01.1",
            b"HTTP/+1.1",
            b"HTTP/1. 1",
            b"HTTP/1.1\0",
            b"HTTP /1.1",
            b"HTTP\\1.1",
            b"HTPP/1.1",
            b"HTTPS/1.1",
            b"ICE/1.0",
            b"RTSP/1.0",
            b"1.1",
            b"HTTP/a.b",
            b"HTTP/\xb9.1",
        )
    ],
    400,
)
#: RFC 9110, section 2.5: they are read as the highest minor version that we know.
LATER_VERSIONS = [
    Good(
        message(b"POST / HTTP/1." + minor, *lines, body=body),
        [Seen(b"POST", b"/", fields, b"hello")],
    )
    for minor in (b"2", b"9")
    for lines, fields, body in (
        (
            [b"Host: h", b"Content-Length: 5"],
            [(b"content-length", b"5"), (b"host", b"h")],
            b"hello",
        ),
        (
            [b"Host: h", b"Transfer-Encoding: chunked"],
            [(b"host", b"h"), (b"transfer-encoding", b"chunked")],
            b"5\r\nhello\r\n0\r\n\r\n",
        ),
    )
]
#: As HTTP/1.1, they must have a Host.
LATER_WITHOUT_HOST = bad([b"GET / HTTP/1.2\r\n\r\n", b"GET / HTTP/1.9\r\nA: b\r\n\r\n"])
#: RFC 9110, section 15.6.6.
OTHER_VERSIONS = bad(
    [line(b"GET / HTTP/" + version) for version in (b"0.9", b"2.0", b"3.0", b"9.9")]
    + [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"],
    505,
)

ROWS: list[Row] = [
    *LEADING,
    *SHAPES,
    *LINE_ENDS,
    *UNFINISHED,
    *SIMPLE,
    *KNOWN,
    *UNKNOWN,
    *NO_METHODS,
    *NO_VERSIONS,
    *LATER_VERSIONS,
    *LATER_WITHOUT_HOST,
    *OTHER_VERSIONS,
]


class RequestLineTests(ConformanceTestCase):
    """RFC 9112, section 3."""

    def test_empty_lines_before_a_request_are_skipped(self) -> None:
        """Some clients send a line end too much after a body."""
        self.assert_handled(LEADING)

    def test_parts_are_separated_by_single_spaces(self) -> None:
        """Other white space, or more of it, could be read in two ways."""
        self.assert_handled(SHAPES)

    def test_lines_end_with_both_characters(self) -> None:
        """A bare CR or LF ends a line for some, and does not for others."""
        self.assert_handled(LINE_ENDS)

    def test_bare_returns_end_nothing(self) -> None:
        """There may be more to come, which does not make it better."""
        self.assert_handled(UNFINISHED)

    def test_simple_requests_are_refused(self) -> None:
        """HTTP/0.9 has been gone for long."""
        self.assert_handled(SIMPLE)


class MethodTests(ConformanceTestCase):
    """RFC 9110, section 9."""

    def test_common_methods_reach_the_application(self) -> None:
        """The application says which of them it allows."""
        self.assert_handled(KNOWN)

    def test_unknown_methods_are_not_implemented(self) -> None:
        """In another case it is another method."""
        self.assert_handled(UNKNOWN)

    def test_methods_are_tokens(self) -> None:
        """What is no token is no method."""
        self.assert_handled(NO_METHODS)


class VersionTests(ConformanceTestCase):
    """RFC 9110, section 2.5, and RFC 9112, section 2.3."""

    def test_version_is_spelt_exactly(self) -> None:
        """Upper case, one digit, a point and one digit."""
        self.assert_handled(NO_VERSIONS)

    def test_later_minor_versions_are_read_as_the_last_one(self) -> None:
        """Of the same major version, nothing that matters here changes."""
        self.assert_handled(LATER_VERSIONS)
        self.assert_handled(LATER_WITHOUT_HOST)

    def test_later_minor_versions_keep_the_connection(self) -> None:
        """The answer is of HTTP/1.1, and another request may follow."""
        conversation = Conversation()
        conversation.send([line(b"GET / HTTP/1.2") + FOLLOWER])
        self.assertEqual(conversation.outcome().statuses, [200, 200])
        self.assertFalse(conversation.ended)
        self.assertEqual(conversation.client.received.count(b"HTTP/1.1 200 "), 2)

    def test_other_versions_are_refused(self) -> None:
        """The client is told that it is the version that we do not speak."""
        self.assert_handled(OTHER_VERSIONS)
