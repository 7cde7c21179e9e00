"""Connections on their way from a master to a worker, over real sockets."""

import errno
import os
import socket

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from clusterapp.listening.handoff import MOST_AT_ONCE, HandoffQueue, Receiver, receive
from tests.unit.arriving import ArrivingCase, descriptors_left
from tests.unit.fakes import Log


class QueueCase(ArrivingCase):
    """A slot's queue."""

    def setUp(self) -> None:
        super().setUp()
        self.queue = HandoffQueue()
        self.addCleanup(self.queue.close)

    def send(self, listeners: bytes) -> list[socket.socket]:
        """Send a connection for each door, in one message; return their clients."""
        pairs = [self.raw() for _ in listeners]
        self.assertTrue(self.queue.send(listeners, [number for _, number in pairs]))
        for _, number in pairs:
            os.close(number)
        return [client for client, _ in pairs]

    def received(self) -> list[tuple[int, int]]:
        """Receive a message, whose connections the test closes at its end."""
        found = [*receive(self.queue.receiving).connections]
        for _, number in found:
            self.addCleanup(os.close, number)
        return found


class QueueTests(QueueCase):
    """What becomes of connections that are sent."""

    def test_nothing_there(self) -> None:
        self.assertEqual(self.received(), [])
        self.assertEqual(self.queue.reclaim_fds(), [])

    def test_together(self) -> None:
        """They come with the numbers of their listeners, in their order."""
        clients = self.send(b"\0\7\xff")
        found = self.received()
        self.assertEqual([listener for listener, _ in found], [0, 7, 255])
        for client, (_, number) in zip(clients, found, strict=True):
            os.write(number, b"x")
            self.assertEqual(client.recv(1), b"x")

    def test_one_message_at_a_time(self) -> None:
        """What was sent apart is received apart, so nothing is left out."""
        self.send(b"\1\1")
        self.send(b"\2")
        self.assertEqual([listener for listener, _ in self.received()], [1, 1])
        self.assertEqual([listener for listener, _ in self.received()], [2])

    def test_as_many_as_one_message_may_have(self) -> None:
        self.send(bytes(MOST_AT_ONCE))
        self.assertEqual(len(self.received()), MOST_AT_ONCE)
        self.assertEqual(self.received(), [])

    def test_no_program_that_is_started_inherits_them(self) -> None:
        """Not even one that is started in another thread at that moment."""
        self.send(b"\0\0")
        for _, number in self.received():
            self.assertFalse(os.get_inheritable(number))
        self.assertFalse(self.queue.receiving.get_inheritable())

    def test_nobody_waits_for_it(self) -> None:
        self.assertFalse(self.queue.receiving.getblocking())

    def test_sender_keeps_none(self) -> None:
        """The sender keeps no duplicate: the receiver's close ends the connection."""
        [client] = self.send(b"\0")
        [(_, number)] = receive(self.queue.receiving).connections
        os.close(number)
        self.assert_closed(client)

    def test_waits_in_the_kernel(self) -> None:
        """The client is connected, and what it writes is not lost."""
        [client] = self.send(b"\0")
        client.sendall(b"hello")
        self.assert_open(client)
        [(_, number)] = self.received()
        self.assertEqual(os.read(number, 10), b"hello")

    def test_counts(self) -> None:
        self.send(b"\0\0\0")
        self.send(b"\0")
        self.assertEqual((self.queue.sent, self.queue.waiting), (4, 4))
        self.received()
        self.assertEqual((self.queue.sent, self.queue.waiting), (4, 1))

    def test_taken_back(self) -> None:
        """All of them, whatever messages they are in."""
        self.send(b"\1\2")
        self.send(b"\3")
        found = self.queue.reclaim_fds()
        for _, number in found:
            self.addCleanup(os.close, number)
        self.assertEqual([listener for listener, _ in found], [1, 2, 3])
        self.assertEqual(self.queue.waiting, 0)

    def test_what_nobody_receives_is_lost(self) -> None:
        [client] = self.send(b"\0")
        self.queue.close()
        self.assert_closed(client)


class RoomTests(QueueCase):
    """Queues that are full, and other trouble."""

    def test_full(self) -> None:
        """None of a message is sent then; there is room again when it is received."""
        _, connection = self.raw()
        self.addCleanup(os.close, connection)
        sent = 0
        while self.queue.send(b"\0", [connection]):
            sent += 1
        self.assertGreater(sent, 128)  # so many wait before others get them
        self.assertEqual((self.queue.sent, self.queue.waiting), (sent, sent))
        self.assertFalse(self.queue.send(b"\0\0", [connection, connection]))
        self.assertEqual(self.queue.waiting, sent)
        for _, number in self.queue.reclaim_fds():
            os.close(number)
        self.assertTrue(self.queue.send(b"\0", [connection]))

    def test_what_is_no_descriptor(self) -> None:
        """That is a mistake, no lack of room."""
        _, connection = self.raw()
        os.close(connection)
        error = self.assertRaises(OSError, self.queue.send, b"\0", [connection])
        self.assertEqual(error.errno, errno.EBADF)
        self.assertEqual((self.queue.sent, self.queue.waiting), (0, 0))

    def test_receiver_has_too_few_descriptors(self) -> None:
        """Those that there is no room for are lost; the others are not mixed up."""
        clients = self.send(b"\5\6\7")
        with descriptors_left(2):
            found = self.received()
        self.assertEqual([listener for listener, _ in found], [5, 6])
        self.assert_closed(clients[2])
        for client, (_, number) in zip(clients, found, strict=False):
            os.write(number, b"x")
            self.assertEqual(client.recv(1), b"x")


class ReceiverCase(QueueCase):
    """A worker that receives."""

    def setUp(self) -> None:
        super().setUp()
        self.served: list[tuple[int, socket.socket]] = []
        self.room = True
        self.counted: list[int] = []
        self.serve = self.take
        self.receiver = Receiver(
            self.reactor,
            self.queue.receiving.dup(),
            self.pass_on,
            self.counted.append,
            lambda: self.room,
        )
        self.addCleanup(self.receiver.stop)

    def pass_on(self, listener: int, connection: socket.socket) -> None:
        self.serve(listener, connection)

    def take(self, listener: int, connection: socket.socket) -> None:
        self.addCleanup(connection.close)
        self.served.append((listener, connection))

    def listeners(self) -> list[int]:
        return [listener for listener, _ in self.served]


class ReceiverTests(ReceiverCase):
    """A worker that has room."""

    def test_interface(self) -> None:
        verifyObject(IReadDescriptor, self.receiver)

    def test_nothing_before_the_start(self) -> None:
        self.send(b"\1")
        self.assertEqual(self.reactor.turn(), 0)
        self.receiver.start()
        self.reactor.turn()
        self.assertEqual(self.listeners(), [1])

    def test_all_of_a_message(self) -> None:
        self.receiver.start()
        clients = self.send(b"\1\2")
        self.send(b"\3")
        self.reactor.turn()
        self.assertEqual(self.listeners(), [1, 2])
        for client, (_, connection) in zip(clients, self.served, strict=True):
            self.assertEqual(connection.getpeername(), client.getsockname())
        self.reactor.turn()
        self.assertEqual(self.listeners(), [1, 2, 3])

    def test_without_descriptors(self) -> None:
        """Connections that the kernel closes are counted as received, too."""
        self.receiver.start()
        clients = self.send(b"\1" * 40)
        with descriptors_left(4):
            self.receiver.doRead()
        self.assertEqual(len(self.served), 4)
        self.assertEqual(self.counted, [40])
        self.assert_closed(clients[-1])

    def test_another_process_was_first(self) -> None:
        """While one follows the other in a slot, both receive."""
        self.receiver.start()
        self.receiver.doRead()
        self.assertEqual(self.served, [])
        self.assertEqual(self.reactor.getReaders(), [self.receiver])

    def test_one_that_cannot_be_served(self) -> None:
        """It is closed and the mistake is logged; the others are served."""

        def fail_first(listener: int, connection: socket.socket) -> None:
            if listener == 1:
                raise ZeroDivisionError
            self.take(listener, connection)

        self.serve = fail_first
        self.receiver.start()
        bad, good = self.send(b"\1\2")
        self.reactor.turn()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assert_closed(bad)
        self.assert_open(good)
        self.assertEqual(self.listeners(), [2])

    def test_stop_receives_what_waits(self) -> None:
        """It was given to this worker, and will not come to another one soon."""
        self.receiver.start()
        self.send(b"\1\2")
        self.send(b"\3")
        self.receiver.stop()
        self.assertEqual(self.listeners(), [1, 2, 3])
        self.assertEqual(self.receiver.fileno(), -1)

    def test_stop_twice(self) -> None:
        self.receiver.start()
        self.receiver.stop()
        self.receiver.stop()

    def test_one_that_never_began_takes_nothing(self) -> None:
        """A worker on trial that is given up: another has the slot."""
        [client] = self.send(b"\1")
        self.receiver.stop()
        self.assertEqual(self.served, [])
        self.assert_open(client)
        self.assertEqual(self.queue.waiting, 1)

    def test_reactor_ends(self) -> None:
        """It tells all that it still reads from; there is nothing to be done."""
        self.receiver.connectionLost(Failure(ConnectionLost()))


class NoRoomTests(ReceiverCase):
    """A worker that has no descriptors left."""

    def setUp(self) -> None:
        super().setUp()
        self.log = Log(self)
        self.room = False
        self.receiver.start()
        [self.client] = self.send(b"\1")

    def test_it_waits(self) -> None:
        """What were received without a descriptor for it would be lost."""
        self.reactor.turn()
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.queue.waiting, 1)
        self.assertEqual(
            self.log.lines(),
            ["cannot receive: no descriptor left; trying again in 1.0 s"],
        )
        self.room = True
        self.reactor.advance(0.9)
        self.assertEqual(self.reactor.getReaders(), [])
        self.reactor.advance(0.1)
        self.reactor.turn()
        self.assertEqual(self.listeners(), [1])

    def test_stop_meanwhile(self) -> None:
        """It stays in the queue for the next process of the slot."""
        self.reactor.turn()
        self.receiver.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.served, [])
        self.assert_open(self.client)
        self.assertEqual(self.queue.waiting, 1)

    def test_stop_when_there_is_room_again(self) -> None:
        self.reactor.turn()
        self.room = True
        self.receiver.stop()
        self.assertEqual(self.listeners(), [1])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop_before_it_is_seen(self) -> None:
        self.receiver.stop()
        self.assertEqual(self.served, [])
        self.assertEqual(self.queue.waiting, 1)
