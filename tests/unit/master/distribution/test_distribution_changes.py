"""Distributing in another way while all runs, and what the kernel is asked for."""

import contextlib
from collections.abc import Sequence
from ipaddress import ip_network

from twisted.logger import LogLevel

from clusterapp.dispatch.steering import Program, at_random, by_address, first_only
from clusterapp.errors import ListenError, OperationError
from clusterapp.listening.reuseport import Group
from clusterapp.master.rollout.deployment import Deployment
from tests.unit.arriving import descriptors_left
from tests.unit.fakes import Log
from tests.unit.master.distribution.distributing import TCP, DistributionCase, Filling
from tests.unit.master.masters import MasterCase


class PolicyTests(DistributionCase):
    """What an operator asks for."""

    def test_all_listeners(self) -> None:
        self.distribute(TCP, self.unix)
        said = self.set_policy("round-robin")
        self.assertEqual(said, f"{TCP}: round-robin; {self.unix}: round-robin")
        self.assertEqual(self.policies(), [("round-robin", None, "master")] * 2)

    def test_one_listener(self) -> None:
        self.distribute(TCP, self.unix)
        said = self.set_policy("sticky", None, self.unix)
        self.assertEqual(said, f"{TCP}: shared; {self.unix}: sticky by cookie")

    def test_no_such_listener(self) -> None:
        self.distribute(TCP, self.unix)
        self.assertEqual(
            self.refused("sticky", "client-ip", "tcp:1"),
            f"there is no listener tcp:1; there are {TCP}, {self.unix}",
        )
        self.assertEqual(self.policies(), [("shared", None, "workers")] * 2)

    def test_key(self) -> None:
        """It stays when another policy is chosen without one."""
        self.distribute(self.unix)
        self.set_policy("sticky", "header:X")
        self.set_policy("shared")
        self.assertEqual(self.set_policy("sticky"), f"{self.unix}: sticky by header:X")

    def test_key_of_another_listener(self) -> None:
        """There is one for all, so it may be for the master to decide, or no more."""
        self.distribute(TCP, self.unix, dispatch="sticky", sticky="client-ip")
        self.assertEqual(self.policies()[0][2], "kernel")
        self.set_policy("sticky", "cookie", self.unix)
        self.assertEqual(self.policies()[0], ("sticky", "cookie", "master"))
        self.set_policy("sticky", "client-ip", self.unix)
        self.assertEqual(self.policies()[0], ("sticky", "client-ip", "kernel"))

    def test_clients_follow(self) -> None:
        """Connections go where the new policy says at once."""
        self.distribute()
        self.run_in(0, 1)
        self.assertEqual(self.come(), [0, 0])
        self.set_policy("round-robin")
        self.assertEqual(self.come(), [1, 1])
        self.set_policy("shared")
        self.assertEqual(self.come(), [1, 1])

    def test_sockets_of_all_slots_are_made_at_once(self) -> None:
        """Those of slots that are empty, too: the kernel is to know them."""
        self.distribute(size=3)
        self.run_in(1)
        self.set_policy("reuseport")
        group = self.sockets.group(self.sockets.public_listeners[0][2])
        self.assertEqual(len(group.members), 4)


class UndoneTests(DistributionCase):
    """What cannot be done, and leaves all as it was."""

    def told(self, fillings: Sequence[Filling]) -> list[object]:
        return [(dict(each.told), len(each.stuck)) for each in fillings]

    def test_listener_that_is_no_port(self) -> None:
        """The other one is not distributed in the new way either."""
        self.distribute(TCP, self.unix, dispatch="sticky", sticky="query:s")
        fillings = self.run_in(0, 1)
        before = self.policies(), self.told(fillings)
        error = self.refused("reuseport", "client-ip")
        self.assertEqual(error, f"{self.unix} cannot be reuseport: it is not TCP")
        self.assertEqual((self.policies(), self.told(fillings)), before)
        self.assertEqual(
            self.set_policy("shared", None, TCP).split("; ")[0], f"{TCP}: shared"
        )

    def test_sockets_that_cannot_be_had(self) -> None:
        """It is known before any worker is told to accept from them."""
        self.distribute(size=3)
        fillings = self.run_in(0, 1, 2)
        before = self.policies(), self.told(fillings)
        with descriptors_left(2):
            error = self.assertRaises(OperationError, self.set_policy, "reuseport")
        self.assertIn("Too many open files", str(error))
        self.assertEqual((self.policies(), self.told(fillings)), before)
        self.set_policy("reuseport")
        self.assertEqual(self.policies(), [("reuseport", None, "kernel")])

    def test_kernel_is_not_needed(self) -> None:
        """Where it could decide and cannot, the master does."""
        log = Log(self)
        self.distribute(size=3)
        with descriptors_left(1):
            self.set_policy("sticky", "client-ip")
        self.assertEqual(self.policies(), [("sticky", "client-ip", "master")])
        self.assertIn("dispatched by the master: cannot listen on", log.text())


class AddedTests(DistributionCase):
    """A slot that is added, and for which the kernel makes no more sockets."""

    def add(self, dispatch: str) -> tuple[Filling, str]:
        """Try to add one; tell who decides then."""
        self.distribute(dispatch=dispatch, sticky="client-ip")
        [first] = self.run_in(0)
        self.sockets.slot(2)
        with descriptors_left(0), contextlib.suppress(ListenError):
            self.fill(2)
        self.distribution.changed()
        return first, self.policies()[0][2]

    def test_kernel_is_needed(self) -> None:
        """It is not added, and nothing else changes."""
        first, by = self.add("reuseport")
        self.assertEqual((by, set(self.pool.slots)), ("kernel", {0}))
        self.assertNotIn(None, first.told.values())
        self.assertEqual(first.stuck[-1]["slots"], [0])

    def test_kernel_is_not_needed(self) -> None:
        """The master decides from then on."""
        first, by = self.add("sticky")
        self.assertEqual((by, set(self.pool.slots)), ("master", {0, 2}))
        self.assertEqual(first.told, {self.names[0]: None})
        self.assertNotIn(self.names[0], self.pool.slots[2].child_resources.descriptors)  # type: ignore[attr-defined]


class SettingsTests(DistributionCase):
    """What a reload brings."""

    def reload(self, *listen: str, **more: object) -> None:
        """Apply other settings, as a reload does."""
        before, self.chosen = self.chosen, self.settings(*listen, **more)
        self.distribution.settings_changed(before, self.chosen)

    def test_same_settings(self) -> None:
        """What an operator has changed since then holds."""
        self.distribute()
        [filling] = self.run_in(0)
        self.set_policy("round-robin")
        told = len(filling.stuck)
        self.reload(workers=7)
        self.assertEqual(self.policies(), [("round-robin", None, "master")])
        self.assertEqual(len(filling.stuck), told)

    def test_other_policy(self) -> None:
        self.distribute(TCP, f"{TCP}:dispatch=shared")
        [filling] = self.run_in(0)
        self.reload(TCP, f"{TCP}:dispatch=shared", dispatch="sticky", sticky="query:s")
        self.assertEqual(
            self.policies(),
            [("sticky", "query:s", "master"), ("shared", None, "workers")],
        )
        self.assertEqual(filling.stuck[-1]["key"], "query:s")
        self.assertIsNone(filling.told[self.names[0]])

    def test_other_proxies(self) -> None:
        """If every peer is a trusted proxy, the kernel cannot steer by address."""
        keyed = {"dispatch": "sticky", "sticky": "client-ip"}
        self.distribute(**keyed)  # type: ignore[arg-type]
        self.reload(**keyed, trusted_proxies=("*",))
        self.assertEqual(self.policies(), [("sticky", "client-ip", "master")])
        self.reload(**keyed)
        self.assertEqual(self.policies(), [("sticky", "client-ip", "kernel")])

    def test_other_proxies_alone(self) -> None:
        """They undo nothing that an operator has changed."""
        self.distribute()
        self.run_in(0)
        self.set_policy("round-robin")
        self.reload(trusted_proxies=("10.0.0.0/8",))
        self.assertEqual(self.policies(), [("round-robin", None, "master")])

    def test_cannot_be(self) -> None:
        """It is said, and what was holds; proxies and key as well."""
        self.distribute(TCP, self.unix, dispatch="sticky", sticky="client-ip")
        before = self.policies()
        changed = {
            "dispatch": "reuseport",
            "sticky": "cookie",
            "trusted_proxies": ("*",),
        }
        with self.assertRaisesRegex(OperationError, "it is not TCP"):
            self.reload(TCP, self.unix, **changed)
        self.assertEqual(self.policies(), before)
        self.set_policy("sticky")
        self.assertEqual(self.policies(), before)


class SteeringTests(DistributionCase):
    """What the kernel is asked for."""

    def setUp(self) -> None:
        super().setUp()
        #: The programs, without those that are asked for once more.
        self.programs: list[Program] = []
        self.last: Program = ()
        steer = Group.steer

        def note(group: Group, program: Program) -> None:
            steer(group, program)
            if program != self.last:
                self.programs.append(program)
            self.last = program

        self.patch(Group, "steer", note)

    def steered(self) -> list[Program]:
        """Return the programs since this was asked."""
        programs, self.programs = self.programs, []
        return programs

    def test_no_group(self) -> None:
        self.distribute(dispatch="round-robin")
        self.run_in(0, 1)
        self.assertEqual(self.steered(), [])

    def test_those_that_run(self) -> None:
        """What comes is for those alone that accept."""
        self.distribute(size=3, dispatch="reuseport")
        _, second, _ = self.run_in(0, 1, 2)
        self.assertEqual(self.steered()[-1:], [at_random([0, 1, 2])])
        self.enters(second, "backoff")
        self.assertEqual(self.steered(), [at_random([0, 2])])
        self.enters(second, "running")
        self.assertEqual(self.steered(), [at_random([0, 1, 2])])

    def test_none_runs(self) -> None:
        """It waits for those that are started; without any, in the first socket."""
        self.distribute(dispatch="reuseport")
        first, second = self.run_in(0, 1)
        self.steered()
        self.enters(first, "backoff")
        self.enters(second, "backoff")
        self.assertEqual(self.steered()[-1:], [at_random([0, 1])])
        self.enters(first, "fatal")
        self.enters(second, "fatal")
        self.assertEqual(self.steered()[-1:], [first_only()])

    def test_by_address(self) -> None:
        """Clients wait for the worker that has them; proxies are spread."""
        networks = ("10.0.0.0/8", "fd00::/8")
        self.distribute(dispatch="sticky", sticky="client-ip", trusted_proxies=networks)
        first, _ = self.run_in(0, 1)
        spread = [ip_network(network) for network in networks]
        self.assertEqual(self.steered()[-1:], [by_address([0, 1], spread)])
        self.enters(first, "backoff")
        self.assertEqual(self.steered(), [])
        self.enters(first, "fatal")
        self.assertEqual(self.steered(), [by_address([1], spread)])

    def test_another_policy(self) -> None:
        """The kernel gives everything to the first socket again."""
        self.distribute(dispatch="reuseport", trusted_proxies=())
        self.run_in(0, 1)
        self.steered()
        for policy in ("shared", "round-robin"):
            self.set_policy(policy)
        self.assertEqual(self.steered(), [first_only()])
        self.set_policy("sticky", "client-ip")
        self.assertEqual(self.steered(), [by_address([0, 1])])

    def test_too_many_for_a_program(self) -> None:
        """The master decides then, and workers do not accept."""
        log = Log(self)
        self.distribute(
            dispatch="sticky",
            sticky="client-ip",
            trusted_proxies=tuple(f"10.0.{n // 250}.{n % 250}" for n in range(1500)),
        )
        [filling] = self.run_in(0)
        self.assertEqual(self.policies(), [("sticky", "client-ip", "master")])
        self.assertEqual(self.steered()[-1:], [first_only()])
        self.assertEqual(filling.told, {self.names[0]: None})
        self.assertIn("dispatched by the master", log.lines(LogLevel.warn)[0])


class UpgradeTests(DistributionCase):
    """A master that follows another one."""

    def test_other_settings(self) -> None:
        """What waits in the sockets of slots is not lost, though none is used."""
        for dispatch in ("shared", "round-robin"):
            with self.subTest(dispatch):
                self.distribute(dispatch="reuseport")
                self.run_in(0, 1)
                listening = self.sockets.public_listeners[0][2].socket
                clients = [self.connect(listening) for _ in range(5)]
                inherited = self.bequeathed()
                self.distribution.finish()
                self.sockets.close()
                self.distribute(dispatch=dispatch, inherited=inherited)
                self.run_in(0, 1)
                self.reactor.run_dry()
                self.assertEqual(sum(self.waiting()), len(clients))


class ServiceTests(MasterCase):
    """A master whose distribution begins, or ends."""

    def test_start_fails_behind_it(self) -> None:
        """Nothing of it is left, neither a timer nor memory."""

        def failing(_: Deployment) -> None:
            raise ListenError("no core")

        self.patch(Deployment, "start_core", failing)
        with self.assertRaisesRegex(ListenError, "no core"):
            self.make(dispatch="round-robin", core="isolated").startService()
        self.assert_nothing_left()
