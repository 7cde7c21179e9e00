"""What workers and core learn of the client, as requests tell it."""

import sys
from ipaddress import ip_address

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.interfaces import Fields
from clusterapp.web.clients import forwarded_header as forwarded
from clusterapp.web.clients.trusted_proxies import TrustedInCore, TrustedProxies
from tests.unit.web.clients.test_trusted_proxies import UNIX, tcp


class AddressTests(SynchronousTestCase):
    """The client's address as Twisted writes it."""

    def address(self, peer: IAddress, *fields: tuple[bytes, bytes]) -> IAddress:
        proxies = TrustedProxies(["10.0.0.0/8", "unix"])
        return proxies.address_of_client(peer, fields)

    def test_the_peer_itself(self) -> None:
        """With its port, and the scope of a link-local address."""
        said = (b"X-Forwarded-For", b"192.0.2.1")
        link = IPv6Address("TCP", "fe80::1%eth0", 40000, scopeID=2)
        for peer in (tcp("198.51.100.1"), tcp("2001:db8::1"), link):
            self.assertIs(self.address(peer, said), peer)
        self.assertIs(self.address(tcp("10.0.0.1")).__class__, IPv4Address)

    def test_mapped_peer(self) -> None:
        """It is IPv4, as in the access log."""
        self.assertEqual(self.address(tcp("::ffff:192.0.2.1")), tcp("192.0.2.1"))

    def test_behind_a_proxy(self) -> None:
        """Its port is not known."""
        for host in ("192.0.2.1", "2001:db8::1"):
            found = self.address(UNIX, (b"X-Forwarded-For", host.encode()))
            kind = IPv6Address if ":" in host else IPv4Address
            self.assertEqual(found, kind("TCP", host, 0))

    def test_nobody_knows(self) -> None:
        """Then the peer is all there is to tell."""
        self.assertIs(self.address(UNIX), UNIX)
        peer = tcp("10.0.0.1")
        self.assertIs(self.address(peer, (b"X-Forwarded-For", b"unknown")), peer)


class LongListTests(SynchronousTestCase):
    """The search for the client goes a hundred hops back."""

    PEER = tcp("127.0.0.1")

    def both(self, fields: Fields) -> set[str | None]:
        """Return the client's address as worker and core determine it."""
        entries = ["127.0.0.0/8", "::1", "unix"]
        worker, core = TrustedProxies(entries), TrustedInCore(entries)
        clients = set()
        for peer in (self.PEER, UNIX):
            sent = worker.forwarded(peer=peer, secure=False, fields=fields)
            clients |= {worker.client_of(peer, fields), core.client_of(peer, sent)}
        return clients

    def test_same_client_for_worker_and_core(self) -> None:
        for form in (b"%b", b"for=%b", b'for="%b"'):
            name = b"X-Forwarded-For" if form == b"%b" else b"Forwarded"
            for trusted, client in ((98, True), (99, True), (100, False), (500, False)):
                hops = [form % b"192.0.2.1", *([form % b"127.0.0.2"] * trusted)]
                self.assertEqual(
                    self.both([(name, b",".join(hops))]),
                    {"192.0.2.1" if client else None},
                    (form, trusted),
                )
            farther = [form % b"6.6.6.6", form % b"192.0.2.1", form % b"127.0.0.2"]
            spoofed = [form % b"127.0.0.9"] * 500 + farther
            self.assertEqual(self.both([(name, b",".join(spoofed))]), {"192.0.2.1"})

    def test_addresses_are_read_a_bounded_number_of_times(self) -> None:
        """However many hops a list has, and though no two of them are the same."""
        read: list[str] = []

        def counting(address: str) -> object:
            read.append(address)
            return ip_address(address)

        self.patch(forwarded, "ip_address", counting)
        hops = [b"127.%d.%d.1" % divmod(number, 256) for number in range(2000)]
        for name, form in ((b"X-Forwarded-For", b"%b"), (b"Forwarded", b'for="%b"')):
            for trusts in (["127.0.0.0/8"], ["*"]):
                read.clear()
                proxies = TrustedProxies(trusts)
                fields = [(name, b",".join(form % hop for hop in hops))]
                proxies.forwarded(peer=self.PEER, secure=False, fields=fields)
                proxies.address_of_client(self.PEER, fields)
                proxies.is_secure(self.PEER, fields, secure=False)
                self.assertLessEqual(len(read), 210, (name, trusts))

    def calls(self, name: bytes, value: bytes) -> int:
        """Count the calls of functions that one request makes."""
        proxies, fields = TrustedProxies(["127.0.0.0/8", "::1"]), [(name, value)]
        made = 0

        def note(_frame: object, event: str, _argument: object) -> None:
            nonlocal made
            made += event in {"call", "c_call"}

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            proxies.forwarded(peer=self.PEER, secure=False, fields=fields)
            proxies.is_secure(self.PEER, fields, secure=False)
        finally:
            sys.setprofile(before)
        return made

    def test_costs_are_those_of_a_hundred_hops(self) -> None:
        """What is longer costs little more than reading past it."""
        for name, hop in (
            (b"X-Forwarded-For", b"::1,"),
            (b"X-Forwarded-For", b"127.0.0.1,"),
            (b"X-Forwarded-For", b","),
            (b"Forwarded", b"for=127.0.0.1,"),
            (b"Forwarded", b";"),
            (b"Forwarded", b"a=b;"),
            (b"Forwarded", b","),
        ):
            self.calls(name, hop * 200)
            few = self.calls(name, hop * 200)
            many = self.calls(name, hop * (28_000 // len(hop)))
            self.assertLessEqual(many, few + 20, hop)


class SecureTests(SynchronousTestCase):
    """Whether the client came over TLS, if only to a proxy."""

    PROTO = b"X-Forwarded-Proto"
    FOR = b"X-Forwarded-For"

    def secure(
        self, peer: IAddress, *fields: tuple[bytes, bytes], secure: bool = False
    ) -> bool:
        proxies = TrustedProxies(["10.0.0.0/8", "unix"])
        return proxies.is_secure(peer, fields, secure=secure)

    def test_a_strangers_word(self) -> None:
        """Only its connection counts."""
        for proto in (b"https", b"http"):
            fields = (self.PROTO, proto), (b"Forwarded", b"for=1.1.1.1;proto=" + proto)
            self.assertFalse(self.secure(tcp("192.0.2.1"), *fields))
            self.assertTrue(self.secure(tcp("192.0.2.1"), *fields, secure=True))

    def test_a_proxys_word(self) -> None:
        """It counts more than its own connection."""
        for proto, secure in (
            (b"https", True),
            (b"HTTPS", True),
            (b"wss", True),
            (b"http", False),
            (b"gopher", False),
        ):
            for own in (False, True):
                for peer in (UNIX, tcp("10.0.0.1")):
                    said = (self.PROTO, proto), (self.FOR, b"192.0.2.1")
                    self.assertEqual(self.secure(peer, *said, secure=own), secure)
                    self.assertEqual(self.secure(peer, said[0], secure=own), secure)

    def test_a_proxy_that_does_not_tell(self) -> None:
        for fields in (
            (),
            ((self.FOR, b"192.0.2.1"),),
            ((self.PROTO, b" , "),),
            ((b"Forwarded", b"for=192.0.2.1;proto="),),
            ((b"Forwarded", b'for=192.0.2.1;proto=""'),),
        ):
            self.assertFalse(self.secure(UNIX, *fields))
            self.assertTrue(self.secure(UNIX, *fields, secure=True))

    def test_lists(self) -> None:
        """The protocol that stands where the client's address does."""
        for addresses, protos, secure in (
            (b"192.0.2.1", b"https, http", False),  # the first one is the client's
            (b"192.0.2.1, 10.0.0.2", b"https, http", True),
            (b"192.0.2.1, 10.0.0.2", b"http, https", False),
            (b"192.0.2.1, 10.0.0.2", b"https", True),  # passed on by the nearest
            (b"192.0.2.9, 192.0.2.1, 10.0.0.2", b"http, https, http", True),
        ):
            fields = (self.FOR, addresses), (self.PROTO, protos)
            self.assertEqual(self.secure(UNIX, *fields), secure, fields)

    def test_forwarded(self) -> None:
        """Unless the addresses are from elsewhere, and it may be the client's."""
        said = (b"Forwarded", b"for=192.0.2.1;proto=https, for=10.0.0.2;proto=http")
        self.assertTrue(self.secure(UNIX, said))
        self.assertFalse(self.secure(UNIX, said, (self.FOR, b"192.0.2.1")))
        spoofed = (b"Forwarded", b"for=10.0.0.9;proto=https, for=192.0.2.1;proto=http")
        self.assertFalse(self.secure(UNIX, spoofed))


class CoreTests(SynchronousTestCase):
    """The core learns the same of a request as the worker that forwards it."""

    def assert_told(
        self,
        peer: IAddress,
        *fields: tuple[bytes, bytes],
        client: str | None,
        secure: bool = False,
    ) -> None:
        """Assert that worker and core see this client and scheme of a request."""
        entries = ["10.0.0.0/8"]
        worker, core = TrustedProxies(entries), TrustedInCore(entries)
        sent = worker.forwarded(peer=peer, secure=False, fields=fields)
        self.assertEqual(worker.client_of(peer, fields), client)
        self.assertEqual(worker.is_secure(peer, fields, secure=False), secure)
        for nearest in (UNIX, tcp("192.0.2.200")):
            self.assertEqual(core.client_of(nearest, sent), client or None)
            self.assertEqual(core.is_secure(nearest, sent, secure=True), secure)

    def test_a_stranger(self) -> None:
        claims = (
            (b"X-Forwarded-For", b"10.0.0.1"),
            (b"X-Forwarded-Proto", b"https"),
            (b"Forwarded", b"for=10.0.0.1;proto=https"),
        )
        for host in ("192.0.2.1", "2001:db8::1"):
            self.assert_told(tcp(host), *claims, client=host)

    def test_behind_proxies(self) -> None:
        self.assert_told(
            tcp("10.0.0.1"),
            (b"X-Forwarded-For", b"10.0.0.9, 192.0.2.1, 10.0.0.2"),
            (b"X-Forwarded-Proto", b"http, https, http"),
            client="192.0.2.1",
            secure=True,
        )
        self.assert_told(
            tcp("10.0.0.1"),
            (b"Forwarded", b"for=192.0.2.1;proto=https, for=10.0.0.2;proto=http"),
            client="192.0.2.1",
            secure=True,
        )

    def test_all_are_trusted(self) -> None:
        self.assert_told(
            tcp("10.0.0.1"), (b"X-Forwarded-For", b"10.0.0.3"), client="10.0.0.3"
        )

    def test_nobody_knows(self) -> None:
        """A Unix peer that is not trusted, and a proxy that does not tell."""
        self.assert_told(UNIX, (b"X-Forwarded-For", b"10.0.0.1"), client=None)
        self.assert_told(tcp("10.0.0.1"), (b"X-Forwarded-For", b"unknown"), client=None)

    def test_a_workers_own_request(self) -> None:
        """It comes from the worker itself, which is all that is known of it."""
        core = TrustedInCore([])
        self.assertIs(core.address_of_client(UNIX, ()), UNIX)
        self.assertFalse(core.is_secure(UNIX, (), secure=False))
