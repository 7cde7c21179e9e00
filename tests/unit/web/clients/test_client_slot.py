"""The slot of a request, by each kind of key, forged ones too."""

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.stickiness import Stickiness
from clusterapp.dispatch.cookies import SlotCookie
from clusterapp.dispatch.rendezvous import slot_of, slot_of_address
from clusterapp.interfaces import Fields
from clusterapp.web.clients.client_slot import ClientSlot
from clusterapp.web.clients.trusted_proxies import TrustedProxies

SLOTS = (0, 1, 2, 5)
SECRET = "00ff"
PEER = IPv4Address("TCP", "10.0.0.1", 1)


def client_slot(
    key: str, *, slots: tuple[int, ...] = SLOTS, trusted: tuple[str, ...] = ()
) -> ClientSlot:
    """Return the affinity of clients to workers."""
    how = Stickiness(("0 tcp:80",), key, slots, SECRET)
    return ClientSlot(how, TrustedProxies(trusted))


class KeyTests(SynchronousTestCase):
    """Clients that are known by what they send."""

    def test_header(self) -> None:
        """The field's name has no case, its value has; without it there is no slot."""
        known = client_slot("header:X-Key")
        for value in (b"a", b"A", b"b", b"\xff"):
            slot = known.slot(PEER, b"/", [(b"a", b"b"), (b"x-kEY", value)])
            self.assertEqual(slot, slot_of(value, SLOTS))
        self.assertIsNone(known.slot(PEER, b"/?X-Key=a", [(b"X-Keys", b"a")]))

    def test_query(self) -> None:
        """The parameter of the target, decoded."""
        known = client_slot("query:k")
        for target, value in (
            (b"/?k=a", b"a"),
            (b"/k?b=c&k=%61+b", b"a b"),
            (b"/?%6B=%FF", b"\xff"),
        ):
            self.assertEqual(known.slot(PEER, target, []), slot_of(value, SLOTS))
        for target in (b"/", b"/?k", b"/?k=", b"/?K=a", b"/k=a"):
            self.assertIsNone(known.slot(PEER, target, [(b"k", b"a")]))

    def test_all_slots(self) -> None:
        """Clients are spread over whatever slots there are."""
        for key in ("header:k", "query:k"):
            known = client_slot(key)
            found = {
                known.slot(PEER, b"/?k=%d" % n, [(b"k", b"%d" % n)]) for n in range(99)
            }
            self.assertEqual(found, set(SLOTS))

    def test_no_slots(self) -> None:
        """Nobody belongs anywhere as long as no worker runs."""
        fields = [(b"k", b"a"), (b"Cookie", b"clusterapp_slot=" + cookie(0))]
        for key in ("header:k", "query:k", "client-ip", "cookie"):
            known = client_slot(key, slots=())
            self.assertIsNone(known.slot(PEER, b"/?k=a", fields))


class AddressTests(SynchronousTestCase):
    """Clients that are known by their addresses."""

    def slot(
        self, peer: IAddress, fields: Fields = (), trusted: tuple[str, ...] = ()
    ) -> int | None:
        return client_slot("client-ip", trusted=trusted).slot(peer, b"/", fields)

    def expected(self, *packed: int) -> int:
        return slot_of_address(bytes(packed), SLOTS)

    def test_peer(self) -> None:
        """The kernel comes to the same choice, for IPv4 in IPv6 as well."""
        for last in range(9):
            own = self.expected(10, 0, 0, last)
            for peer in (
                IPv4Address("TCP", f"10.0.0.{last}", last),
                IPv6Address("TCP", f"::ffff:10.0.0.{last}", 1),
            ):
                self.assertEqual(self.slot(peer), own)

    def test_ipv6(self) -> None:
        """A zone is none of the address (RFC 4007, section 6)."""
        own = self.expected(0xFE, 0x80, *[0] * 13, 7)
        for host in ("fe80::7", "fe80::7%2", "fe80::7%eth0"):
            self.assertEqual(self.slot(IPv6Address("TCP", host, 1)), own)
            fields = [(b"Forwarded", b'for="[%b]"' % host.encode())]
            self.assertEqual(self.slot(PEER, fields, ("10.0.0.1",)), own)

    def test_proxies(self) -> None:
        """Behind a trusted proxy the client counts, behind another one the proxy."""
        fields = [(b"X-Forwarded-For", b"1.1.1.1, 2.2.2.2")]
        proxy, client = self.expected(10, 0, 0, 1), self.expected(2, 2, 2, 2)
        self.assertNotEqual(proxy, client)
        self.assertEqual(self.slot(PEER, fields), proxy)
        self.assertEqual(self.slot(PEER, fields, ("10.0.0.0/8",)), client)
        far = self.expected(1, 1, 1, 1)
        self.assertEqual(self.slot(PEER, fields, ("10.0.0.1", "2.2.2.2")), far)

    def test_unknown(self) -> None:
        """A client without an address, or with a hidden one, belongs to no slot."""
        self.assertIsNone(self.slot(UNIXAddress(None)))
        hidden = [(b"Forwarded", b"for=_secret")]
        self.assertIsNone(self.slot(PEER, hidden, ("10.0.0.1",)))
        told = [(b"X-Forwarded-For", b"2.2.2.2")]
        own = self.expected(2, 2, 2, 2)
        self.assertEqual(self.slot(UNIXAddress(None), told, ("unix",)), own)

    def test_no_address(self) -> None:
        """A proxy that writes nonsense does not make its clients anybody's."""
        for nonsense in (b"x", b"1.2.3.4.5", b"999.1.1.1", b"\xff", b"1.1.1.1, -"):
            fields = [(b"X-Forwarded-For", nonsense)]
            self.assertIsNone(self.slot(PEER, fields, ("10.0.0.1",)), nonsense)


def cookie(slot: int, name: str = "clusterapp_slot", secret: str = SECRET) -> bytes:
    """Return the value of a slot's cookie."""
    made = SlotCookie(name, bytes.fromhex(secret)).set_cookie(slot, secure=False)
    return made.partition(b"=")[2].partition(b";")[0]


class CookieTests(SynchronousTestCase):
    """Clients that are known by a cookie of ours."""

    def slot(self, line: bytes, key: str = "cookie") -> int | None:
        return client_slot(key).slot(PEER, b"/", [(b"Cookie", line)])

    def test_named(self) -> None:
        """It names the slot, among other cookies."""
        for slot in SLOTS:
            line = b"a=b; clusterapp_slot=%b; c" % cookie(slot)
            self.assertEqual(self.slot(line), slot)
        self.assertEqual(self.slot(b"own=" + cookie(5, "own"), "cookie:own"), 5)

    def test_stale(self) -> None:
        """That of a slot that is no more is no one's."""
        self.assertIsNone(self.slot(b"clusterapp_slot=" + cookie(3)))

    def test_forged(self) -> None:
        """Neither is one that was not made here, with this secret and this name."""
        good = cookie(1)
        for value in (
            b"1",
            b"",
            b"1." + b"A" * 43,
            b"2" + good[1:],
            b"01" + good[1:],
            good[:-1],
            good + b"x",
            cookie(1, secret="00fe"),
            cookie(1, "other"),
        ):
            self.assertIsNone(self.slot(b"clusterapp_slot=" + value), value)

    def test_none(self) -> None:
        known = client_slot("cookie")
        self.assertIsNone(known.slot(PEER, b"/", [(b"X", b"clusterapp_slot=1")]))

    def test_cookie_to_set(self) -> None:
        """There is one only where clients are known by it."""
        for key in ("client-ip", "header:k", "query:k"):
            self.assertIsNone(client_slot(key).cookie)
        made = client_slot("cookie:own").cookie
        assert made is not None
        self.assertTrue(made.set_cookie(2, secure=True).startswith(b"own=2."))
