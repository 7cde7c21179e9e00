"""
No regular expression, and no parser, takes more than linear time for what clients send.

All patterns of the package are listed in `tests.unit.patterns`: one that is not fails
the test, until somebody has said who writes the text that it is used on. Each on
clients' text is timed, and an analyser looks at all of them.
"""

import ast
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from time import thread_time
from timeit import repeat
from typing import Any, AnyStr

from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import parse_qs, stringToDatetime

from clusterapp.dispatch.cookies import SlotCookie
from clusterapp.dispatch.keys import AffinityKey
from clusterapp.http.access_log.access_formats import combined_lines
from clusterapp.http.access_log.access_record import AccessRecord
from clusterapp.http.application.form_parser import BadFormError, form_of
from clusterapp.http.connection_limits import Limits
from clusterapp.http.syntax.chunked_body import ChunkedReader
from clusterapp.http.syntax.message_head import end_to_end
from clusterapp.http.syntax.proxy_protocol import ProxyHeaderError
from clusterapp.http.syntax.proxy_protocol import read as read_proxy_header
from clusterapp.http.syntax.request_head import BadMessageError, HeadReader, check_start
from clusterapp.http.syntax.target_path import routed_path
from clusterapp.settings.endpoint_syntax import decimal
from clusterapp.web.clients.forwarded_header import (
    is_whole,
    parse_forwarded,
    parse_x_forwarded_for,
)
from clusterapp.web.clients.trusted_proxies import TrustedProxies
from clusterapp.web.request_paths import is_shown, segments_of
from clusterapp.web.routing import Routes
from clusterapp.web.static.accept_encoding import wanted
from clusterapp.web.static.conditional_requests import judge
from clusterapp.web.static.fingerprints import without_fingerprint
from clusterapp.web.static.range_requests import parse_ranges
from tests.unit.patterns import (
    CLIENTS,
    LIBRARIES,
    OPERATORS,
    compiled,
    patterns,
    patterns_in,
)
from tests.unit.web.sides import side_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports sre_parse
    from regexploit.ast.sre import SreOpParser
    from regexploit.redos import find

#: The length that is timed, and four times that.
LENGTH = 2048
#: Linear time is 4, quadratic 16; the first part of it is the same for any length.
MOST_GROWTH = 9.0
#: What one call may take whatever its length is, in seconds: less is not measured.
GRAIN = 20e-6
#: What no call takes for a few hundred bytes, on any machine, in seconds.
FAR_TOO_LONG = 0.02

#: What is repeated, before each of the ends.
PUMPS = (
    b" ", b"\t", b"a", b"0", b";", b",", b'"', b"\\", b"=", b":", b"/", b".", b"%",
    b"[", b"&", b"%41", b"a ", b"; ", b" ;", b", ", b"a=b;", b'"a",', b'";"', b'\\"',
    b"\r\n", b"a.", b"/a", b"::", b"a:1", b";a", b"W/", b"-", b"1-",
)  # fmt: skip
ENDS = (b"", b"\x01")


class Analysis(SreOpParser):  # type: ignore[misc]
    """What the analyser takes a pattern for, parts that never go back included."""

    def from_POSSESSIVE_REPEAT(self, data: Any) -> Any:
        # It matches in one way only. What is within it may still go back.
        return self.sequence_or_singleton(data[2])

    def from_ATOMIC_GROUP(self, data: Any) -> Any:
        return self.sequence_or_singleton(data)


def weaknesses(pattern: re.Pattern[Any]) -> list[Any]:
    """Return the weaknesses by which a pattern takes cubic time, or more."""
    source = pattern.pattern
    if isinstance(source, bytes):
        source = source.decode("latin-1")
    flags = pattern.flags & ~re.UNICODE
    # Flags may stand at the beginning alone.
    ended = source if source.startswith("(?m)") else f"(?:{source})$"
    return [
        each
        for text in (source, ended)
        for each in find(Analysis().parse_sre(text, flags))
        if each.starriness > 1
    ]


def seconds(use: Callable[[AnyStr], object], text: AnyStr) -> float:
    """Return the least time of a few calls, of this thread alone."""
    return min(repeat(lambda: use(text), timer=thread_time, number=1, repeat=3))


def growth(use: Callable[[Any], object], make: Callable[[int], Any]) -> float:
    """Return how many times longer four times the length takes."""
    short = max(seconds(use, make(LENGTH)), GRAIN)
    return max(seconds(use, make(4 * LENGTH)), GRAIN) / short


def is_linear(use: Callable[[Any], object], make: Callable[[int], Any]) -> bool:
    """Measure until nothing else kept the processor busy, or until it is certain."""
    # What is cubic would take for ever at full length.
    if seconds(use, make(LENGTH // 8)) > FAR_TOO_LONG:
        return False
    return any(growth(use, make) < MOST_GROWTH for _ in range(5))


def grows_too_much(use: Callable[[Any], object], make: Callable[[int], Any]) -> bool:
    """Measure until it is certain that something is not linear, on a busy machine."""
    if seconds(use, make(LENGTH // 8)) > FAR_TOO_LONG:
        return True
    return any(growth(use, make) >= MOST_GROWTH for _ in range(5))


def pumped(beginning: bytes, pump: bytes, end: bytes, length: int) -> bytes:
    """Write a text of about a length."""
    return beginning + pump * (length // len(pump)) + end


def texts(
    *beginnings: bytes, pumps: Sequence[bytes] = PUMPS, ends: Sequence[bytes] = ENDS
) -> Iterator[Callable[[int], bytes]]:
    """Yield ways to write long texts."""
    for beginning, pump, end in product(beginnings, pumps, ends):
        yield partial(pumped, beginning, pump, end)


def decoding(use: Callable[[str], object]) -> Callable[[bytes], object]:
    """Make a function of bytes of one of text."""
    return lambda text: use(text.decode("latin-1"))


def uses(name: str, how: str) -> Iterator[Callable[[bytes], object]]:
    """Yield functions that use the patterns of a name."""
    for pattern in compiled(name):
        method: Any = getattr(pattern, how)
        is_text = isinstance(pattern.pattern, str)
        if how == "sub":
            method = partial(method, "" if is_text else b"")
        yield decoding(method) if is_text else method


class PatternTests(SynchronousTestCase):
    """The patterns."""

    def test_every_pattern_is_listed(self) -> None:
        """One that is new must be said to be on clients' text, or not to be."""
        found = {pattern.name for pattern in patterns()}
        self.assertEqual(found - OPERATORS.keys() - CLIENTS.keys(), set())
        self.assertEqual((OPERATORS.keys() | CLIENTS.keys()) - found, set())
        self.assertEqual(OPERATORS.keys() & CLIENTS.keys(), set())

    def test_all_uses_are_found(self) -> None:
        """However a pattern is made."""
        code = (
            "A = re.compile('a')\nB: Final = {1: re.compile('b').search}\n"
            "def c(x):\n    y = re.sub('c', '', x)\n    return re.search('d', y)\n"
        )
        found = [
            (name, ast.literal_eval(at)) for name, at in patterns_in(ast.parse(code))
        ]
        self.assertEqual(
            found,
            [("A", "a"), ("B", "b"), ("c", "c"), ("c", "d")],
        )
        for hidden in ("from re import compile\n", "from re import sub as s\n"):
            with self.assertRaises(AssertionError):
                list(patterns_in(ast.parse(hidden)))

    def test_they_take_linear_time(self) -> None:
        """For any text that is repeated, with and without what makes them fail."""
        slow = [
            (name, make.args)  # type: ignore[attr-defined]
            for name, (how, beginning) in (CLIENTS | LIBRARIES).items()
            for use in uses(name, how)
            for make in texts(b"", beginning)
            if not is_linear(use, make)
        ]
        self.assertEqual(slow, [])

    def test_an_analyser_finds_nothing(self) -> None:
        """The analyser finds no weakness in any pattern."""
        found = {
            name: weak
            for name in (OPERATORS | CLIENTS | LIBRARIES)
            for pattern in compiled(name)
            if (weak := weaknesses(pattern))
        }
        self.assertEqual(found, {})

    def test_bad_ones_would_be_found(self) -> None:
        """By the analyser, and by the clock."""
        field = re.compile(rb"[a-z]+:[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
        for pattern in (
            field,
            re.compile(rb"(?:a*)*b"),
            re.compile(rb"(?:[ab]+,? *)*;"),
            re.compile(rb"(?:;a*a*a*b)*+"),
        ):
            self.assertTrue(weaknesses(pattern), pattern)
        spaces = partial(pumped, b"a:", b" ", b"\x01")
        self.assertTrue(grows_too_much(field.fullmatch, spaces))
        quadratic = re.compile(rb"[ \t]+;")
        blanks = partial(pumped, b"", b" ", b"")
        self.assertTrue(grows_too_much(quadratic.search, blanks))


LIMITS = Limits(request_line=10**6, head=10**6, fields=10**6)
FORMS = Limits(form_fields=10**9, form_size=10**9)
PEER = IPv4Address("TCP", "127.0.0.1", 5)
ROUTES = Routes(None, None, "/static/")
EVERYONE = TrustedProxies(["*"])
COOKIE = SlotCookie("c", b"secret")
LOG_LINE = combined_lines(2048)


def tolerant(use: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Wrap a parser, so that it returns None where it refuses its input."""

    def call(text: bytes) -> object:
        try:
            return use(text)
        except (
            BadFormError,
            BadMessageError,
            ProxyHeaderError,
            ValueError,
            LookupError,
        ):
            return None

    return call


def in_chunks(text: bytes) -> None:
    """Read a body, of one byte a chunk."""
    reader = ChunkedReader(10**6, 10**6)
    reader.feed(b"".join(b"1\r\n%c\r\n" % byte for byte in text))


def byte_by_byte(begins: bytes, text: bytes) -> None:
    """Read what comes in a body, as slowly as it can."""
    reader = ChunkedReader(10**6, 10**6)
    reader.feed(begins)
    for byte in text:
        reader.feed(bytes([byte]))


def head(text: bytes, form: bytes) -> None:
    """Read a head that has this text somewhere."""
    HeadReader(LIMITS).read(form.replace(b"?", text.replace(b"\r\n", b""), 1))


def logged(text: bytes) -> bytes:
    """Write a line of the access log."""
    fields = [(b"User-Agent", text), (b"Referer", text)]
    return LOG_LINE(
        AccessRecord("::1", b"GET", text, b"HTTP/1.1", fields, 200, 5, 0.1), 1e9
    )


#: What reads clients' bytes, with loops of its own or those of libraries.
PARSERS: dict[str, Callable[[bytes], object]] = {
    "chunks of one byte": in_chunks,
    "chunks byte by byte": partial(byte_by_byte, b""),
    "trailers": lambda text: ChunkedReader(10**6, 10**6).feed(
        b"0\r\nA: " + text + b"\r\n\r\n"
    ),
    "trailers byte by byte": partial(byte_by_byte, b"0\r\nA: "),
    "extensions": lambda text: ChunkedReader(10**6, 10**6).feed(
        b"5" + text + b"\r\nhello\r\n"
    ),
    "targets": partial(head, form=b"GET /? HTTP/1.1\r\nHost: h\r\n\r\n"),
    "absolute targets": partial(head, form=b"GET http://? HTTP/1.1\r\nHost: h\r\n\r\n"),
    "hosts": partial(head, form=b"GET / HTTP/1.1\r\nHost: ?\r\n\r\n"),
    "options": partial(
        head, form=b"GET / HTTP/1.1\r\nHost: h\r\nConnection: ?\r\n\r\n"
    ),
    "starts of heads": lambda text: check_start(text, LIMITS),
    "fields of one hop": lambda text: end_to_end([(b"Connection", text), (b"A", b"b")]),
    "queries": lambda text: parse_qs(text, 1),
    "forms": lambda text: form_of(b"application/x-www-form-urlencoded", text, FORMS),
    "types of forms": lambda text: form_of(b"multipart/form-data;" + text, b"", FORMS),
    "multipart forms": lambda text: form_of(
        b"multipart/form-data; boundary=b",
        b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n" + text + b"\r\n--b--",
        FORMS,
    ),
    "heads of parts": lambda text: form_of(
        b"multipart/form-data; boundary=b",
        b"--b\r\nContent-Disposition: form-data" + text + b"\r\n\r\n\r\n--b--",
        FORMS,
    ),
    "paths": segments_of,
    "paths of Klein": routed_path,
    "sides": lambda text: side_of(ROUTES, b"/" + text),
    "names of files": is_shown,
    "fingerprints": without_fingerprint,
    "ranges": lambda text: parse_ranges(b"bytes=" + text, 5),
    "entity tags": lambda text: judge({b"if-none-match": text}, b'"x"', b"x"),
    "dates": stringToDatetime,
    "encodings": wanted,
    "cookies": lambda text: AffinityKey("cookie", "a").find(b"/", [(b"Cookie", text)]),
    "signed cookies": COOKIE.slot,
    "keys in queries": lambda text: AffinityKey("query", "a").find(b"/?" + text, []),
    "Forwarded": decoding(lambda text: [*parse_forwarded(text)]),
    "ends of Forwarded": decoding(is_whole),
    "X-Forwarded-For": decoding(lambda text: [*parse_x_forwarded_for(text)]),
    "what is forwarded": lambda text: EVERYONE.forwarded(
        peer=PEER, secure=True, fields=[(b"Forwarded", text), (b"Host", b"h")]
    ),
    "whom it is for": lambda text: EVERYONE.client_of(
        PEER, [(b"X-Forwarded-For", text), (b"X-Forwarded-Proto", text)]
    ),
    "PROXY lines": lambda text: read_proxy_header(b"PROXY " + text, "auto"),
    "PROXY headers": lambda text: read_proxy_header(
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x0f\xf0" + text, "auto"
    ),
    "numbers": decoding(decimal),
    "lines of the access log": logged,
}


class ParserTests(SynchronousTestCase):
    """What stands around the patterns."""

    def test_they_take_linear_time(self) -> None:
        """For any text that is repeated."""
        slow = [
            (name, make.args)  # type: ignore[attr-defined]
            for name, parse in PARSERS.items()
            for make in texts(b"", pumps=PUMPS[::2], ends=ENDS[1:])
            if not is_linear(tolerant(parse), make)
        ]
        self.assertEqual(slow, [])
