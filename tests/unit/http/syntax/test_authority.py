"""The authority of URLs, from whatever a client calls its host."""

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.syntax.authority import (
    _is_short_host,
    authority,
    is_host,
    port_of,
    split_host,
)


class AuthorityTests(SynchronousTestCase):
    """Host fields, good and odd."""

    def test_split(self) -> None:
        for value, parts in (
            (b"", (b"", b"")),
            (b"a", (b"a", b"")),
            (b"a:80", (b"a", b"80")),
            (b"a:", (b"a", b"")),
            (b":80", (b"", b"80")),
            (b"[::1]", (b"::1", b"")),
            (b"[::1]:80", (b"::1", b"80")),
            (b"::1", (b"::1", b"")),
            (b"[", (b"", b"")),
        ):
            self.assertEqual(split_host(value), parts, value)

    def test_authority(self) -> None:
        """The client's word; without one, the listener, with its port if need be."""
        for value, scheme, host, port, expected in (
            (b"a", b"http", "1.2.3.4", 8080, b"a"),
            (b"a:443", b"http", "1.2.3.4", 8080, b"a:443"),
            (b"[::1]:8", b"http", "1.2.3.4", 80, b"[::1]:8"),
            (b"::1", b"http", "1.2.3.4", 80, b"[::1]"),
            (b"", b"http", "1.2.3.4", 80, b"1.2.3.4"),
            (None, b"http", "1.2.3.4", 443, b"1.2.3.4:443"),
            (None, b"https", "::1", 443, b"[::1]"),
            (b":9", b"https", "fe80::1%eth0", 80, b"[fe80::1]:80"),
        ):
            self.assertEqual(authority(value, scheme, host, port), expected)

    def test_port(self) -> None:
        for value, scheme, port in (
            (b"a:81", b"http", 81),
            (b"a", b"https", 443),
            (b"[::1]", b"http", 80),
            (None, b"http", 80),
            (b"a:" + b"9" * 5000, b"http", 80),
        ):
            self.assertEqual(port_of(value, scheme), port)

    def test_long_hosts_are_not_remembered(self) -> None:
        """What is kept of clients' hosts has a bound in bytes."""
        before = _is_short_host.cache_info().currsize
        self.assertTrue(is_host(b"a" * 5000))
        self.assertFalse(is_host(b"a b" * 5000))
        self.assertEqual(_is_short_host.cache_info().currsize, before)
        self.assertTrue(is_host(b"[::1]:80"))
        self.assertFalse(is_host(b"a@b"))
