"""Which peers are trusted about the client, and what the core is sent."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import SettingsError
from clusterapp.interfaces import Fields
from clusterapp.web.clients.forwarded_header import parse_forwarded
from clusterapp.web.clients.trusted_proxies import TrustedProxies

UNIX = UNIXAddress(None)


def tcp(host: str) -> IAddress:
    """Make the address of a peer."""
    kind = IPv6Address if ":" in host else IPv4Address
    return kind("TCP", host, 40000)


class TrustTests(SynchronousTestCase):
    """Entries are addresses, networks, ``unix`` and ``*``."""

    def assert_trusts(self, entries: list[str], *addresses: str | None) -> None:
        for address in addresses:
            self.assertTrue(TrustedProxies(entries).trusts(address), address)

    def assert_distrusts(self, entries: list[str], *addresses: str | None) -> None:
        for address in addresses:
            self.assertFalse(TrustedProxies(entries).trusts(address), address)

    def test_nobody(self) -> None:
        self.assert_distrusts([], "127.0.0.1", "::1", None)

    def test_addresses(self) -> None:
        entries = ["127.0.0.1", "2001:DB8::1"]
        self.assert_trusts(entries, "127.0.0.1", "2001:db8:0::1")
        self.assert_distrusts(entries, "127.0.0.2", "2001:db8::2", None)

    def test_networks(self) -> None:
        entries = [" 10.0.0.0/8 ", "192.168.1.7/24", "fe80::/10"]
        self.assert_trusts(entries, "10.1.2.3", "192.168.1.200", "fe80::1%eth0")
        self.assert_distrusts(entries, "11.0.0.1", "192.168.2.1", "2001:db8::1")

    def test_unix(self) -> None:
        self.assert_trusts(["unix"], None)
        self.assert_distrusts(["unix"], "127.0.0.1", "unix")

    def test_everyone(self) -> None:
        self.assert_trusts(["*"], "192.0.2.1", "2001:db8::1", None, "nonsense")

    def test_mapped_addresses_are_ipv4(self) -> None:
        """A socket for both kinds reports IPv4 peers as ``::ffff:``."""
        self.assert_trusts(["10.0.0.0/8"], "::ffff:10.0.0.1", "::ffff:a00:1")
        self.assert_trusts(["::ffff:10.0.0.0/104"], "10.9.9.9", "::ffff:10.0.0.1")
        self.assert_distrusts(["::ffff:10.0.0.0/104"], "11.0.0.1")
        self.assert_distrusts(["::/8"], "10.0.0.1")

    def test_what_is_no_address(self) -> None:
        self.assert_distrusts(
            ["0.0.0.0/0", "::/0", "unix"], "", "unknown", "example.com"
        )

    def test_wrong_entries_are_named(self) -> None:
        for entry in ("localhost", "10.0.0.0/33", "10.0.0", "", "UNIX"):
            error = self.assertRaises(SettingsError, TrustedProxies, ["::1", entry])
            self.assertIn(f"trusted_proxies: {entry!r}", str(error))


class ClientTests(SynchronousTestCase):
    """The client is the right-most address that is not trusted."""

    def client(self, peer: IAddress, *fields: tuple[bytes, bytes]) -> str | None:
        proxies = TrustedProxies(["10.0.0.0/8", "unix"])
        return proxies.client_of(peer, fields)

    def test_a_stranger_is_the_client(self) -> None:
        """Whatever it says."""
        said = (b"X-Forwarded-For", b"192.0.2.1")
        self.assertEqual(self.client(tcp("198.51.100.1"), said), "198.51.100.1")
        self.assertEqual(self.client(tcp("::ffff:198.51.100.1"), said), "198.51.100.1")

    def test_behind_a_proxy(self) -> None:
        said = (b"x-forwarded-FOR", b"192.0.2.66, 198.51.100.1, 10.0.0.2")
        for peer in (tcp("10.0.0.1"), UNIX):
            self.assertEqual(self.client(peer, said), "198.51.100.1")

    def test_lines_are_one_list(self) -> None:
        said = [
            (b"X-Forwarded-For", b"198.51.100.1"),
            (b"X-Forwarded-For", b"10.0.0.2"),
        ]
        self.assertEqual(self.client(UNIX, *said), "198.51.100.1")

    def test_forwarded(self) -> None:
        said = (b"Forwarded", b'for=192.0.2.66, for="[2001:db8::1]:99";proto=https')
        self.assertEqual(self.client(UNIX, said), "2001:db8::1")

    def test_x_forwarded_for_is_believed_first(self) -> None:
        said = [(b"Forwarded", b"for=192.0.2.66"), (b"X-Forwarded-For", b"192.0.2.1")]
        self.assertEqual(self.client(UNIX, *said), "192.0.2.1")

    def test_all_are_trusted(self) -> None:
        said = (b"X-Forwarded-For", b"10.0.0.3, 10.0.0.2")
        self.assertEqual(self.client(tcp("10.0.0.1"), said), "10.0.0.3")
        self.assertEqual(self.client(tcp("10.0.0.1")), "10.0.0.1")

    def test_nobody_knows(self) -> None:
        """A hop that does not tell is not guessed behind."""
        self.assertIsNone(self.client(UNIX))
        for hidden in (b"unknown", b"_x", b"192.0.2.1, garbage"):
            self.assertIsNone(self.client(UNIX, (b"X-Forwarded-For", hidden)), hidden)


class ForwardingTests(SynchronousTestCase):
    """The four fields that tell the core about the client."""

    def setUp(self) -> None:
        self.proxies = TrustedProxies(["10.0.0.0/8", "unix"])

    def forwarded(
        self, peer: IAddress, *fields: tuple[bytes, bytes], secure: bool = False
    ) -> Fields:
        return list(self.proxies.forwarded(peer=peer, secure=secure, fields=fields))

    def test_direct_client(self) -> None:
        self.assertEqual(
            self.forwarded(tcp("192.0.2.1"), (b"Host", b"shop.example:8080")),
            [
                (b"Host", b"shop.example:8080"),
                (b"X-Forwarded-For", b"192.0.2.1"),
                (b"X-Forwarded-Proto", b"http"),
                (b"X-Forwarded-Host", b"shop.example:8080"),
                (b"Forwarded", b'for=192.0.2.1;host="shop.example:8080";proto=http'),
            ],
        )

    def test_over_tls(self) -> None:
        fields = dict(self.forwarded(tcp("2001:db8::1"), secure=True))
        self.assertEqual(fields[b"X-Forwarded-Proto"], b"https")
        self.assertEqual(fields[b"X-Forwarded-For"], b"2001:db8::1")
        self.assertEqual(fields[b"Forwarded"], b'for="[2001:db8::1]";proto=https')

    def test_without_a_host(self) -> None:
        """As in HTTP/1.0."""
        for host in ([], [(b"Host", b"")]):
            names = [name for name, _ in self.forwarded(tcp("192.0.2.1"), *host)]
            self.assertNotIn(b"X-Forwarded-Host", names)

    def test_peer_without_an_address(self) -> None:
        """Its address is said to be unknown where that can be said."""
        fields = dict(self.forwarded(UNIX, (b"Host", b"a")))
        self.assertNotIn(b"X-Forwarded-For", fields)
        self.assertEqual(fields[b"Forwarded"], b"for=unknown;host=a;proto=http")

    def test_everybody_is_told_of_as_they_are(self) -> None:
        """Nothing that was said of one client, Host or scheme is said of another."""
        long = b"x" * 300
        kinds = [
            (peer, secure, host)
            for peer in ("192.0.2.1", "192.0.2.2")
            for secure in (False, True)
            for host in (b"shop", b"SHOP", b"", long)
        ]
        for peer, secure, host in kinds * 2:
            fields = dict(self.forwarded(tcp(peer), (b"Host", host), secure=secure))
            scheme = b"https" if secure else b"http"
            self.assertEqual(fields[b"X-Forwarded-For"], peer.encode())
            self.assertEqual(fields[b"X-Forwarded-Proto"], scheme)
            self.assertEqual(fields.get(b"X-Forwarded-Host", b""), host)

    def test_a_strangers_claims_are_removed(self) -> None:
        claims = [
            (b"x-forwarded-for", b"10.0.0.1"),
            (b"X-Forwarded-For", b"10.0.0.2"),
            (b"X-FORWARDED-PROTO", b"https"),
            (b"X-Forwarded-Host", b"evil.example"),
            (b"forwarded", b"for=10.0.0.1;proto=https"),
        ]
        host = (b"Host", b"a")
        stranger = tcp("192.0.2.1")
        self.assertEqual(
            self.forwarded(stranger, *claims, host), self.forwarded(stranger, host)
        )

    def test_a_unix_peer_is_a_stranger_unless_trusted(self) -> None:
        self.proxies = TrustedProxies(["10.0.0.0/8"])
        fields = dict(self.forwarded(UNIX, (b"X-Forwarded-For", b"192.0.2.1")))
        self.assertNotIn(b"X-Forwarded-For", fields)

    def test_a_trusted_peers_claims_are_kept(self) -> None:
        said = b"for=192.0.2.1;by=_edge;secret=x"
        seen = b"for=10.0.0.1;host=inside;proto=http"
        fields = self.forwarded(
            tcp("10.0.0.1"),
            (b"X-Forwarded-For", b"192.0.2.66, 192.0.2.1"),
            (b"Host", b"inside"),
            (b"X-Forwarded-Proto", b"https"),
            (b"X-Forwarded-Host", b"shop.example"),
            (b"Forwarded", said),
        )
        self.assertEqual(
            fields,
            [
                (b"Host", b"inside"),
                (b"X-Forwarded-For", b"192.0.2.66, 192.0.2.1, 10.0.0.1"),
                (b"X-Forwarded-Proto", b"https"),
                (b"X-Forwarded-Host", b"shop.example"),
                (b"Forwarded", b", ".join([said, seen])),
            ],
        )

    def test_trusted_unix_peer(self) -> None:
        fields = dict(self.forwarded(UNIX, (b"X-Forwarded-For", b"192.0.2.1")))
        self.assertEqual(fields[b"X-Forwarded-For"], b"192.0.2.1")
        self.assertEqual(fields[b"Forwarded"], b"for=192.0.2.1, for=unknown;proto=http")

    def test_forwarded_is_made_from_the_other_fields(self) -> None:
        fields = dict(
            self.forwarded(
                tcp("10.0.0.1"),
                (b"Host", b"inside"),
                (b"X-Forwarded-For", b"2001:db8::1"),
                (b"X-Forwarded-For", b"192.0.2.1"),
                (b"X-Forwarded-Proto", b"https"),
                (b"X-Forwarded-Host", b"shop.example"),
            )
        )
        self.assertEqual(
            fields[b"Forwarded"],
            b'for="[2001:db8::1]", for=192.0.2.1;host=shop.example;proto=https, '
            b"for=10.0.0.1;host=inside;proto=http",
        )

    def test_the_other_fields_are_made_from_forwarded(self) -> None:
        fields = dict(
            self.forwarded(
                tcp("10.0.0.1"),
                (b"Host", b"inside"),
                (b"Forwarded", b"for=_hidden, "),
                (b"Forwarded", b'for="[2001:db8::1]";proto=https;host=shop.example'),
            )
        )
        self.assertEqual(fields[b"X-Forwarded-For"], b"unknown, 2001:db8::1, 10.0.0.1")
        self.assertEqual(fields[b"X-Forwarded-Proto"], b"https")
        self.assertEqual(fields[b"X-Forwarded-Host"], b"shop.example")

    def test_only_the_clients_protocol_is_kept(self) -> None:
        """The list of addresses gets longer here, and that of protocols does not."""
        fields = dict(
            self.forwarded(
                tcp("10.0.0.1"),
                (b"X-Forwarded-For", b"192.0.2.1, 10.0.0.2"),
                (b"X-Forwarded-Proto", b"https, http"),
            )
        )
        self.assertEqual(fields[b"X-Forwarded-Proto"], b"https")

    def test_an_open_quote_does_not_swallow_our_hop(self) -> None:
        said = (b"Forwarded", b'for=192.0.2.1;host="open')
        fields = dict(self.forwarded(tcp("10.0.0.1"), said))
        self.assertEqual(
            fields[b"Forwarded"], b"for=192.0.2.1, for=10.0.0.1;proto=http"
        )

    def test_empty_claims_are_none(self) -> None:
        names = (b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host")
        empty = [(name, b" ") for name in (*names, b"Forwarded")]
        peer = tcp("10.0.0.1")
        self.assertEqual(self.forwarded(peer, *empty), self.forwarded(peer))

    def test_all_other_fields_stay(self) -> None:
        """In their order, with their repeats, spelt as they were."""
        others = [
            (b"aCCept", b"*/*"),
            (b"Cookie", b"a=1"),
            (b"cookie", b"b=2"),
            (b"X-Forwarded-Port", b"1"),
            (b"X-Latin", b"\xe9\xff"),
            (b"aCCept", b"*/*"),
        ]
        self.assertEqual(
            self.forwarded(tcp("192.0.2.1"), *others)[: len(others)], others
        )

    def test_thousands_of_hops(self) -> None:
        """One list is kept as it came; of it the nearest hops are in the other one."""
        written = b",".join([b"a"] * 4000 + [b"192.0.2.7"])
        fields = (b"X-Forwarded-For", written)
        sent = dict(self.forwarded(tcp("10.0.0.1"), fields))
        self.assertEqual(sent[b"X-Forwarded-For"], written + b", 10.0.0.1")
        hops = sent[b"Forwarded"].split(b", ")
        self.assertEqual(len(hops), 101)
        self.assertEqual(hops[0], b"for=unknown")
        self.assertTrue(hops[-2].startswith(b"for=192.0.2.7"))

    @given(st.lists(st.binary(max_size=30), min_size=4, max_size=4))
    def test_nothing_that_a_proxy_writes_is_an_error(self, values: list[bytes]) -> None:
        """The last hop is always ours."""
        names = (b"X-Forwarded-For", b"X-Forwarded-Proto", b"Forwarded", b"Host")
        fields = tuple(zip(names, values, strict=True))
        peer = tcp("10.0.0.1")
        self.proxies.address_of_client(peer, fields)
        self.proxies.is_secure(peer, fields, secure=True)
        sent = dict(self.forwarded(peer, *fields))
        self.assertTrue(sent[b"X-Forwarded-For"].endswith(b"10.0.0.1"))
        nearest = next(parse_forwarded(sent[b"Forwarded"].decode("latin-1")))
        self.assertEqual(nearest.address, "10.0.0.1")
