"""The worker that serves a client without a slot, and one with a slot."""

from dataclasses import dataclass
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.bootstrap import PRIVATE
from clusterapp.channel.stickiness import Stickiness
from clusterapp.dispatch.cookies import SlotCookie
from clusterapp.http.connection_limits import Limits
from clusterapp.http.syntax.request_head import HeadReader
from clusterapp.web.clients.trusted_proxies import TrustedProxies
from clusterapp.worker.proxy.relay_affinity import SlotAffinity

DOOR = "0 tcp:8080"
SECRET = bytes(32)
COOKIE = SlotCookie("clusterapp_slot", SECRET)
CLIENT = IPv4Address("TCP", "192.0.2.1", 4711)
PROXY = IPv4Address("TCP", "127.0.0.1", 4711)


@dataclass(frozen=True)
class FakeConnection:
    """What is asked of a connection."""

    peer: IAddress
    listener: str = DOOR

    def getPeer(self) -> IAddress:
        return self.peer

    def isSecure(self) -> bool:
        return False


class FakeRelay:
    """Takes requests to slots, which it is known by."""

    def to(self, slot: int) -> int:
        return slot


class SlotVisitorsTests(SynchronousTestCase):
    """Slot 1 of three."""

    def setUp(self) -> None:
        relay: Any = FakeRelay()
        self.affinity = SlotAffinity(1, relay, TrustedProxies(["127.0.0.1", "unix"]))

    def update_affinity(self, key: str, *slots: int) -> None:
        """Configure the key that identifies clients."""
        self.affinity.update_affinity(Stickiness((DOOR,), key, slots, SECRET.hex()))

    def ask(
        self, peer: IAddress, *fields: str, listener: str = DOOR
    ) -> tuple[Any, bytes]:
        """Return which slot a request is taken to, and what greets the client here."""
        lines = "".join(f"{field}\r\n" for field in ("Host: h", *fields))
        head = HeadReader(Limits()).read(f"GET / HTTP/1.1\r\n{lines}\r\n".encode())
        connection: Any = FakeConnection(peer, listener)
        return self.affinity.receive(head, connection)

    def cookie(self, slot: int) -> str:
        """Write the field of a client that belongs to a slot."""
        value = COOKIE.set_cookie(slot, secure=False).partition(b";")[0]
        return f"Cookie: {value.decode()}"

    def extra_header_lines(self) -> bytes:
        """Return what makes a client one of slot 1's."""
        return b"Set-Cookie: %b\r\n" % COOKIE.set_cookie(1, secure=False)

    def test_clients_that_have_a_slot(self) -> None:
        """They are taken there, without another word."""
        self.update_affinity("cookie", 0, 1, 2)
        for peer in (CLIENT, PROXY):
            self.assertEqual(self.ask(peer, self.cookie(0)), (0, b""))
            self.assertEqual(self.ask(peer, self.cookie(1)), (None, b""))

    def test_new_client_on_its_own_connection(self) -> None:
        """It stays where it has come."""
        self.update_affinity("cookie", 0, 1, 2)
        for _ in range(4):
            self.assertEqual(self.ask(CLIENT), (None, self.extra_header_lines()))
            self.assertEqual(
                self.ask(CLIENT, self.cookie(7)), (None, self.extra_header_lines())
            )

    def test_new_clients_through_a_proxy(self) -> None:
        """They come to all slots in turn."""
        self.update_affinity("cookie", 0, 1, 2)
        for peer in (PROXY, UNIXAddress(None)):
            taken = [self.ask(peer) for _ in range(3)]
            self.assertEqual(
                taken, [(2, b""), (0, b""), (None, self.extra_header_lines())]
            )

    def test_what_is_passed_on(self) -> None:
        """It is served here, and a new client is made known."""
        self.update_affinity("cookie", 0, 1, 2)
        self.assertIn(PRIVATE, self.affinity.listeners)
        for peer in (CLIENT, PROXY):
            relayed = self.ask(peer, listener=PRIVATE)
            self.assertEqual(relayed, (None, self.extra_header_lines()))
            relayed = self.ask(peer, self.cookie(0), listener=PRIVATE)
            self.assertEqual(relayed, (None, b""))

    def test_slots_that_are_gone(self) -> None:
        """Nobody is made a client of this one when it leaves, or of none."""
        for slots in ((0,), ()):
            self.update_affinity("cookie", *slots)
            self.assertEqual(self.ask(CLIENT), (None, b""))
        self.assertEqual(self.ask(PROXY), (None, b""))

    def test_other_keys(self) -> None:
        """Requests without the key are served here, direct or by a proxy."""
        self.update_affinity("header:X-Session", 0, 1, 2)
        self.assertEqual(self.affinity.listeners, {DOOR})
        for peer in (CLIENT, PROXY):
            self.assertEqual(self.ask(peer), (None, b""))
        slots = {self.ask(CLIENT, f"X-Session: {n}")[0] for n in range(20)}
        self.assertEqual(slots, {0, None, 2})

    def test_nothing_is_sticky(self) -> None:
        """Nothing is asked of what others pass on, either."""
        self.affinity.update_affinity(Stickiness((), "cookie", (0, 1), SECRET.hex()))
        self.assertEqual(self.affinity.listeners, set())
