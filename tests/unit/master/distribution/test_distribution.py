"""Which worker gets which connections: what workers get, hear and are given."""

import os
import socket

from clusterapp.channel.bootstrap import PORT, PRIVATE, QUEUE, SCOREBOARD
from clusterapp.channel.stickiness import Stickiness
from clusterapp.dispatch.rendezvous import slot_of, slot_of_address
from clusterapp.errors import ListenError
from clusterapp.master.distribution.distribution import Distribution
from clusterapp.master.master_sockets import Sockets
from clusterapp.operations import Dispatch
from tests.ports import free_port
from tests.unit.fakes import descriptors
from tests.unit.master.distribution.distributing import TCP, DistributionCase, Filling

POLICIES = {
    "shared": ("shared", None, "workers"),
    "reuseport": ("reuseport", None, "kernel"),
    "round-robin": ("round-robin", None, "master"),
    "least-connections": ("least-connections", None, "master"),
    "sticky": ("sticky", "cookie", "master"),
}


class StartTests(DistributionCase):
    """What the settings say."""

    def test_policies(self) -> None:
        for dispatch, found in POLICIES.items():
            with self.subTest(dispatch):
                self.distribute(dispatch=dispatch)
                self.assertEqual(self.policies(), [found])

    def test_of_each_listener(self) -> None:
        """What is said of a listener wins over what is said of all."""
        self.distribute(
            TCP, f"{TCP}:dispatch=sticky", self.unix, dispatch="least-connections"
        )
        of_all = POLICIES["least-connections"]
        self.assertEqual(self.policies(), [of_all, POLICIES["sticky"], of_all])

    def test_what_is_told_of_listeners(self) -> None:
        self.distribute(self.unix)
        [told] = self.distribution.describe()["listeners"]
        self.assertEqual((told["listener"], told["address"]), (self.unix, self.unix))
        self.assertEqual(self.distribution.describe()["handed_off"], 0)

    def test_by_address(self) -> None:
        """The kernel decides where it sees who the client is."""
        for listen, trusted, by in (
            (TCP, (), "kernel"),
            (TCP, ("10.0.0.0/8",), "kernel"),
            (TCP, ("*",), "master"),
            (f"{TCP}:proxy=v1", (), "master"),
            (self.unix, (), "master"),
        ):
            with self.subTest(listen=listen, trusted=trusted):
                self.distribute(
                    listen,
                    dispatch="sticky",
                    sticky="client-ip",
                    trusted_proxies=trusted,
                )
                self.assertEqual(self.policies(), [("sticky", "client-ip", by)])

    def test_cannot_be(self) -> None:
        """Nothing is left open then."""
        before = descriptors()
        sockets = self.bind(self.settings(self.unix))
        with self.assertRaisesRegex(ListenError, "cannot be reuseport: it is not TCP"):
            self.make(sockets, dispatch="reuseport")
        sockets.close()
        self.assertEqual(descriptors(), before)

    def make(self, sockets: Sockets, **more: object) -> Distribution:
        settings = self.settings(self.unix, **more)
        return Distribution(self.reactor, sockets, settings, b"", 2)


class SuppliesTests(DistributionCase):
    """What the process of a slot inherits, and is told with it."""

    def same(self, descriptor: int, other: socket.socket) -> bool:
        return os.path.sameopenfile(descriptor, other.fileno())

    def test_always(self) -> None:
        self.distribute(dispatch="round-robin")
        child_resources = self.distribution.child_resources(1)
        place = self.sockets.slot(1)
        given = child_resources.descriptors
        self.assertEqual(set(given), {SCOREBOARD, QUEUE, PRIVATE})
        self.assertTrue(self.same(given[QUEUE], place.queue.receiving))
        self.assertTrue(self.same(given[PRIVATE], place.private.socket))
        self.assertEqual(child_resources.listeners, tuple(self.names))
        self.assertEqual(child_resources.shared, ())
        how = Stickiness.from_mapping(child_resources.stickiness)
        self.assertEqual(how, Stickiness((), "cookie", (), b"secret".hex()))

    def test_shared_listener(self) -> None:
        self.distribute(TCP, f"{TCP}:dispatch=round-robin")
        child_resources = self.distribution.child_resources(0)
        first, second = self.names
        self.assertTrue(
            self.same(
                child_resources.descriptors[first],
                self.sockets.public_listeners[0][2].socket,
            )
        )
        self.assertNotIn(second, child_resources.descriptors)
        self.assertEqual(child_resources.listeners, (first, second))
        self.assertEqual(child_resources.shared, (first,))

    def test_listener_with_a_group(self) -> None:
        self.distribute(dispatch="reuseport")
        [name] = self.names
        for slot in (0, 1, 3):
            child_resources = self.distribution.child_resources(slot)
            members = self.sockets.group(self.sockets.public_listeners[0][2]).members
            self.assertTrue(
                self.same(child_resources.descriptors[name], members[slot + 1])
            )
            self.assertEqual(child_resources.shared, ())

    def test_port_of_a_worker(self) -> None:
        port = free_port()
        self.distribute(size=1, worker_ports=port)
        child_resources = self.distribution.child_resources(0)
        found = self.sockets.slot(0).port
        assert found is not None
        self.assertEqual(found.socket.getsockname()[1], port)
        self.assertTrue(self.same(child_resources.descriptors[PORT], found.socket))

    def test_rows(self) -> None:
        """Each process has one, also beside another in its slot, until it is gone."""
        self.distribute()
        rows = [self.distribution.child_resources(0) for _ in range(3)]
        self.assertEqual(len({each.row for each in rows}), 3)
        self.assertNotIn(0, {each.row for each in rows})
        rows[1].gone()
        self.assertEqual(self.distribution.child_resources(1).row, rows[1].row)

    def test_what_holds_now(self) -> None:
        self.distribute(dispatch="sticky", sticky="header:X")
        self.run_in(0, 1)
        how = Stickiness.from_mapping(self.distribution.child_resources(1).stickiness)
        self.assertEqual(
            (how.listeners, how.key, how.slots), (tuple(self.names), "header:X", (0, 1))
        )


class TellingTests(DistributionCase):
    """What workers hear, and when."""

    def news(self, filling: Filling) -> int:
        """Send missed updates to a process; return the number of those received."""
        self.distribution.send_updates(filling)  # type: ignore[arg-type]
        return len(filling.stuck)

    def test_one_that_arrives(self) -> None:
        """Once, what it has not inherited."""
        self.distribute(TCP, f"{TCP}:dispatch=round-robin")
        [filling] = self.run_in(0)
        filling.told.clear()
        filling.stuck.clear()
        late = self.fill(0)
        self.assertEqual(self.news(late), 1)
        self.assertEqual(late.told, {})
        self.assertEqual(self.news(late), 1)

    def test_other_sockets(self) -> None:
        """Those alone that are others than before, also than it was started with."""
        self.distribute(TCP, f"{TCP}:dispatch=round-robin")
        [filling] = self.run_in(0)
        self.assertEqual(filling.told, {})
        first, second = self.names
        listeners = [
            listener.socket for _, _, listener in self.sockets.public_listeners
        ]
        self.set_policy("shared", None, f"{TCP}:dispatch=round-robin")
        self.assertEqual(filling.told, {second: (listeners[1], True)})
        filling.told.clear()
        self.set_policy("round-robin")
        self.assertEqual(filling.told, {first: None, second: None})
        filling.told.clear()
        self.run_in(1)
        self.assertEqual(filling.told, {})
        self.assertEqual(filling.stuck[-1]["slots"], [0, 1])

    def test_slots_change(self) -> None:
        """All workers are sent the same slots when these change."""
        self.distribute(size=3)
        fillings = self.run_in(0, 1)
        for filling in fillings:
            self.assertEqual(filling.stuck[-1]["slots"], [0, 1])
        self.run_in(2)
        for filling in fillings:
            self.assertEqual(filling.stuck[-1]["slots"], [0, 1, 2])

    def test_one_that_comes_again(self) -> None:
        """Its clients wait for it, so nobody else is told anything."""
        self.distribute()
        first, second = self.run_in(0, 1)
        told = len(first.stuck)
        for state in ("backoff", "starting", "running"):
            self.enters(second, state)
        self.assertEqual(len(first.stuck), told)

    def test_one_that_does_not(self) -> None:
        self.distribute()
        first, second = self.run_in(0, 1)
        for state in ("fatal", "draining", "stopped"):
            self.enters(second, "running")
            self.assertEqual(first.stuck[-1]["slots"], [0, 1])
            self.enters(second, state)
            self.assertEqual(first.stuck[-1]["slots"], [0], state)

    def test_one_that_cannot_be_told_yet(self) -> None:
        """It hears all when it can."""
        self.distribute()
        [first] = self.run_in(0)
        starting = self.fill(1)
        starting.state, starting.serves = "starting", False
        self.distribution.changed()
        self.set_policy("round-robin")
        self.assertEqual((starting.stuck, starting.told), ([], {}))
        starting.serves = True
        self.assertEqual(self.news(starting), 1)
        self.assertEqual(starting.told, {self.names[0]: None})
        self.assertEqual(first.told, starting.told)

    def test_one_that_drains(self) -> None:
        """It accepts nothing any more, but still has requests that belong elsewhere."""
        self.distribute()
        retiring, _ = self.run_in(0, 1)
        self.enters(retiring, "draining")
        self.assertEqual(retiring.stuck[-1]["slots"], [1])
        retiring.told.clear()
        self.set_policy("round-robin")
        self.set_policy("shared")
        self.assertEqual(retiring.told, {})

    def test_all_hear_of_a_policy(self) -> None:
        self.distribute()
        fillings = self.run_in(0, 1)
        [name] = self.names
        self.set_policy("reuseport")
        members = self.sockets.group(self.sockets.public_listeners[0][2]).members
        for filling, member in zip(fillings, members[1:], strict=True):
            self.assertEqual(filling.told, {name: (member, False)})
        self.set_policy("least-connections")
        for filling in fillings:
            self.assertEqual(filling.told, {name: None})
        self.set_policy("sticky", "query:s")
        for filling in fillings:
            self.assertEqual(filling.told, {name: None})
            self.assertEqual(filling.stuck[-1]["listeners"], [name])
            self.assertEqual(filling.stuck[-1]["key"], "query:s")


class GivingTests(DistributionCase):
    """What workers are given, as they come and go."""

    def test_those_that_run(self) -> None:
        self.distribute(size=3, dispatch="round-robin")
        _, second, _ = self.run_in(0, 1, 2)
        self.assertEqual(self.come(count=3), [1, 1, 1])
        self.enters(second, "draining")
        self.assertEqual(self.come(count=4)[1], 0)
        self.assertEqual(sum(self.waiting()), 7)

    def test_nobody_runs(self) -> None:
        """They wait where they are."""
        self.distribute(dispatch="round-robin")
        [first] = self.run_in(0)
        self.enters(first, "starting")
        self.assertEqual(self.come(), [0, 0])
        self.enters(first, "running")
        self.reactor.run_dry()
        self.assertEqual(self.waiting(), [1, 0])

    def test_process_that_follows_another(self) -> None:
        """Its figures count from then on."""
        self.distribute(dispatch="least-connections")
        old, other = self.run_in(0, 1)
        old.receives(0)
        new = self.fill(0)
        self.distribution.changed()
        self.come(count=4)
        new.receives(2)
        other.receives(2)
        self.assertEqual(self.waiting(), [0, 0])
        old.exits()
        self.assertEqual(self.waiting(), [0, 0])

    def test_row_that_another_has(self) -> None:
        """What the process before has received is not forgotten."""
        self.distribute(dispatch="round-robin")
        first, second = self.run_in(0, 1)
        self.come(count=4)
        self.take(0)
        self.take(1)
        first.receives(2)
        second.receives(2)
        first.exits()
        self.assertEqual(self.fill(0).row, first.child_resources.row)
        self.assertEqual(self.waiting(), [0, 0])

    def take(self, slot: int) -> None:
        """Receive all that waits for a slot, without a word."""
        for _, number in self.sockets.slot(slot).queue.reclaim_fds():
            os.close(number)

    def test_to_whom_they_belong(self) -> None:
        self.distribute(dispatch="sticky", sticky="query:s")
        self.run_in(0, 1)
        for session, slot in ((n, slot_of(b"%d" % n, (0, 1))) for n in range(8)):
            before = self.waiting()[slot]
            self.ask(b"GET /?s=%d HTTP/1.1\r\nHost: h\r\n\r\n" % session)
            self.assertEqual(self.waiting()[slot], before + 1)

    def test_whose_word_counts(self) -> None:
        """A balancer's, if it is trusted."""
        listen = f"{TCP}:proxy=v1"
        keyed = {"dispatch": "sticky", "sticky": "client-ip"}
        self.distribute(listen, **keyed, trusted_proxies=("127.0.0.1",))  # type: ignore[arg-type]
        self.run_in(0, 1)
        for last in range(8):
            slot = slot_of_address(bytes((192, 0, 2, last)), (0, 1))
            before = self.waiting()[slot]
            line = b"PROXY TCP4 192.0.2.%d 192.0.2.1 1 80\r\n" % last
            self.ask(line + b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            self.assertEqual(self.waiting()[slot], before + 1)

    def ask(self, request: bytes) -> None:
        """Connect a client and send its request."""
        self.connect(self.sockets.public_listeners[0][2].socket).sendall(request)
        self.reactor.run_dry()

    def test_one_that_is_killed(self) -> None:
        """What it has not received is given to the other."""
        self.distribute(dispatch="round-robin")
        first, _ = self.run_in(0, 1)
        self.come(count=4)
        first.exits()
        self.enters(first, "backoff")
        self.assertEqual(self.waiting(), [0, 4])

    def test_figures(self) -> None:
        self.distribute(dispatch="round-robin")
        self.run_in(0, 1)
        self.come(count=4)
        self.reactor.advance(1)
        found = self.distribution.describe()
        self.assertEqual(found["handed_off"], 4)
        self.assertEqual(found["handed_off_per_second"], 4.0)

    def test_stop(self) -> None:
        """Nothing is accepted any more, whatever becomes of the workers."""
        self.distribute(dispatch="round-robin")
        first, _ = self.run_in(0, 1)
        self.distribution.finish()
        self.enters(first, "draining")
        self.assertEqual(self.come(), [0, 0])
        self.assert_nobody_waits()

    def test_policy_after_the_stop(self) -> None:
        """The workers are about to leave, so nobody hears of it."""
        self.distribute(dispatch="round-robin")
        [first] = self.run_in(0)
        self.distribution.finish()
        told = len(first.stuck)
        self.distribution.set_policy(Dispatch("shared"))
        self.assertEqual(len(first.stuck), told)
        self.assert_nobody_waits()
