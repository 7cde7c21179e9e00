"""Accepting from a socket that others accept from, too."""

import errno
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress, IReadDescriptor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from clusterapp.listening import accept
from clusterapp.listening.accept import AT_ONCE, Acceptor, ConnectionAdopter
from tests.unit.fakes import Log


class Accepting(MemoryReactorClock):
    """A reactor that keeps what it is given to serve."""

    def __init__(self) -> None:
        super().__init__()
        self.served: list[socket.socket] = []
        self.refusal: Exception | None = None

    def adoptStreamConnection(
        self,
        fileDescriptor: int,
        addressFamily: Any,
        factory: Any,
    ) -> None:
        if self.refusal is not None:
            raise self.refusal
        # As Twisted does: it leaves the descriptor to its owner.
        self.served.append(socket.fromfd(fileDescriptor, addressFamily, 1))


class Serving(Factory):
    """Serves nothing."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return Protocol()


class Broken:
    """A listening socket from which nothing can be accepted."""

    family, type, proto = socket.AF_UNIX, socket.SOCK_STREAM, 0

    def __init__(self, error: OSError) -> None:
        self.error = error

    def setblocking(self, _: bool) -> None:
        """Do nothing."""

    def fileno(self) -> int:
        return 99

    def close(self) -> None:
        """Do nothing."""

    def fail(self, _: object) -> tuple[int, object]:
        raise self.error


class AcceptorCase(SynchronousTestCase):
    """A Unix socket with a mode of its own, that this process shares with others."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "a.sock")
        self.shared = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.shared.close)
        self.shared.bind(self.path)
        Path(self.path).chmod(0o640)
        self.shared.listen(5)
        self.reactor = Accepting()
        self.factory = Serving()
        self.acceptor = self.make(self.shared.dup())

    def make(self, listening: Any) -> Acceptor:
        acceptor = Acceptor(
            self.reactor,
            listening,
            ConnectionAdopter(self.reactor, self.factory),
        )
        self.addCleanup(acceptor.stop)
        return acceptor

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.setblocking(False)
        client.connect(self.path)
        return client

    def served(self) -> int:
        """Return how many connections were taken, and close them."""
        count = len(self.reactor.served)
        while self.reactor.served:
            self.reactor.served.pop().close()
        return count


class AcceptTests(AcceptorCase):
    """One worker of several."""

    def test_interface(self) -> None:
        verifyObject(IReadDescriptor, self.acceptor)

    def test_nothing_before_the_start(self) -> None:
        self.assertEqual(self.reactor.getReaders(), [])
        self.acceptor.start()
        self.assertEqual(self.reactor.getReaders(), [self.acceptor])

    def test_a_few_for_each_wake_up(self) -> None:
        """Clients that are connected already do not wait for all that come."""
        self.acceptor.start()
        for _ in range(AT_ONCE + 1):
            self.connect()
        self.acceptor.doRead()
        self.assertEqual(self.served(), AT_ONCE)
        self.acceptor.doRead()
        self.assertEqual(self.served(), 1)

    def test_stop_by_what_is_served(self) -> None:
        """What comes behind it stays in the queue."""
        self.acceptor.start()
        self.connect()
        self.connect()
        self.patch(self.reactor, "adoptStreamConnection", self.stop)
        self.acceptor.doRead()
        connection, _ = self.shared.accept()
        connection.close()

    def stop(self, *_: object) -> None:
        self.acceptor.stop()

    def test_another_was_first(self) -> None:
        """Then the queue is empty, which is no mistake."""
        self.acceptor.doRead()
        self.assertEqual(self.served(), 0)

    def test_connection_does_not_block(self) -> None:
        self.connect()
        self.acceptor.doRead()
        self.addCleanup(self.served)
        self.assertFalse(os.get_blocking(self.reactor.served[0].fileno()))

    def test_connection_is_the_reactors_alone(self) -> None:
        """When the reactor closes it, the client sees the end."""
        client = self.connect()
        self.acceptor.doRead()
        self.served()
        self.assertEqual(client.recv(1), b"")

    def test_stop_leaves_the_queue_to_others(self) -> None:
        """A worker that drains takes nothing, and breaks nothing off."""
        self.acceptor.start()
        self.connect()
        self.acceptor.stop()
        self.assertEqual(self.reactor.getReaders(), [])
        connection, _ = self.shared.accept()
        connection.close()

    def test_stop_twice(self) -> None:
        self.acceptor.start()
        self.acceptor.stop()
        self.acceptor.stop()

    def test_socket_is_left_as_it_is(self) -> None:
        """Its path, mode and backlog are the master's business."""
        self.acceptor.start()
        self.acceptor.stop()
        self.assertEqual(stat.S_IMODE(Path(self.path).stat().st_mode), 0o640)
        for _ in range(6):  # listen(5) means that six can wait
            self.connect()
        self.assertRaises(BlockingIOError, self.connect)

    def test_reactor_ends(self) -> None:
        """It tells all that it still reads from; there is nothing to be done."""
        self.acceptor.connectionLost(Failure(ConnectionLost()))


class TroubleTests(AcceptorCase):
    """What accept(2) may say instead."""

    def setUp(self) -> None:
        super().setUp()
        self.log = Log(self)

    def broken(self, number: int) -> Acceptor:
        """Return an acceptor whose accept(2) has failed with this error number."""
        error = OSError(number, os.strerror(number))
        broken = Broken(error)
        self.patch(accept, "accept", broken.fail)
        acceptor = self.make(broken)
        acceptor.start()
        acceptor.doRead()
        return acceptor

    def test_out_of_descriptors(self) -> None:
        """The queue is left alone for a second: a wake-up would follow at once."""
        acceptor = self.broken(errno.EMFILE)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(
            self.log.lines(),
            ["cannot accept: [Errno 24] Too many open files; trying again in 1.0 s"],
        )
        self.reactor.advance(0.9)
        self.assertEqual(self.reactor.getReaders(), [])
        self.reactor.advance(0.1)
        self.assertEqual(self.reactor.getReaders(), [acceptor])

    def test_stop_during_the_pause(self) -> None:
        self.broken(errno.ENFILE).stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_trouble_of_one_connection(self) -> None:
        """The next one may be well, and it is no news for an operator."""
        for number in (errno.ECONNABORTED, errno.EPROTO, errno.EPERM):
            acceptor = self.broken(number)
            self.assertIn(acceptor, self.reactor.getReaders())
        self.assertEqual(self.log.lines(), [])

    def test_trouble_of_any_other_sort(self) -> None:
        """A worker never stops to accept for good while it seems to be well."""
        acceptor = self.broken(errno.EINVAL)
        self.assertIn("Invalid argument", self.log.text())
        self.reactor.advance(1)
        self.assertIn(acceptor, self.reactor.getReaders())

    def test_client_left_at_once(self) -> None:
        """Between accept and the first look at the connection."""
        self.acceptor.start()
        self.reactor.refusal = OSError(errno.ENOTCONN, "not connected")
        client = self.connect()
        self.acceptor.doRead()
        self.assertEqual(client.recv(1), b"")
        self.assertEqual(self.reactor.getReaders(), [self.acceptor])
        self.assertEqual(self.log.lines(), [])

    def test_last_descriptor(self) -> None:
        """The reactor needs one of its own for the connection."""
        self.acceptor.start()
        self.reactor.refusal = OSError(errno.EMFILE, "Too many open files")
        client = self.connect()
        self.acceptor.doRead()
        self.assertEqual(client.recv(1), b"")
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertIn("Too many open files", self.log.text())

    def test_trouble_with_one_connection(self) -> None:
        """What is no lack of descriptors or memory holds up no other connection."""
        self.acceptor.start()
        for number in (errno.EROFS, errno.ENOENT, errno.ENOSPC, errno.EPIPE):
            self.reactor.refusal = OSError(number, os.strerror(number))
            client = self.connect()
            self.acceptor.doRead()
            self.assertEqual(client.recv(1), b"")
            self.assertEqual(self.reactor.getReaders(), [self.acceptor])
            self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_lack_of_memory(self) -> None:
        """It is waited for, as descriptors are."""
        for number in (errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            acceptor = self.broken(number)
            self.assertNotIn(acceptor, self.reactor.getReaders())
            acceptor.stop()

    def test_anything_else(self) -> None:
        """An exception that nobody expects is logged, and the listener kept."""
        broken = Broken(ZeroDivisionError())  # type: ignore[arg-type]
        self.patch(accept, "accept", broken.fail)
        acceptor = self.make(broken)
        acceptor.start()
        acceptor.doRead()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.reactor.advance(1)
        self.assertIn(acceptor, self.reactor.getReaders())

    def test_factory_that_fails(self) -> None:
        """The mistake is logged; the next connection is served."""
        self.acceptor.start()
        self.reactor.refusal = ZeroDivisionError()
        client = self.connect()
        self.acceptor.doRead()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(client.recv(1), b"")
        self.reactor.refusal = None
        self.connect()
        self.acceptor.doRead()
        self.assertEqual(self.served(), 1)


class WaitingTests(AcceptorCase):
    """A worker that has more than its share lets the others come first."""

    def setUp(self) -> None:
        super().setUp()
        self.portion = 0
        self.acceptor = Acceptor(
            self.reactor,
            self.shared.dup(),
            ConnectionAdopter(self.reactor, self.factory),
            lambda: self.portion,
        )
        self.addCleanup(self.acceptor.stop)
        self.acceptor.start()

    def test_one_that_has_less(self) -> None:
        """It accepts at once; the rest of the queue is left to the others."""
        for _ in range(4):
            self.connect()
        for count in (1, 2):
            self.portion = count
            self.acceptor.doRead()
            self.assertEqual(self.served(), count)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_another_comes_first(self) -> None:
        """It hears of no connection for a moment, which is another's."""
        self.connect()
        self.acceptor.doRead()
        self.assertEqual(self.served(), 0)
        self.assertEqual(self.reactor.getReaders(), [])
        connection, _ = self.shared.accept()
        connection.close()
        self.reactor.advance(0.001)
        self.assertEqual(self.served(), 0)
        self.assertEqual(self.reactor.getReaders(), [self.acceptor])

    def test_nobody_comes(self) -> None:
        """No client waits for longer than that; each wake-up is judged anew."""
        self.connect()
        self.connect()
        self.acceptor.doRead()
        self.reactor.advance(0.001)
        self.assertEqual(self.served(), 1)
        self.acceptor.doRead()
        self.assertEqual(self.served(), 0)
        self.reactor.advance(0.001)
        self.assertEqual(self.served(), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop_meanwhile(self) -> None:
        """The connection stays in the queue."""
        self.connect()
        self.acceptor.doRead()
        self.acceptor.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        connection, _ = self.shared.accept()
        connection.close()

    def test_out_of_descriptors_after_all(self) -> None:
        """Then it waits as long as any worker does."""
        log = Log(self)
        self.reactor.refusal = OSError(errno.EMFILE, "Too many open files")
        self.connect()
        self.acceptor.doRead()
        self.reactor.advance(0.001)
        self.assertIn("trying again in 1.0 s", log.text())
        self.assertEqual(self.reactor.getReaders(), [])
        self.reactor.advance(1)
        self.assertEqual(self.reactor.getReaders(), [self.acceptor])
