"""Accepting in the master, on real sockets."""

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from clusterapp.master.distribution import accept_loop
from clusterapp.master.distribution.accept_loop import AcceptLoop
from tests.unit.arriving import ArrivingCase, descriptors_left
from tests.unit.fakes import Log


class Failing:
    """A listening socket from which nothing can be accepted."""

    def __init__(self, number: int) -> None:
        self.error = OSError(number, os.strerror(number))

    def fileno(self) -> int:
        return 99

    def fail(self, _: object) -> tuple[int, object]:
        raise self.error


class ArrivalsCase(ArrivingCase):
    """A port, and what arrives there."""

    def setUp(self) -> None:
        super().setUp()
        self.log = Log(self)
        self.listening = self.listen()
        self.came: list[tuple[int, Any]] = []
        self.turns = 0
        self.arrivals = self.make(self.listening)

    def make(
        self, listening: Any, arrived: Callable[[int, Any], None] | None = None
    ) -> AcceptLoop:
        arrivals = AcceptLoop(
            self.reactor, listening, arrived or self.arrived, self.all_arrived
        )
        self.addCleanup(arrivals.turn, on=False)
        return arrivals

    def arrived(self, connection: int, peer: Any) -> None:
        self.addCleanup(os.close, connection)
        self.came.append((connection, peer))

    def all_arrived(self) -> None:
        self.turns += 1


class ArrivalsTests(ArrivalsCase):
    """What arrives, and when."""

    def test_interface(self) -> None:
        verifyObject(IReadDescriptor, self.arrivals)

    def test_nothing_before_it_is_turned_on(self) -> None:
        self.connect(self.listening)
        self.assertEqual(self.reactor.turn(), 0)
        self.arrivals.turn(on=True)
        self.reactor.turn()
        self.assertEqual(len(self.came), 1)

    def test_all_that_is_there(self) -> None:
        """In the order in which they came, and then it is said that these are all."""
        clients = [self.connect(self.listening) for _ in range(3)]
        self.arrivals.turn(on=True)
        self.reactor.turn()
        peers = [peer for _, peer in self.came]
        self.assertEqual(peers, [client.getsockname() for client in clients])
        self.assertEqual(self.turns, 1)

    def test_bounded(self) -> None:
        """Others that the reactor has to tell something get their turn."""
        for _ in range(40):
            self.connect(self.listening)
        self.arrivals.turn(on=True)
        self.reactor.turn()
        self.assertEqual((len(self.came), self.turns), (32, 1))
        self.reactor.turn()
        self.assertEqual((len(self.came), self.turns), (40, 2))

    def test_descriptor_is_nobody_elses(self) -> None:
        """No program inherits it, and nothing is left of it but what was given."""
        client = self.connect(self.listening)
        self.arrivals.turn(on=True)
        self.reactor.turn()
        [(connection, _)] = self.came
        self.assertFalse(os.get_inheritable(connection))
        os.write(connection, b"x")
        self.assertEqual(client.recv(1), b"x")

    def test_turned_off(self) -> None:
        """What is in the queue stays there."""
        self.arrivals.turn(on=True)
        client = self.connect(self.listening)
        self.arrivals.turn(on=False)
        self.assertEqual(self.reactor.turn(), 0)
        self.assert_open(client)
        accepted, _ = self.listening.accept()
        accepted.close()

    def test_turned_twice(self) -> None:
        self.arrivals.turn(on=False)
        self.arrivals.turn(on=True)
        self.arrivals.turn(on=True)
        self.assertEqual(self.reactor.getReaders(), [self.arrivals])
        self.arrivals.turn(on=False)
        self.assert_nobody_waits()

    def test_turned_off_by_what_arrives(self) -> None:
        """Nobody has room for more: the rest stays in the queue."""

        def arrived(connection: int, peer: Any) -> None:
            self.arrived(connection, peer)
            if len(self.came) == 2:
                arrivals.turn(on=False)

        arrivals = self.make(self.listening, arrived)
        for _ in range(4):
            self.connect(self.listening)
        arrivals.turn(on=True)
        self.reactor.turn()
        self.assertEqual((len(self.came), self.turns), (2, 1))
        arrivals.turn(on=True)
        arrivals.doRead()
        self.assertEqual(len(self.came), 4)

    def test_nothing_there_after_all(self) -> None:
        """An older master accepts from the same socket."""
        self.arrivals.turn(on=True)
        self.arrivals.doRead()
        self.assertEqual(self.came, [])
        self.assertEqual(self.reactor.getReaders(), [self.arrivals])
        self.assertEqual(self.log.lines(), [])

    def test_reactor_ends(self) -> None:
        """It tells all that it still reads from; there is nothing to be done."""
        self.arrivals.connectionLost(Failure(ConnectionLost()))


class TroubleTests(ArrivalsCase):
    """What accept(2) may say instead, and what may fail behind it."""

    def failing(self, number: int) -> AcceptLoop:
        """Return an accept loop whose accept(2) has failed with this error number."""
        failing = Failing(number)
        self.patch(accept_loop, "accept", failing.fail)
        arrivals = self.make(failing)
        arrivals.turn(on=True)
        arrivals.doRead()
        return arrivals

    def test_out_of_descriptors(self) -> None:
        """What came before that is passed on; the queue is left alone for a second."""
        for _ in range(3):
            self.connect(self.listening)
        self.arrivals.turn(on=True)
        with descriptors_left(2):
            self.arrivals.doRead()
        self.assertEqual((len(self.came), self.turns), (2, 1))
        self.assertEqual(
            self.log.lines(),
            ["cannot accept: [Errno 24] Too many open files; trying again in 1.0 s"],
        )
        self.reactor.advance(0.9)
        self.assertEqual(self.reactor.turn(), 0)
        self.reactor.advance(0.1)
        self.reactor.turn()
        self.assertEqual(len(self.came), 3)

    def test_turned_off_during_the_pause(self) -> None:
        arrivals = self.failing(errno.ENFILE)
        arrivals.turn(on=False)
        self.assert_nobody_waits()

    def test_turned_on_once_more_during_the_pause(self) -> None:
        """It is on, and waits."""
        arrivals = self.failing(errno.ENFILE)
        arrivals.turn(on=True)
        self.assertEqual(self.reactor.getReaders(), [])

    def test_turned_on_again_after_the_pause(self) -> None:
        arrivals = self.failing(errno.ENFILE)
        self.reactor.advance(1)
        self.assertEqual(self.reactor.getReaders(), [arrivals])
        arrivals.turn(on=False)
        self.assert_nobody_waits()

    def test_trouble_of_one_connection(self) -> None:
        """The next one may be well, and it is no news for an operator."""
        for number in (errno.ECONNABORTED, errno.EPROTO, errno.EPERM):
            arrivals = self.failing(number)
            self.assertIn(arrivals, self.reactor.getReaders())
            arrivals.turn(on=False)
        self.assertEqual(self.log.lines(), [])

    def test_mistake_behind_it(self) -> None:
        """It is logged, and no reason to accept no more: the next one is served."""
        mistakes: list[Exception] = [ZeroDivisionError(), OSError(errno.EBADF, "bad")]

        def arrived(connection: int, peer: Any) -> None:
            self.arrived(connection, peer)
            if mistakes:
                raise mistakes.pop()

        arrivals = self.make(self.listening, arrived)
        arrivals.turn(on=True)
        for _ in range(3):
            self.connect(self.listening)
        self.reactor.turn()
        self.assertEqual((len(self.came), self.turns), (3, 1))
        self.assertEqual(self.reactor.getReaders(), [arrivals])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, OSError)), 2)


class UnixTests(ArrivalsCase):
    """A listener that is a path."""

    def test_peer(self) -> None:
        """Clients have no address there."""
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind("")  # a name that the kernel chooses
        listening.listen()
        listening.setblocking(False)
        arrivals = self.make(listening)
        arrivals.turn(on=True)
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(listening.getsockname())
        self.reactor.turn()
        [(_, peer)] = self.came
        self.assertFalse(peer)
