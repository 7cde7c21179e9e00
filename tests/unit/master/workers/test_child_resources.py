"""What the processes of a slot inherit, and the connections they are given."""

import os
import socket

from twisted.logger import LogLevel

from clusterapp.errors import ListenError
from clusterapp.interfaces import StaticFolder
from clusterapp.master.workers.child_resources import ChildResources
from tests.unit.fakes import FakeChild, out_of_processes
from tests.unit.master.workers.test_child_slot import SlotCase


class SuppliesTests(SlotCase):
    """What each process of a slot inherits."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[int] = []
        self.gone: list[int] = []
        self.missing: Exception | None = None
        self.listening = socket.socket()
        self.addCleanup(self.listening.close)

    def supply(self, number: int) -> ChildResources:
        if self.missing is not None:
            raise self.missing
        self.asked.append(number)
        row = len(self.asked)
        return ChildResources(
            {"1 tcp:81": self.listening.fileno()},
            listeners=("0 tcp:80", "1 tcp:81"),
            shared=("1 tcp:81",),
            row=row,
            stickiness={"slots": [row]},
            gone=lambda: self.gone.append(row),
        )

    def test_told(self) -> None:
        """The process finds in its document what it has, and what there is."""
        document = self.started().bootstrap
        self.assertEqual(document["sockets"], {"1 tcp:81": 6})
        self.assertEqual(document["listeners"], ["0 tcp:80", "1 tcp:81"])
        self.assertEqual(document["shared"], ["1 tcp:81"])
        self.assertEqual((document["row"], document["stickiness"]), (1, {"slots": [1]}))
        found = os.fstat(self.listening.fileno())
        self.assertEqual(
            self.reactor.children[-1].started.passed[6], (found.st_dev, found.st_ino)
        )

    def test_anew_for_each_process(self) -> None:
        """What one has had is given up before the next one gets anything."""
        self.assertIsNone(self.slot.row)
        child = self.running()
        self.assertEqual((self.slot.row, self.gone), (1, []))
        child.exit(signal=9)
        self.assertEqual((self.slot.row, self.gone), (None, [1]))
        self.reactor.advance(1)
        self.assertEqual(self.reactor.children[-1].bootstrap["row"], 2)
        self.assertEqual((self.slot.row, self.asked), (2, [3, 3]))

    def test_process_cannot_be_spawned(self) -> None:
        """It gives up at once what it would have had."""
        self.reactor.spawn_error = out_of_processes()
        self.slot.start()
        self.assertEqual((self.slot.row, self.gone), (None, [1]))
        self.slot.drain()
        self.assertEqual(self.gone, [1])

    def test_nothing_to_give(self) -> None:
        """That is a crash like others: what there is not may be there later."""
        for missing in (ListenError("tcp:3001: in use"), out_of_processes()):
            self.slot = self.make("worker", 3)
            self.missing = missing
            self.slot.start()
            self.assertEqual(self.slot.state, "backoff")
            self.assertIn(
                f"worker 3 cannot be started: {missing}",
                self.log.lines(LogLevel.error),
            )
            self.missing = None
            self.reactor.advance(1)
            self.assertEqual(self.slot.state, "starting")
        self.assertEqual(self.gone, [])


class DoorsTests(SlotCase):
    """How connections come to a slot's process, and leave it."""

    def test_distribution(self) -> None:
        """Only a process that is ready is told; others have it in their documents."""
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))

            def tell(child: FakeChild | None = None) -> None:
                self.slot.accept("0 tcp:80", listening, shared=True)
                self.slot.accept("1 tcp:81", listening, shared=False)
                self.slot.refuse("0 tcp:80")
                self.slot.update_affinity('{"slots": [3]}')
                if child is not None:
                    child.flush()

            tell()
            child = self.started()
            tell(child)
            self.assertEqual((child.listening, child.stickiness), ({}, {}))
            child.say_ready()
            tell(child)
            self.assertEqual(child.listening, {"1 tcp:81": False})
            self.assertEqual(child.stickiness, {"slots": [3]})
            child.exit()
            tell()

    def test_adopt(self) -> None:
        """The process hears by which listener a connection has come, if by any."""
        near, far = socket.socketpair()
        with near, far:
            self.assertIs(self.successResultOf(self.slot.adopt(far, "0 tcp:80")), False)
            child = self.running()
            told = [self.slot.adopt(far, "0 tcp:80"), self.slot.adopt(far)]
            child.flush()
            self.assertEqual([self.successResultOf(each) for each in told], [True] * 2)
            self.assertEqual(child.listeners, ["0 tcp:80", ""])
            for each in child.adopted:
                each.close()
            child.exit()
            self.assertIs(self.successResultOf(self.slot.adopt(far)), False)

    def test_hand_over(self) -> None:
        child = self.running()
        near, far = socket.socketpair()
        with near, far:
            told = child.end.hand_over(far, "0 tcp:80")
            child.flush()
        self.assertTrue(self.successResultOf(told))
        self.assertEqual(self.watcher.listeners, ["0 tcp:80"])

    def test_static_files(self) -> None:
        child = self.started()
        static = StaticFolder("/static/", "/srv/shop/static")
        child.end.ready(static)
        child.flush()
        self.assertEqual(self.slot.static, static)
