"""Which unauthenticated connection loses its place to a new one."""

from collections import Counter
from time import perf_counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.tls.pending_connections import PendingConnections, network_of


class NetworkTests(SynchronousTestCase):
    """What counts as one address."""

    def test_ipv4(self) -> None:
        """Each address, however a socket reports it."""
        self.assertEqual(network_of("192.0.2.1"), network_of("::ffff:192.0.2.1"))
        self.assertNotEqual(network_of("192.0.2.1"), network_of("192.0.2.2"))
        self.assertNotEqual(
            network_of("::ffff:192.0.2.1"), network_of("::ffff:192.0.2.2")
        )

    def test_ipv6(self) -> None:
        """The 64 bits that one host may write anything behind."""
        self.assertEqual(network_of("2001:db8::1"), network_of("2001:db8::ffff:0:0:2"))
        self.assertNotEqual(network_of("2001:db8::1"), network_of("2001:db8:0:1::1"))
        self.assertEqual(network_of("fe80::1%eth0"), network_of("fe80::2"))

    def test_no_address(self) -> None:
        self.assertEqual(network_of(""), b"")


class PendingTests(SynchronousTestCase):
    """A full set."""

    def test_oldest_of_the_largest(self) -> None:
        """The address that holds most pays for whatever comes."""
        pending = PendingConnections[int](6)
        for number, network in enumerate((b"a", b"b", b"b", b"b", b"a", b"c")):
            self.assertIsNone(pending.add(number, network))
        self.assertEqual([pending.add(n, b"d") for n in (6, 7)], [1, 0])
        self.assertEqual(len(pending), 6)

    def test_its_own_newcomer(self) -> None:
        pending = PendingConnections[int](3)
        for number, network in enumerate((b"a", b"b", b"b")):
            pending.add(number, network)
        self.assertEqual([pending.add(n, b"b") for n in (3, 4, 5)], [1, 2, 3])

    def test_many_addresses_of_one_connection_each(self) -> None:
        """The oldest of all goes."""
        pending = PendingConnections[int](3)
        networks = [b"%d" % number for number in range(6)]
        evicted = [pending.add(n, network) for n, network in enumerate(networks)]
        self.assertEqual(evicted, [None, None, None, 0, 1, 2])

    def test_discard(self) -> None:
        """It frees a place once, and what has none has none to free."""
        pending = PendingConnections[int](2)
        pending.add(0, b"a")
        pending.add(1, b"a")
        pending.discard(0)
        pending.discard(0)
        pending.discard(7)
        self.assertIsNone(pending.add(2, b"b"))
        self.assertEqual(pending.add(3, b"c"), 1)

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=80))
    def test_model(self, steps: list[tuple[bool, int]]) -> None:
        """Whatever comes and goes, it is the oldest of an address that holds most."""
        pending = PendingConnections[int](7)
        open_: dict[int, bytes] = {}
        for number, (comes, which) in enumerate(steps):
            if comes:
                counts = Counter(open_.values())
                evicted = pending.add(number, b"%d" % which)
                self.assertEqual(evicted is None, len(open_) < 7)
                if evicted is not None:
                    network = open_[evicted]
                    self.assertEqual(counts[network], max(counts.values()))
                    oldest = min(n for n, each in open_.items() if each == network)
                    self.assertEqual(evicted, oldest)
                    del open_[evicted]
                open_[number] = b"%d" % which
            elif len(open_) > which:
                gone = sorted(open_)[which]
                pending.discard(gone)
                del open_[gone]
            self.assertEqual(len(pending), len(open_))
        for number in list(open_):
            pending.discard(number)
        self.assertEqual(pending._connections, {})
        self.assertEqual(pending._holders, {})
        self.assertEqual(pending._largest, 0)

    def test_cost(self) -> None:
        """It does not grow with the number of connections: 100,000 evictions."""
        pending = PendingConnections[int](20_000)
        begun = perf_counter()
        for number in range(120_000):
            pending.add(number, b"%d" % (number % 5_000))
        self.assertLess(perf_counter() - begun, 5)
