"""Reuseport groups, with real sockets on loopback and the real kernel's choice."""

import contextlib
import os
import select
import socket
from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address, ip_network
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.dispatch.rendezvous import slot_of_address
from clusterapp.dispatch.steering import at_random, by_address, first_only
from clusterapp.errors import ListenError
from clusterapp.listening.listen_sockets import listen
from clusterapp.listening.reuseport import Group
from clusterapp.settings.listen import TcpListen
from tests.unit.fakes import descriptors

NOBODY = 65534

LOOPBACK = [str(IPv4Address("127.0.0.1") + n) for n in range(40)]


class GroupCase(SynchronousTestCase):
    """Groups, and clients that tell which member they came to."""

    def setUp(self) -> None:
        before = descriptors()
        self.addCleanup(lambda: self.assertEqual(descriptors(), before))

    def group(self, interface: str = "127.0.0.1", slots: int = 0) -> Group:
        """Make a group whose first slots have their sockets."""
        group = Group(listen(TcpListen(0, interface), {}).socket)
        self.addCleanup(group.close)
        if slots:
            group.member(slots - 1)
        return group

    def chosen(self, group: Group, source: str = "127.0.0.1") -> int:
        """Connect from an address; tell which member has it, and accept it there."""
        with self.connected(group, source):
            [ready] = select.select(group.members, (), (), 10)[0]
            ready.accept()[0].close()
        return list(group.members).index(ready)

    def connected(self, group: Group, source: str) -> socket.socket:
        """Connect to a group from an address of this machine."""
        first = group.members[0]
        host = "::1" if ":" in source else "127.0.0.1"
        client = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
        try:
            client.settimeout(10)
            client.bind((source, 0))
            client.connect((host, first.getsockname()[1]))
        except OSError:
            client.close()
            raise
        return client


class MemberTests(GroupCase):
    """Sockets that share an address."""

    def test_sockets_of_slots(self) -> None:
        """Each is made when it is asked for, after those before it."""
        group = self.group()
        third = group.member(2)
        self.assertIs(group.members[3], third)
        self.assertIs(group.member(0), group.members[1])
        self.assertEqual(len(group.members), 4)
        names = {member.getsockname() for member in group.members}
        self.assertEqual(len(names), 1)

    def test_none_is_waited_for(self) -> None:
        """Nor does any child inherit one that it was not given."""
        for member in self.group(slots=2).members:
            self.assertFalse(member.getblocking())
            self.assertFalse(member.get_inheritable())

    def test_port_in_use_stays_an_error(self) -> None:
        """Another program that listens there is no member."""
        port = self.group(slots=2).members[0].getsockname()[1]
        with self.assertRaisesRegex(ListenError, "in use"):
            listen(TcpListen(port, "127.0.0.1"), {})

    def test_connections_of_before_are_not_in_the_way(self) -> None:
        """A listener that has served already can become a group."""
        group = self.group()
        with self.connected(group, "127.0.0.1"):
            accepted, _ = group.members[0].accept()
            with accepted:
                group.member(0)

    def test_both_families(self) -> None:
        """The others take IPv4 as well, or not, as the first one does."""
        for only in (0, 1):
            with contextlib.ExitStack() as stack:
                first = stack.enter_context(socket.socket(socket.AF_INET6))
                first.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
                first.bind(("::", 0))
                first.listen()
                group = Group(first)
                stack.callback(group.close)
                made = group.member(0)
                found = made.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
                self.assertEqual(found, only)


class RefusalTests(GroupCase):
    """What the kernel does not divide."""

    def assert_refused(self, first: socket.socket, address: str) -> None:
        before = descriptors()
        with self.assertRaisesRegex(ListenError, "^cannot listen on .* alone: .*user"):
            Group(first).member(0)
        with self.assertRaises(ListenError) as caught:
            Group(first).member(0)
        self.assertIn(address, str(caught.exception))
        self.assertEqual(descriptors(), before)

    def test_unix_socket(self) -> None:
        with socket.socket(socket.AF_UNIX) as first:
            first.bind(f"\0clusterapp-test-{os.getpid()}")
            first.listen()
            self.assert_refused(first, "unix:")

    def test_another_users_socket(self) -> None:
        """One that was bound before privileges were given up, for example."""
        if os.geteuid() != 0 and "CI" not in os.environ:
            raise SkipTest("only root can make a socket for another user")
        os.seteuid(NOBODY)
        try:
            first = socket.socket()
        finally:
            os.seteuid(0)
        with first:
            first.bind(("127.0.0.1", 0))
            first.listen()
            self.assert_refused(first, f"127.0.0.1:{first.getsockname()[1]}")

    def test_impossible_program(self) -> None:
        """The kernel checks what it is to run; what it had before stays."""
        group = self.group(slots=1)
        group.steer(at_random([0]))
        with self.assertRaisesRegex(ListenError, "Invalid argument"):
            group.steer([(0xFFFF, 0, 0, 0)])
        self.assertEqual(self.chosen(group), 1)


class SteeringTests(GroupCase):
    """Programs in the kernel."""

    def test_new_members_get_nothing(self) -> None:
        """Before the group is steered to them."""
        group = self.group(slots=3)
        self.assertEqual({self.chosen(group) for _ in range(20)}, {0})

    def test_members_are_chosen_by_number(self) -> None:
        group = self.group(slots=4)
        for slot in (2, 0, 3, 1):
            group.steer(at_random([slot]))
            self.assertEqual(self.chosen(group), slot + 1)
        group.steer(first_only())
        self.assertEqual(self.chosen(group), 0)

    def test_later_members_are_numbered_on(self) -> None:
        """A cluster that grows keeps the places of those that were there."""
        group = self.group(slots=2)
        group.steer(at_random([0]))
        group.member(4)
        self.assertEqual({self.chosen(group) for _ in range(20)}, {1})
        group.steer(at_random([4]))
        self.assertEqual(self.chosen(group), 5)

    def test_steered_before_there_is_a_member(self) -> None:
        """The program waits for the first one."""
        group = self.group()
        group.steer(at_random([0]))
        self.assertEqual(self.chosen(group), 0)
        group.member(0)
        self.assertEqual(self.chosen(group), 1)

    def test_at_random(self) -> None:
        """Nobody is left out; once in 100 million million runs somebody is."""
        group = self.group(slots=3)
        group.steer(at_random([0, 2]))
        members = Counter(self.chosen(group) for _ in range(50))
        self.assertEqual(set(members), {1, 3})

    def assert_by_address(self, group: Group, sources: Sequence[str]) -> None:
        for slots in ([0, 1, 2, 3], [0, 1, 3]):
            group.steer(by_address(slots))
            for source in sources:
                slot = slot_of_address(ip_address(source).packed, slots)
                self.assertEqual(self.chosen(group, source), slot + 1, source)

    def test_by_address(self) -> None:
        """The kernel chooses as `slot_of_address` does."""
        self.assert_by_address(self.group(slots=4), LOOPBACK)

    def test_by_address_of_ipv6(self) -> None:
        self.assert_by_address(self.group("::1", slots=4), ["::1"])

    def test_by_address_of_both_families(self) -> None:
        """A socket that an operator passes may take both."""
        with socket.socket(socket.AF_INET6) as first:
            first.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            first.bind(("::", 0))
            first.listen()
            group = Group(first)
            self.addCleanup(group.close)
            group.member(3)
            self.assert_by_address(group, ["::1", *LOOPBACK[:10]])

    def test_spread(self) -> None:
        """A proxy's connections go to all, a client's to one."""
        group = self.group(slots=2)
        group.steer(by_address([0, 1], [ip_network("127.0.0.8/29")]))
        inside = Counter(self.chosen(group, "127.0.0.9") for _ in range(50))
        self.assertEqual(set(inside), {1, 2})
        outside = {self.chosen(group, "127.0.0.16") for _ in range(20)}
        self.assertEqual(len(outside), 1)

    def test_long_program(self) -> None:
        """The kernel takes what many slots and networks need."""
        group = self.group(slots=4)
        networks = [ip_network(f"10.{n}.0.0/16") for n in range(60)]
        group.steer(by_address(range(64), networks))


class InheritanceTests(GroupCase):
    """Another process goes on with a group."""

    def test_numbers_and_program_go_on(self) -> None:
        """Sockets are duplicated on their way; the kernel's group is the same."""
        group = self.group(slots=3)
        group.steer(at_random([1]))
        taker = Group.inherited([member.dup() for member in group.members])
        self.addCleanup(taker.close)
        group.close()
        self.assertEqual(self.chosen(taker), 2)
        taker.member(3)
        self.assertEqual(self.chosen(taker), 2)
        taker.steer(at_random([3]))
        self.assertEqual(self.chosen(taker), 4)

    def test_queues_go_on(self) -> None:
        """A connection that nobody has accepted yet is not lost."""
        group = self.group(slots=1)
        group.steer(at_random([0]))
        with self.connected(group, "127.0.0.1"):
            taker = Group.inherited([member.dup() for member in group.members])
            self.addCleanup(taker.close)
            group.close()
            taker.member(0).accept()[0].close()

    def test_first_one_alone(self) -> None:
        taker = Group.inherited([self.group().members[0].dup()])
        self.addCleanup(taker.close)
        taker.member(0)
        self.assertEqual(self.chosen(taker), 0)
