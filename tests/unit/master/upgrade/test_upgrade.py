"""Two masters, one of which follows the other; neither is a process here."""

import json
import os
import socket
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.upgrade_channel import NewEnd, OldEnd, report_upgrade_failed
from clusterapp.channel.upgrade_state import OperatorChanges
from clusterapp.errors import NeverReadyError, OperationError
from clusterapp.master.upgrade.new_master import (
    VARIABLE,
    InheritedState,
    Successor,
    UpgradeError,
)
from clusterapp.master.upgrade.upgrade import UpgradeRole, Upgrading
from tests.unit.channel.passing import channel
from tests.unit.fakes import descriptors


class NewMaster:
    """Writes down what an old master hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def taken_over(self, pid: int, listeners: list[str]) -> str:
        self.heard.append((pid, listeners))
        return "/run/shop.pid"

    def upgrade_complete(self) -> None:
        self.heard.append("upgrade_complete")

    def upgrade_failed(self, reason: str) -> None:
        self.heard.append(reason)

    def channel_lost(self) -> None:
        self.heard.append("lost")


class Events:
    """Writes down what a new master hears."""

    takes = True

    def __init__(self) -> None:
        self.heard: list[object] = []

    def adopt(self, connection: socket.socket, listener: str) -> Deferred[bool]:
        connection.close()
        self.heard.append(listener)
        return succeed(self.takes)

    def predecessor_gone(self) -> None:
        self.heard.append("gone")


class ChannelTests(SynchronousTestCase):
    """What they say to each other."""

    def setUp(self) -> None:
        self.new_master, self.events = NewMaster(), Events()
        self.old, self.new = OldEnd(self.new_master), NewEnd(self.events)
        self.pump = channel(self.old, self.new)

    def test_take_over(self) -> None:
        told = self.new.take_over(42, ["tcp:8080"])
        self.pump.flush()
        self.assertEqual(self.successResultOf(told), "/run/shop.pid")
        self.assertEqual(self.new_master.heard, [(42, ["tcp:8080"])])

    def test_upgrade_complete(self) -> None:
        self.new.upgrade_complete()
        self.pump.flush()
        self.assertEqual(self.new_master.heard, ["upgrade_complete"])

    def test_upgrade_complete_without_the_old_one(self) -> None:
        """It has died meanwhile."""
        self.old.close()
        self.pump.flush()
        self.new.upgrade_complete()
        self.assertEqual(self.new_master.heard, ["lost"])

    def test_unfit(self) -> None:
        """It is written without a reactor, and read as everything else."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            report_upgrade_failed(ours, "no \udcff database")
            self.old.dataReceived(theirs.recv(65536))
        self.assertEqual(self.new_master.heard, ["no \\udcff database"])

    def test_hand_over(self) -> None:
        """The new one hears by which listener the connection has come."""
        near, far = socket.socketpair()
        with near, far:
            for self.events.takes in (True, False):
                told = self.old.hand_over(far, "1 tcp:81")
                self.pump.flush()
                self.assertIs(self.successResultOf(told), self.events.takes)
        self.assertEqual(self.events.heard, ["1 tcp:81"] * 2)

    def test_hand_over_to_nobody(self) -> None:
        """A new master that has died takes no connection, which is no error."""
        self.new.close()
        self.pump.flush()
        near, far = socket.socketpair()
        with near, far:
            told = self.old.hand_over(far, "1 tcp:81")
            self.assertIs(self.successResultOf(told), False)

    def test_ends(self) -> None:
        """Each hears of the other's end."""
        self.old.close()
        self.pump.flush()
        self.assertEqual(
            (self.new_master.heard, self.events.heard), (["lost"], ["gone"])
        )


class InheritanceTests(SynchronousTestCase):
    """What a new master finds in its environment."""

    def setUp(self) -> None:
        self.before = descriptors()
        self.old, channel = socket.socketpair()
        self.addCleanup(self.old.close)
        told, telling = socket.socketpair()
        with telling:
            telling.send(b"a secret")
        made = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        self.addresses = [each.getsockname() for each in made]
        specs = ("tcp:0", "tcp:0", "tcp:80")
        listeners = list(zip(specs, (each.detach() for each in made), strict=True))
        bequest = {
            "channel": channel.detach(),
            "secret": told.detach(),
            "listeners": listeners,
        }
        self.environ = {VARIABLE: json.dumps(bequest), "A": "1"}
        found = InheritedState.from_environ(self.environ)
        assert found is not None
        self.inherited = found
        self.assertEqual(found.operator_changes, OperatorChanges())

    def test_nothing(self) -> None:
        """Its own children are told nothing of it."""
        self.assertEqual(self.environ, {"A": "1"})
        self.assertIsNone(InheritedState.from_environ(self.environ))
        self.assertEqual(self.inherited.secret, b"a secret")
        self.finish()

    def test_listeners(self) -> None:
        """Of two that are specified alike each is taken once; the rest is closed."""
        taken = [self.inherited.take("tcp:0") for _ in range(3)]
        self.assertIsNone(taken.pop())
        for each, address in zip(taken, self.addresses, strict=False):
            assert each is not None
            self.assertEqual(each.getsockname(), address)
            self.assertFalse(each.get_inheritable())
            each.close()
        self.assertIsNone(self.inherited.take("unix:/a"))
        self.assertEqual(self.inherited.taken, ["tcp:0", "tcp:0"])
        self.finish()

    def test_unfit(self) -> None:
        self.inherited.upgrade_failed("no database")
        self.assertIn(b"no database", self.old.recv(65536))
        self.finish()

    def test_unfit_for_nobody(self) -> None:
        """The old master has gone meanwhile."""
        self.old.close()
        self.inherited.upgrade_failed("no database")
        self.finish()

    def finish(self) -> None:
        self.inherited.leave_the_rest()
        self.inherited._channel.close()
        self.old.close()
        self.assertEqual(descriptors(), self.before)


class FakeInheritance:
    """An inheritance that writes down what it is used for."""

    def __init__(self) -> None:
        self.did: list[object] = []
        self.answer: Deferred[str] = Deferred()
        self.secret = b"a secret"
        self.operator_changes = OperatorChanges()

    def take_over(self) -> Deferred[str]:
        self.did.append("take over")
        return self.answer

    def upgrade_complete(self) -> None:
        self.did.append("upgrade_complete")

    def upgrade_failed(self, reason: str) -> None:
        self.did.append(reason)


class UpgradeTests(SynchronousTestCase):
    """When a new master takes over, and which one can be followed."""

    def setUp(self) -> None:
        self.led: list[str] = []
        self.inherited = FakeInheritance()
        self.slots = {n: SimpleNamespace(state="starting") for n in range(2)}
        self.deployment = SimpleNamespace(
            pool=SimpleNamespace(slots=self.slots), core_is_ready=False
        )
        self.master = SimpleNamespace(
            phase="starting",
            reactor=Clock(),
            deployment=self.deployment,
            operations=SimpleNamespace(operator_changes=OperatorChanges),
        )
        self.upgrade_role = UpgradeRole(
            cast("Any", self.master),
            Upgrading(cast("InheritedState", self.inherited), self.led.append, None),
        )

    def check(self) -> None:
        self.upgrade_role.check(cast("Any", self.deployment))

    def test_all_must_be_ready(self) -> None:
        """Every worker, and the core; then it is said once."""
        self.check()
        self.deployment.core_is_ready = True
        self.slots[0].state = "running"
        self.check()
        self.assertEqual(self.inherited.did, [])
        self.slots[1].state = "running"
        self.check()
        self.check()
        self.assertEqual(self.inherited.did, ["take over"])
        self.assertEqual(self.led, [])
        self.inherited.answer.callback("/run/shop.pid")
        self.assertEqual(self.led, ["/run/shop.pid"])
        self.assertEqual(self.inherited.did, ["take over", "upgrade_complete"])

    def test_slots_that_stay_empty(self) -> None:
        """What an operator has drained is not waited for."""
        self.deployment.core_is_ready = True
        self.slots[0].state = "stopped"
        self.check()
        self.assertEqual(self.inherited.did, [])
        self.slots[1].state = "running"
        self.check()
        self.assertEqual(self.inherited.did, ["take over"])

    def test_old_master_does_not_answer(self) -> None:
        """The new one leads all the same; only what is no usual end is logged."""
        self.deployment.core_is_ready = True
        for error, logged in ((ConnectionLost(), 0), (ValueError("pid file"), 1)):
            self.setUp()
            self.deployment.core_is_ready = True
            for slot in self.slots.values():
                slot.state = "running"
            self.check()
            self.inherited.answer.errback(error)
            self.assertEqual(self.led, [""])
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), logged)

    def test_lead_that_fails(self) -> None:
        """It is logged, and no Deferred is left without an errback."""

        def on_active(_: str) -> None:
            raise OSError("no pid file can be written")

        self.upgrade_role._on_active = on_active
        self.deployment.core_is_ready = True
        for slot in self.slots.values():
            slot.state = "running"
        self.check()
        self.inherited.answer.callback("/run/shop.pid")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_old_master_goes_first(self) -> None:
        """Somebody must lead."""
        self.upgrade_role.predecessor_gone()
        self.upgrade_role.predecessor_gone()
        self.assertEqual(self.led, [""])
        self.check()
        self.assertEqual(self.inherited.did, [])

    def test_end_of_its_own(self) -> None:
        """A new master that stops closes the channel itself, and leads nobody."""
        self.master.phase = "stopping"
        self.upgrade_role.predecessor_gone()
        self.assertEqual(self.led, [])

    def test_unfit(self) -> None:
        self.upgrade_role.upgrade_failed(NeverReadyError("no worker ever became ready"))
        self.assertEqual(self.inherited.did, ["no worker ever became ready"])

    def test_next_one_is_unfit(self) -> None:
        """It may have steered the kernel, which has to do as before."""
        steered: list[str] = []
        self.master.sockets = SimpleNamespace(inheritable_sockets=list)
        self.master.settings = SimpleNamespace(boot_timeout=1.0)
        self.master.distribution = SimpleNamespace(
            steer_anew=lambda: steered.append("anew")
        )

        async def start(*_: object) -> None:
            raise UpgradeError("no database")

        successor: Any = SimpleNamespace(start=start)
        ended = Deferred.fromCoroutine(
            self.upgrade_role._bring_up(successor, lambda _: None)
        )
        self.failureResultOf(ended, UpgradeError)
        self.assertEqual(steered, ["anew"])

    def test_done_when_the_next_one_is_found(self) -> None:
        """The upgrade is reported only when the new master can be addressed."""
        ends: list[bool] = []
        self.master.sockets = SimpleNamespace(
            inheritable_sockets=list, give_up=lambda _: None
        )
        self.master.settings = SimpleNamespace(boot_timeout=1.0)
        self.master.end = lambda *, quick: ends.append(quick)

        async def start(*_: object) -> tuple[int, list[str]]:
            return 42, []

        upgrade_complete: Deferred[None] = Deferred()
        successor: Any = SimpleNamespace(
            start=start, adopt=None, wait_until_complete=lambda: upgrade_complete
        )
        ended = Deferred.fromCoroutine(
            self.upgrade_role._bring_up(successor, lambda _: None)
        )
        self.assertNoResult(ended)
        self.assertTrue(self.upgrade_role.is_superseded)
        upgrade_complete.callback(None)
        self.assertIn("pid 42 has taken over", self.successResultOf(ended))
        self.master.reactor.advance(0)
        self.assertEqual(ends, [False])

    def test_the_next_one_is_not_found(self) -> None:
        """It may hang, or be gone again; nobody waits for ever."""
        for news in ("", "upgrade_complete", "channel_lost"):
            successor = Successor(self.master.reactor, cast("Any", None))
            waited = successor.wait_until_complete()
            self.assertNoResult(waited)
            if news:
                getattr(successor, news)()
            else:
                self.master.reactor.advance(15)
            self.successResultOf(waited)
            successor.upgrade_complete()

    def test_the_next_one_is_late(self) -> None:
        """The verdict says how long the old one has waited."""
        command: Any = SimpleNamespace(prepare=lambda: None, folder=".")
        successor = Successor(self.master.reactor, command)
        self.patch(successor, "_spawn", lambda *_: None)
        started = Deferred.fromCoroutine(
            successor.start([], b"", 60.0, OperatorChanges())
        )
        self.master.reactor.advance(74)
        self.assertNoResult(started)
        self.master.reactor.advance(1)
        error = self.failureResultOf(started, UpgradeError).value
        self.assertEqual(str(error), "the new master was not ready within 75 s")

    def test_nobody_can_follow(self) -> None:
        begin = self.upgrade_role.begin
        with self.assertRaisesRegex(OperationError, "without --uid"):
            _ = begin(lambda _: None)
        self.patch(os, "getpid", lambda: 1)
        with self.assertRaisesRegex(OperationError, "the master is PID 1"):
            _ = begin(lambda _: None)
