"""
What is kept of what clients send is bounded in bytes, in every cache there is.

All caches of functions are listed here: one that is not fails the test, until somebody
has said what its keys are, and what bounds their length.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from sys import getsizeof

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import http_headers
from twisted.web.http_headers import Headers

from clusterapp.channel.stickiness import Stickiness
from clusterapp.dispatch import rendezvous
from clusterapp.dispatch.cookies import SlotCookie
from clusterapp.http.application import response_headers as headers
from clusterapp.http.connection_limits import LONGEST_NAME, Limits
from clusterapp.http.syntax import authority
from clusterapp.http.syntax.request_head import BadMessageError, HeadReader
from clusterapp.interfaces import Fields
from clusterapp.web.clients import forwarded_header as forwarded
from clusterapp.web.clients import trusted_proxies as proxies
from clusterapp.web.clients.client_slot import ClientSlot
from clusterapp.web.clients.trusted_proxies import TrustedProxies
from clusterapp.web.static import accept_encoding as encodings
from tests.unit.test_layers import MODULES, PACKAGE

#: Each cache, and what bounds the length of its keys.
CACHES = {
    "dispatch.cookies:SlotCookie._value": "numbers of slots, of six digits",
    "dispatch.keys:_cookie": "the name that the operator has chosen",
    "dispatch.rendezvous:_remembered": "128 bytes",
    "dispatch.rendezvous:_remembered_address": "an address",
    "dispatch.rendezvous:_salt": "numbers of slots there are",
    "dispatch.rendezvous:_scales": "numbers of slots there are",
    "http.access_log.access_formats:_word": "an address",
    "http.application.response_headers:_known_line": "128 bytes",
    "http.application.response_headers:_known_name": "64 bytes",
    "http.syntax.authority:_is_short_host": "256 bytes",
    "http.syntax.client_origin:_read_short": "256 bytes, only of workers",
    "http.syntax.status_line:_seconds": "64 bytes",
    "http.syntax.status_line:status_line": "a number",
    "web.clients.client_slot:ClientSlot._of_address": "an address",
    "web.static.accept_encoding:_remembered": "128 bytes",
    "web.clients.forwarded_header:_short_address": "64 characters",
    "web.pages.failure_page:_page": "no key: it is one page",
    "web.clients.trusted_proxies:TrustedProxies._seen": "an address",
    "web.clients.trusted_proxies:TrustedProxies._trusts": "an address",
    "web.clients.trusted_proxies:_cached_fields": "an address, and 260 bytes",
}

LONG = 8 * 1024
PEER = IPv4Address("TCP", "127.0.0.1", 5)


def is_cache(node: ast.AST) -> bool:
    """Return whether this is ``lru_cache``, ``cache``, or a call of one of them."""
    if isinstance(node, ast.Call):
        return is_cache(node.func)
    name = getattr(node, "attr", getattr(node, "id", ""))
    return name in {"cache", "lru_cache"} and isinstance(node, ast.Attribute | ast.Name)


def caches_in(tree: ast.AST, within: str = "") -> Iterator[str]:
    """Return the names of the functions that are cached."""
    for node in ast.iter_child_nodes(tree):
        inner = within
        if isinstance(node, ast.ClassDef):
            inner = f"{within}{node.name}."
        elif isinstance(node, ast.FunctionDef):
            if any(map(is_cache, node.decorator_list)):
                yield within + node.name
        elif isinstance(node, ast.Assign) and is_cache(node.value):
            target = node.targets[0]
            yield within + getattr(target, "attr", getattr(target, "id", "?"))
        yield from caches_in(node, inner)


def caches_of(path: Path) -> Iterator[str]:
    """Return the caches of a module, as `CACHES` names them."""
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for name in caches_in(ast.parse(path.read_text(encoding="utf-8"))):
        yield f"{module}:{name}"


class ListTests(SynchronousTestCase):
    """No cache is forgotten."""

    def test_every_cache_is_listed(self) -> None:
        """One that is new needs a bound in bytes, a line in the list and a test."""
        found = sorted(name for path in MODULES for name in caches_of(path))
        self.assertEqual(found, sorted(CACHES))

    def test_all_ways_to_make_one_are_seen(self) -> None:
        tree = ast.parse(
            "@lru_cache(5)\ndef a(): pass\n@functools.cache\ndef b(): pass\n"
            "class C:\n  def m(self): self.c = lru_cache(1)(f)\nd = cache(f)\n"
        )
        self.assertEqual(list(caches_in(tree)), ["a", "b", "C.c", "d"])


class HeadTests(SynchronousTestCase):
    """What readers of heads keep."""

    def setUp(self) -> None:
        self.reader = HeadReader(Limits())

    def read(self, host: bytes) -> None:
        self.reader.read(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")

    def test_hosts(self) -> None:
        """Long ones are looked at each time, whether they are hosts or not."""
        self.read(b"h")
        before = authority._is_short_host.cache_info().currsize
        for number in range(20):
            self.read(b"h%d" % number + b"a" * 12_000)
            with self.assertRaises(BadMessageError):
                self.read(b"/%d" % number + b"a" * 12_000)
        self.assertEqual(authority._is_short_host.cache_info().currsize, before)
        self.read(b"h.example.com:80")
        most = authority._is_short_host.cache_info().maxsize
        self.assertLessEqual(most or LONG, 1024)


class NameTests(SynchronousTestCase):
    """The names of fields, which Twisted's `Headers` keep for all instances."""

    def kept(self) -> int:
        """Return the bytes that are kept."""
        names = http_headers._nameEncoder._canonicalHeaderCache
        return getsizeof(names) + sum(
            getsizeof(text) for pair in names.items() for text in pair
        )

    def test_names(self) -> None:
        """However many there are, a few hundred KiB are kept."""
        made = Headers()
        for number in range(20_000):
            name = b"X-%d" % number + b"a" * (number % LONGEST_NAME)
            made.addRawHeader(name, b"1")
            made.getRawHeaders(name.decode())
        self.assertLess(self.kept(), 512 * 1024)

    def test_usual_names_are_kept(self) -> None:
        """Even when others have filled the cache."""
        names = http_headers._nameEncoder._canonicalHeaderCache
        for number in range(5_000):
            Headers().addRawHeader(b"X-%d" % number, b"1")
        Headers().addRawHeader(b"content-type", b"text/plain")
        self.assertEqual(names.get(b"content-type"), b"Content-Type")

    def test_long_names_are_written_alike(self) -> None:
        """Though they are not kept."""
        name = b"x-" + b"a" * 200
        written = b"X-A" + b"a" * 199
        for _ in range(2):
            made = Headers({name: [b"1"]})
            self.assertEqual(list(made.getAllRawHeaders()), [(written, [b"1"])])
            self.assertEqual(headers.canonical(name), (name, written))

    def test_lines_of_responses(self) -> None:
        """Long names and values are not kept, in whatever part the length is."""
        before = (
            headers._known_name.cache_info().currsize,
            headers._known_line.cache_info().currsize,
        )
        for number in range(20):
            for name, value in (
                (b"n%d" % number + b"a" * LONG, b""),
                (b"n", b"%d" % number + b"a" * LONG),
                ("n" * 100, f"{number}" + "a" * 100),
            ):
                lowered, line = headers.field_line(name, value)
                self.assertEqual(len(line), len(lowered) + len(value) + 4)
        after = (
            headers._known_name.cache_info().currsize,
            headers._known_line.cache_info().currsize,
        )
        self.assertLessEqual(after[0], before[0] + 1)  # "n" itself
        self.assertEqual(after[1], before[1])


class ClientTests(SynchronousTestCase):
    """What is kept of who clients are, and where they belong."""

    trusted = TrustedProxies(["127.0.0.1", "unix"])

    def names(self) -> Iterator[Fields]:
        """Return what clients may write, long and never the same."""
        for number in range(20):
            long = b"%d" % number + b"a" * LONG
            for name in (b"X-Forwarded-For", b"X-Forwarded-Host", b"Forwarded"):
                yield [(b"Host", b"h"), (name, long)]
                yield [(b"Host", b"h"), (name, b"for=" + long + b", 1.2.3.4%" + long)]
            yield [(b"Host", long)]

    def test_addresses(self) -> None:
        """They are addresses, whatever is written: of at most 45 characters."""
        before = forwarded._short_address.cache_info().currsize
        for fields in self.names():
            for peer in (PEER, UNIXAddress(None)):
                client = self.trusted.client_of(peer, fields)
                self.assertLessEqual(len(client or ""), 45)
                self.trusted.forwarded(peer=peer, secure=False, fields=fields)
        self.assertLessEqual(self.trusted._trusts.cache_info().currsize, 2)
        self.assertLessEqual(self.trusted._seen.cache_info().currsize, 2)
        after = forwarded._short_address.cache_info()
        self.assertLessEqual(after.currsize, before + 2)
        self.assertLessEqual(after.maxsize or LONG, 1024)

    def test_hosts(self) -> None:
        """What is said of a long one is written each time."""
        before = proxies._cached_fields.cache_info().currsize
        for fields in self.names():
            if len(fields) == 1:
                self.trusted.forwarded(peer=PEER, secure=False, fields=fields)
        self.assertEqual(proxies._cached_fields.cache_info().currsize, before)

    def test_keys(self) -> None:
        """The slot of a long key is found each time."""
        before = rendezvous._remembered.cache_info().currsize
        for number in range(20):
            slot = rendezvous.slot_of(b"%d" % number + b"a" * LONG, [1, 2])
            self.assertIn(slot, (1, 2))
        self.assertEqual(rendezvous._remembered.cache_info().currsize, before)

    def test_clients(self) -> None:
        """Only the slots of addresses are remembered."""
        how = Stickiness((), key="client-ip", slots=(1, 2), secret="")
        client_slot = ClientSlot(how, self.trusted)
        for fields in self.names():
            client_slot.slot(PEER, b"/", fields)
        self.assertLessEqual(client_slot._of_address.cache_info().currsize, 2)

    def test_cookies(self) -> None:
        """Only of a cookie that may be one is the signature made, of a short number."""
        cookie = SlotCookie("c", b"secret")
        for number in range(20):
            cookie.slot(b"9" * LONG + b"%d." % number + b"A" * 43)
            cookie.slot(b"1234567." + b"A" * 43)
        self.assertEqual(cookie._value.cache_info().currsize, 0)


class WebTests(SynchronousTestCase):
    """What is kept of what encodings clients want."""

    def test_encodings(self) -> None:
        """Of a long list nothing is remembered."""
        before = encodings._remembered.cache_info().currsize
        for number in range(20):
            encodings.wanted(b"gzip, x%d" % number + b"a" * LONG)
        self.assertEqual(encodings._remembered.cache_info().currsize, before)
