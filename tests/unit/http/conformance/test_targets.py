"""Request targets, and the host that they are asked of."""

from typing import NamedTuple

from twisted.web.server import Request

from tests.unit.http.wire import (
    Application,
    ConformanceTestCase,
    Conversation,
    Good,
    Row,
    bad,
    either,
    message,
    seen,
)

HOST = b"Host: h"


def ask(target: bytes, method: bytes = b"GET") -> bytes:
    """Write a request for a target."""
    return message(method + b" " + target + b" HTTP/1.1", HOST)


def taken(target: bytes) -> Good:
    """Expect a target to be seen byte for byte."""
    return Good(ask(target), [seen(b"GET", target, [(b"host", b"h")])])


def hosted(value: bytes) -> bytes:
    """Write a request with a ``Host``."""
    return message(b"GET / HTTP/1.1", b"Host:" + value)


def taken_host(value: bytes) -> Good:
    """Expect a ``Host`` to be seen as it is."""
    return Good(hosted(value), [seen(b"GET", b"/", [(b"host", value.strip())])])


ORIGIN = [
    taken(target)
    for target in (
        b"/",
        b"//",
        b"//evil.example/a",
        b"/a/../b/./c",
        b"/a%2Fb%00%zz%",
        b"/?",
        b"/a?b=c&d=/e?f",
        b"/:80",
        b"/http://example.com/",
        b"/*",
        b"/-._~!$&'()*+,;=:@",
        b"/" + b"a" * 4096,
    )
]
#: RFC 3986 has none of these in a path or query; browsers send some of them.
UNWISE = either([taken(b"/a?" + bytes([char])) for char in b'"<>[]\\^`{|}'])
NO_TARGETS = bad(
    [
        ask(target)
        for target in (
            b"/a#b",
            b"/#",
            b"/?a#b",
            b"/a b",
            b"/a\tb",
            b"/\x01",
            b"/\x1f",
            b"/\x7f",
            b"/\0",
            b"/\x0b",
            b"/\x0c",
            b"/caf\xe9",
            b"/\xc3\xa9",
            b"/?\xff",
            b"a",
            b"a/b",
            b"?a",
            b"\\a",
            b".",
            b":80",
            b"h:80",
            b"http:/a",
            b"http:a",
            b"://h/",
            b"*/",
            b"**",
        )
    ]
)
#: Only OPTIONS asks about the server itself (RFC 9112, section 3.2.4).
STARS = bad([ask(b"*", method) for method in (b"GET", b"POST", b"DELETE")])
#: Only proxies serve CONNECT, and only it has this form (section 3.2.3).
AUTHORITIES = bad(
    [ask(target, b"CONNECT") for target in (b"h:443", b"h", b"/", b"*", b"http://h/")],
    400,
    405,
    501,
)
#: RFC 9110, sections 4.2.1 and 4.2.4; RFC 9112, section 3.2.2.
NO_URLS = bad(
    [
        ask(target)
        for target in (
            b"http:///a",
            b"http://",
            b"http://:80/a",
            b"http://user@h/",
            b"http://user:pass@h/",
            b"http://h:x/",
            b"http://h:80:80/",
            b"http://[::1/",
            b"http://h/#a",
            b"http://h h/",
            b"http://h\\a/",
            b"http://h/\xe9",
        )
    ]
)
SCHEMES = bad([ask(b"ftp://h/"), ask(b"foo://h/")], 400, 421)

HOSTS = [
    taken_host(value)
    for value in (
        b"h",
        b" h ",
        b"\th\t",
        b"",
        b" ",
        b"example.com:8080",
        b"example.com:",
        b"127.0.0.1",
        b"[::1]",
        b"[::1]:80",
        b"a_b-c.d~e",
        b"a%41",
        b"xn--bcher-kva.example",
    )
]
NO_HOSTS = bad(
    [
        hosted(value)
        for value in (
            b"a b",
            b"a\tb",
            b"a, b",
            b"a/b",
            b"a?b",
            b"a#b",
            b"a\\b",
            b"user@h",
            b"user:pass@h",
            b"h:x",
            b"h:80:80",
            b"h:-1",
            b"[::1",
            b"::1",
            b"[::1]x",
            b"[h]",
            b"[::1<x>]",
            b'[::1"]',
            b"[]",
            b"a%zz",
            b"a%",
            b'"h"',
            b"<h>",
            b"caf\xe9",
            b"h\x01",
            b"h\0",
            b"http://h",
        )
    ]
)
#: RFC 9112, section 3.2.
HOST_COUNTS = bad(
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHostess: h\r\n\r\n",
        b"GET http://h/ HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\nhost: i\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\nHost: h\r\n\r\n",
        b"GET http://h/ HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n",
    ]
)
HOSTLESS = [Good(b"GET / HTTP/1.0\r\n\r\n", [seen(b"GET", b"/", [])], kept=False)]

ROWS: list[Row] = [
    *ORIGIN,
    *UNWISE,
    *NO_TARGETS,
    *STARS,
    *AUTHORITIES,
    *NO_URLS,
    *SCHEMES,
    *HOSTS,
    *NO_HOSTS,
    *HOST_COUNTS,
    *HOSTLESS,
]


class TargetTests(ConformanceTestCase):
    """RFC 9112, section 3.2."""

    def test_origin_form_is_seen_byte_for_byte(self) -> None:
        """Nothing is decoded, resolved or joined on the way."""
        self.assert_handled(ORIGIN)

    def test_unwise_characters_are_seen_as_they_are(self) -> None:
        """They are refused, or else nobody writes them anew."""
        self.assert_handled(UNWISE)

    def test_other_characters_and_forms_are_refused(self) -> None:
        """A fragment, a control, or what begins with no slash."""
        self.assert_handled(NO_TARGETS)

    def test_asterisk_is_for_options(self) -> None:
        """No resource is called so."""
        self.assert_handled(STARS)

    def test_there_are_no_tunnels(self) -> None:
        """We are no proxy."""
        self.assert_handled(AUTHORITIES)

    def test_urls_are_checked(self) -> None:
        """An absolute form has a host, and no user or fragment."""
        self.assert_handled(NO_URLS)

    def test_other_schemes_are_refused(self) -> None:
        """What is asked of another protocol is not ours to answer."""
        self.assert_handled(SCHEMES)


class HostTests(ConformanceTestCase):
    """RFC 9110, section 7.2, and RFC 9112, section 3.2."""

    def test_hosts_and_ports_are_taken(self) -> None:
        """Both may be empty."""
        self.assert_handled(HOSTS)

    def test_other_values_are_refused(self) -> None:
        """An application makes URLs of it."""
        self.assert_handled(NO_HOSTS)

    def test_there_is_exactly_one(self) -> None:
        """Two could be read in two ways."""
        self.assert_handled(HOST_COUNTS)

    def test_http_1_0_needs_none(self) -> None:
        """It did not know the field yet."""
        self.assert_handled(HOSTLESS)


class Absolute(NamedTuple):
    """A URL as target, with what it comes down to."""

    target: bytes
    path: bytes
    host: bytes
    args: dict[bytes, list[bytes]]


class Noting(Application):
    """Remembers where requests say they go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[bytes, bytes, dict[bytes, list[bytes]]]] = []

    def render(self, request: Request) -> bytes:
        assert request.args is not None
        self.asked.append((request.path, request.getRequestHostname(), request.args))
        return b"ok"


class AbsoluteTests(ConformanceTestCase):
    """RFC 9112, section 3.2.2: what a client says to a proxy, a server takes too."""

    def assert_asked(self, request: bytes, expected: Absolute) -> None:
        noting = Noting()
        conversation = Conversation(application=noting)
        conversation.send([request])
        self.assertEqual(noting.asked, [expected[1:]], request)
        self.assertEqual(conversation.outcome().statuses, [200])
        conversation.hang_up()

    def test_path_and_query_are_those_of_the_url(self) -> None:
        """An application sees no difference to the origin form."""
        for expected in (
            Absolute(b"http://h/", b"/", b"h", {}),
            Absolute(b"http://h", b"/", b"h", {}),
            Absolute(b"HTTP://h/a/b", b"/a/b", b"h", {}),
            Absolute(b"http://h:80/a?b=c", b"/a", b"h", {b"b": [b"c"]}),
            Absolute(b"http://h?b=c", b"/", b"h", {b"b": [b"c"]}),
        ):
            self.assert_asked(ask(expected.target), expected)

    def test_host_of_the_url_counts(self) -> None:
        """The field is ignored, as a proxy on the way may not have mended it."""
        expected = Absolute(b"http://example.com/a", b"/a", b"example.com", {})
        self.assert_asked(ask(expected.target), expected)

    def test_options_of_the_server_itself(self) -> None:
        """The server is there, and goes on."""
        conversation = Conversation()
        conversation.send([ask(b"*", b"OPTIONS"), ask(b"/")])
        statuses = [reply.status // 100 for reply in conversation.replies()]
        self.assertEqual(statuses, [2, 2])
        conversation.hang_up()
