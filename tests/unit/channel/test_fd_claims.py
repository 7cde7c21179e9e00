"""Connections that are offered over channels, and claimed by one process only."""

import os
import socket

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.ends import ChildEnd, MasterEnd
from clusterapp.channel.fd_claims import OfferedSocket, claim_of
from clusterapp.channel.upgrade_channel import NewEnd, OldEnd
from tests.unit.channel.passing import channel
from tests.unit.fakes import descriptors


class Master:
    """A master that holds offers, as one that stands still does."""

    def __init__(self) -> None:
        self.offers: list[socket.socket] = []
        self.answer: Deferred[bool] = Deferred()

    def hand_over(self, connection: socket.socket, _listener: str) -> Deferred[bool]:
        self.offers.append(connection)
        return self.answer

    adopt = hand_over

    def predecessor_gone(self) -> None:
        """Nothing."""


class Worker:
    """A worker that takes what it can have."""

    adopts = True

    def __init__(self) -> None:
        self.adopted: list[socket.socket] = []

    def adopt(self, connection: socket.socket, _listener: str) -> None:
        self.adopted.append(connection)

    def master_gone(self) -> None:
        """Nothing."""


class LentTests(SynchronousTestCase):
    """An offer, from the worker that has a connection to another one."""

    def setUp(self) -> None:
        self.before = descriptors()
        self.client, served = socket.socketpair()
        self.lent = OfferedSocket.offer(served)
        self.master, self.worker = Master(), Worker()

    def offered(self) -> socket.socket:
        """Bring the offer to the master; return what that has."""
        end, child = MasterEnd(self.master), ChildEnd(Worker())  # type: ignore[arg-type]
        pump = channel(end, child)
        child.hand_over(self.lent, "tcp:80").addErrback(lambda _: None)
        pump.flush()
        return self.master.offers.pop()

    def passed_on(self, offer: socket.socket) -> bool:
        """Bring the master's offer to the other worker; return whether it is taken."""
        end, child = MasterEnd(self.master), ChildEnd(self.worker)  # type: ignore[arg-type]
        pump = channel(end, child)
        taken = end.adopt(offer, "tcp:80")
        pump.flush()
        offer.close()
        return self.successResultOf(taken)

    def finish(self) -> None:
        """Close everything; no descriptor may be left."""
        for each in (*self.worker.adopted, self.lent, self.client):
            each.close()
        self.assertEqual(descriptors(), self.before)

    def test_taken(self) -> None:
        """The process that has claimed a connection serves it; its owner cannot."""
        self.assertTrue(self.passed_on(self.offered()))
        self.assertFalse(self.lent.claim())
        self.client.send(b"a")
        self.assertEqual(self.worker.adopted[0].recv(10), b"a")
        self.finish()

    def test_taken_back(self) -> None:
        """However late the master passes it on, nobody else serves it."""
        offer = self.offered()
        self.assertTrue(self.lent.claim())
        self.assertFalse(self.passed_on(offer))
        self.assertEqual(self.worker.adopted, [])
        self.finish()

    def test_over_two_masters(self) -> None:
        """In an upgrade the claim goes the whole way."""
        new = Master()
        old_end, new_end = OldEnd(None), NewEnd(new)  # type: ignore[arg-type]
        pump = channel(old_end, new_end)
        offer = self.offered()
        old_end.hand_over(offer, "tcp:80")
        pump.flush()
        offer.close()
        self.assertTrue(self.lent.claim())
        self.assertFalse(self.passed_on(new.offers.pop()))
        self.finish()

    def test_connection_without_a_claim(self) -> None:
        """A trial's connection is nobody else's."""
        ours, theirs = socket.socketpair()
        self.assertIsNone(claim_of(theirs))
        self.assertTrue(self.passed_on(theirs))
        ours.close()
        self.finish()

    def test_not_inherited(self) -> None:
        """Programs that a process starts have neither of the two."""
        offer = self.offered()
        assert isinstance(offer, OfferedSocket)
        for number in (offer.fileno(), offer.claim_fd, self.lent.claim_fd):
            self.assertFalse(os.get_inheritable(number))
        offer.close()
        self.finish()
