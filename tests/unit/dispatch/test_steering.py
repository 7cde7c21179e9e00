"""Programs for the kernel: what they return, by a machine of ours."""

from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.dispatch.rendezvous import slot_of_address
from clusterapp.dispatch.steering import (
    MOST_INSTRUCTIONS,
    Program,
    at_random,
    by_address,
    first_only,
)
from tests.unit.dispatch.bpf import Machine, faults_of, packet_from

SLOTS = st.sets(st.integers(0, 300), min_size=1, max_size=12).map(sorted)
# On the wire no IPv6 address stands for an IPv4 one (RFC 4038, section 4.2): what
# sockets show so is an IPv4 packet.
ADDRESSES = st.ip_addresses().filter(lambda one: not getattr(one, "ipv4_mapped", None))
WORDS = st.integers(0, 0xFFFFFFFF)
NETWORKS = st.builds(
    lambda address, bits: ip_network(
        (address.packed, bits % (address.max_prefixlen + 1)), strict=False
    ),
    ADDRESSES,
    st.integers(0, 255),
)

Address = IPv4Address | IPv6Address


class ProgramTests(SynchronousTestCase):
    """Where programs lead."""

    def member(self, program: Program, source: Address, random: int = 0) -> int:
        """Return which member of the group gets a connection."""
        self.assertEqual(faults_of(program), [])
        return Machine(packet_from(source.packed), random).run(program)

    @given(ADDRESSES)
    def test_first_only(self, source: Address) -> None:
        self.assertEqual(self.member(first_only(), source), 0)

    @given(ADDRESSES, SLOTS)
    def test_address_decides(self, source: Address, slots: list[int]) -> None:
        """As it does where the master looks at the address."""
        self.assertEqual(
            self.member(by_address(slots), source),
            1 + slot_of_address(source.packed, slots),
        )

    @given(ADDRESSES, SLOTS, st.lists(NETWORKS, max_size=8), WORDS)
    def test_networks_are_spread(
        self, source: Address, slots: list[int], spread: list[object], random: int
    ) -> None:
        """Addresses in these networks are spread at random; all others are steered."""
        networks = [ip_network(one) for one in spread]  # type: ignore[arg-type]
        chosen = (
            slots[random % len(slots)]
            if any(source in network for network in networks)
            else slot_of_address(source.packed, slots)
        )
        self.assertEqual(
            self.member(by_address(slots, networks), source, random), 1 + chosen
        )

    def test_edges_of_networks(self) -> None:
        """The first and the last of a network are in it, their neighbours are not."""
        for text in ("10.0.0.0/8", "192.0.2.7/32", "fd00::/8", "2001:db8::8/126"):
            network = ip_network(text)
            program = by_address([3, 5], [network])
            for source, inside in [
                (network[0], True),
                (network[-1], True),
                (network[0] - 1, False),
                (network[-1] + 1, False),
            ]:
                members = {self.member(program, source, word) for word in (0, 1)}
                self.assertEqual(members == {4, 6}, inside, source)

    def test_many_networks(self) -> None:
        """Jumps lead farther than the 255 instructions of a conditional one."""
        networks = [ip_network(f"2001:db8:{n:x}::/127") for n in range(150)]
        program = by_address(range(64), networks)
        for network in networks:
            self.assertEqual(self.member(program, network[0], 7), 8)
        source = ip_address("2001:db8:5::2")
        self.assertEqual(
            self.member(program, source, 7),
            1 + slot_of_address(source.packed, range(64)),
        )

    def test_random_is_even(self) -> None:
        """Every slot is as likely as any other."""
        program = at_random([0, 2, 7])
        source = ip_address("192.0.2.1")
        members = Counter(self.member(program, source, word) for word in range(300))
        self.assertEqual(members, {1: 100, 3: 100, 8: 100})

    def test_random_for_many(self) -> None:
        program = at_random(range(1000))
        for word in (0, 255, 256, 999, 1000):
            member = self.member(program, ip_address("::1"), word)
            self.assertEqual(member, 1 + word % 1000)

    def test_no_slot(self) -> None:
        """There is nobody to choose; `first_only` is for that."""
        for make in (at_random, by_address):
            with self.assertRaisesRegex(ValueError, "no slot"):
                make([])

    def test_too_many_slots(self) -> None:
        """The kernel's limit is known before it refuses."""
        self.assertLessEqual(len(by_address(range(150))), MOST_INSTRUCTIONS)
        for make in (at_random, by_address):
            with self.assertRaisesRegex(ValueError, r"[0-9]+ instructions.* 4096"):
                make(range(3000))
