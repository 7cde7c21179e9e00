"""Rendezvous hashing: evenly spread, and nothing moves that need not."""

from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.dispatch.rendezvous import mix, slot_of, slot_of_address

Choice = Callable[[bytes, Sequence[int]], int]

SLOTS = st.sets(st.integers(0, 300), min_size=1, max_size=12).map(sorted)
ADDRESSES = st.ip_addresses().map(lambda address: address.packed)

NEIGHBOURS = [IPv4Address("10.0.0.0") + n for n in range(1, 201)]
#: The ways in which addresses of clients differ.
CROWDS: dict[str, Sequence[IPv4Address | IPv6Address]] = {
    "the hosts of one network": NEIGHBOURS,
    "the first hosts of networks": [
        IPv4Address("10.0.0.1") + 256 * n for n in range(200)
    ],
    "every eighth host": [IPv4Address("192.168.0.0") + 8 * n for n in range(200)],
    "the hosts of an IPv6 network": [IPv6Address("fd00::") + n for n in range(1, 201)],
    "IPv6 networks": [IPv6Address("2001:db8::1") + (n << 64) for n in range(200)],
    "loopback": [IPv4Address("127.0.0.1") + n for n in range(200)],
}

#: The bounds that chi-square with n degrees of freedom passes once in 10,000 times.
CHI_SQUARE = {1: 15.14, 2: 18.42, 3: 21.11, 4: 23.51, 7: 29.88, 15: 44.26}

#: Where the keys 0 to 7 and the first eight neighbours go, of slots 0 to 7.
KEYS_GO_TO = [0, 5, 2, 0, 2, 7, 7, 4]
NEIGHBOURS_GO_TO = [6, 4, 7, 5, 3, 6, 0, 6]


def chi_square(counts: Counter[int], slots: Sequence[int]) -> float:
    """Return how far counts are from even ones."""
    even = counts.total() / len(slots)
    return sum((counts[slot] - even) ** 2 / even for slot in slots)


class ChoiceTests(SynchronousTestCase):
    """What holds of the slots of keys and of those of addresses."""

    def assert_stable(self, choose: Choice, key: bytes, slots: list[int]) -> None:
        """No key moves but to a slot that came, or from one that went."""
        chosen = choose(key, slots)
        self.assertIn(chosen, slots)
        self.assertEqual(choose(key, list(reversed(slots))), chosen)
        self.assertIn(choose(key, [*slots, 301]), {chosen, 301})
        for gone in slots:
            others = [slot for slot in slots if slot != gone]
            if others and gone != chosen:
                self.assertEqual(choose(key, others), chosen)

    def assert_even(self, choose: Choice, keys: Sequence[bytes], what: str) -> None:
        for freedom, bound in CHI_SQUARE.items():
            slots = range(freedom + 1)
            counts = Counter(choose(key, slots) for key in keys)
            far = chi_square(counts, slots)
            self.assertLess(far, bound, f"{what}, {len(slots)} slots: {counts}")

    @given(st.binary(max_size=300), SLOTS)
    def test_keys_stay(self, key: bytes, slots: list[int]) -> None:
        self.assert_stable(slot_of, key, slots)

    @given(ADDRESSES, SLOTS)
    def test_addresses_stay(self, packed: bytes, slots: list[int]) -> None:
        self.assert_stable(slot_of_address, packed, slots)

    def test_keys_are_spread_evenly(self) -> None:
        """Also those that differ by little, and long ones."""
        self.assert_even(slot_of, [b"%d" % n for n in range(400)], "numbers")
        long = [b"x" * 200 + b"%d" % n for n in range(400)]
        self.assert_even(slot_of, long, "long keys")

    def test_addresses_are_spread_evenly(self) -> None:
        """In whatever way they differ."""
        for what, addresses in CROWDS.items():
            packed = [address.packed for address in addresses]
            self.assert_even(slot_of_address, packed, what)

    def test_a_new_slot_takes_its_share(self) -> None:
        """A fifth one takes a fifth, of each of the others' about as much."""
        keys = [b"session-%d" % n for n in range(2000)]
        moved = Counter(
            slot_of(key, range(4))
            for key in keys
            if slot_of(key, range(4)) != slot_of(key, range(5))
        )
        self.assertTrue(340 <= moved.total() <= 460, moved)
        self.assertLess(chi_square(moved, range(4)), CHI_SQUARE[3])

    def test_neighbours_of_a_slot_that_goes_are_spread(self) -> None:
        """Its clients go to all that remain, not to one of them."""
        packed = [address.packed for address in NEIGHBOURS]
        heirs = Counter(
            slot_of_address(key, [0, 1, 3])
            for key in packed
            if slot_of_address(key, range(4)) == 2
        )
        self.assertLess(chi_square(heirs, [0, 1, 3]), CHI_SQUARE[2])

    def test_mapped_address_is_that_address(self) -> None:
        """A socket that takes both families shows IPv4 clients so."""
        mapped = ip_address("::ffff:192.0.2.7").packed
        plain = ip_address("192.0.2.7").packed
        for count in range(1, 20):
            self.assertEqual(
                slot_of_address(mapped, range(count)),
                slot_of_address(plain, range(count)),
            )

    def test_choice_is_for_ever(self) -> None:
        """Another version of the code must not move sessions to other slots."""
        self.assertEqual([slot_of(b"%d" % n, range(8)) for n in range(8)], KEYS_GO_TO)
        self.assertEqual(
            [slot_of_address(one.packed, range(8)) for one in NEIGHBOURS[:8]],
            NEIGHBOURS_GO_TO,
        )

    def test_no_slot(self) -> None:
        """Without slots it raises an error: callers check that before."""
        self.assertRaises(ValueError, slot_of, b"key", [])
        self.assertRaises(ValueError, slot_of_address, bytes(4), [])

    @given(st.integers(0, 0xFFFFFFFF), st.integers(0, 31))
    def test_mixing_loses_nothing(self, word: int, bit: int) -> None:
        """Words of 32 bits become words of 32 bits, different ones different ones."""
        self.assertLess(mix(word), 1 << 32)
        self.assertNotEqual(mix(word), mix(word ^ 1 << bit))
