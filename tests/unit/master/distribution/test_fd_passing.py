"""Passing the connections that the master has accepted on to workers."""

import os
import socket
from collections.abc import Callable

from clusterapp.dispatch.policies import LeastConnections, Policy, RoundRobin
from clusterapp.interfaces import OPEN, RECEIVED
from clusterapp.listening.handoff import MOST_AT_ONCE
from clusterapp.master.distribution.fd_passing import MOST_WAITING, Arrived, FdPassing
from clusterapp.master.workers.slot_sockets import SlotSockets
from tests.unit.master.distribution.slot_sockets import SlotSocketsCase, Worker


class HandingCase(SlotSocketsCase):
    """Two workers, and what is said of whether more is to be accepted."""

    def setUp(self) -> None:
        super().setUp()
        self.said: list[bool] = []
        self.handing = FdPassing(
            self.reactor, lambda: self.said.append(self.handing.is_held)
        )
        self.addCleanup(self.handing.stop)
        self.policy: Policy = RoundRobin(MOST_WAITING)
        self.first, self.second = (self.worker(self.slot_sockets(n)) for n in range(2))
        self.targets(self.first, self.second)

    def targets(self, *workers: Worker) -> None:
        """Set the workers that connections can be passed to."""
        self.handing.targets = [worker.target() for worker in workers]

    def give(
        self,
        count: int = 1,
        *,
        listener: int = 0,
        slot_sockets: SlotSockets | None = None,
    ) -> list[socket.socket]:
        """Pass new connections in one turn of the reactor; return their clients."""
        clients = []
        for _ in range(count):
            client, connection = self.raw()
            self.handing.give(Arrived(connection, listener, self.policy, slot_sockets))
            clients.append(client)
        return clients

    def give_more(self, count: int, slot_sockets: SlotSockets | None = None) -> None:
        """Pass duplicates of one connection, each in a turn of its own."""
        _, connection = self.raw()
        for _ in range(count):
            arrived = Arrived(os.dup(connection), 0, self.policy, slot_sockets)
            self.handing.give(arrived)
            self.handing.flush()
        os.close(connection)


class GivingTests(HandingCase):
    """Workers that have room."""

    def test_nothing_before_the_flush(self) -> None:
        self.give(2)
        self.assertEqual(self.first.receive_all() + self.second.receive_all(), [])
        self.assertEqual(self.handing.given, 0)
        self.handing.flush()
        self.assertEqual(self.handing.given, 2)

    def test_in_turn(self) -> None:
        """Each worker's share goes out in one message, with where it came in."""
        self.give(3, listener=1)
        self.give(1, listener=2)
        self.handing.flush()
        self.assertEqual(self.second.receive(), [1, 1])
        self.assertEqual(self.first.receive(), [1, 2])

    def test_nothing_is_kept(self) -> None:
        """The worker's close ends the connection for the client."""
        [client] = self.give()
        self.handing.flush()
        self.second.receive()
        self.second.dies()
        self.assert_closed(client)

    def test_more_than_a_message_can_have(self) -> None:
        self.targets(self.first)
        self.give(MOST_AT_ONCE + 1)
        self.handing.flush()
        self.assertEqual(len(self.first.receive()), MOST_AT_ONCE)
        self.assertEqual(len(self.first.receive()), 1)

    def test_those_of_this_turn_count(self) -> None:
        """Else one worker would get all that comes at once."""
        self.policy = LeastConnections(MOST_WAITING)
        self.first.row[OPEN] = 2
        self.give(4)
        self.handing.flush()
        self.assertEqual(len(self.first.receive_all()), 1)
        self.assertEqual(len(self.second.receive_all()), 3)

    def test_what_belongs_to_a_slot(self) -> None:
        """It gets there, whether somebody fills it or not."""
        self.targets(self.first)
        self.give(2, slot_sockets=self.second.slot_sockets)
        self.handing.flush()
        self.assertEqual(self.second.slot_sockets.waiting, 2)
        self.assertEqual(self.second.receive_all(), [0, 0])
        self.assertEqual(self.said, [])

    def test_what_belongs_to_a_slot_that_has_too_many(self) -> None:
        """Another one passes its requests on; the first would keep it waiting."""
        self.targets(self.first)
        self.give_more(MOST_WAITING, self.second.slot_sockets)
        self.assertEqual(self.first.receive_all(), [])
        self.give(slot_sockets=self.second.slot_sockets)
        self.handing.flush()
        self.assertEqual(self.first.receive_all(), [0])


class HoldingTests(HandingCase):
    """Nobody has room."""

    def fill(self) -> None:
        """Fill the queue of each worker."""
        self.give_more(2 * MOST_WAITING)
        self.assertFalse(self.handing.is_held)

    def test_held(self) -> None:
        """Nothing more is to be accepted, and that is said once."""
        self.fill()
        clients = self.give(2)
        self.handing.flush()
        self.assertTrue(self.handing.is_held)
        self.assertEqual(self.said, [True])
        for client in clients:
            self.assert_open(client)

    def test_room_again(self) -> None:
        """What was held goes first, and then more is to be accepted."""
        self.fill()
        self.give(2, listener=9)
        self.first.receive_all()
        self.reactor.advance(0.005)
        self.assertEqual(self.first.receive_all(), [9, 9])
        self.assertFalse(self.handing.is_held)
        self.assertEqual(self.said[-1:], [False])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_room_for_long(self) -> None:
        """It is tried again and again, in the order in which they came."""
        self.fill()
        self.give(listener=1)
        self.give(listener=2)
        for _ in range(5):
            self.reactor.advance(0.005)
            self.assertTrue(self.handing.is_held)
            self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.assertNotIn(False, self.said)
        self.first.receive_all()
        self.reactor.advance(0.005)
        self.assertEqual(self.first.receive_all(), [1, 2])

    def test_room_for_some(self) -> None:
        self.fill()
        self.give(2)
        self.first.receive()
        self.reactor.advance(0.005)
        self.assertTrue(self.handing.is_held)
        self.assertNotIn(False, self.said)
        self.assertEqual(self.first.slot_sockets.waiting, MOST_WAITING)

    def test_no_worker_at_all(self) -> None:
        self.targets()
        [client] = self.give()
        self.assert_open(client)
        self.targets(self.first)
        self.reactor.advance(0.005)
        self.assertEqual(self.first.receive_all(), [0])

    def test_kernel_has_no_room(self) -> None:
        """It may allow less than is wanted; none is lost, and none counts."""
        slot_sockets = self.first.slot_sockets
        self.targets(self.first)
        _, connection = self.raw()
        while slot_sockets.queue.send(b"\0", [connection]):
            slot_sockets.given += 1
        os.close(connection)
        # As if its worker were about to receive them all.
        self.first.row[RECEIVED] = slot_sockets.given
        clients = self.give(3)
        self.handing.flush()
        self.assertEqual(slot_sockets.waiting, 0)
        self.assertTrue(self.handing.is_held)
        self.first.row[RECEIVED] = 0
        self.first.receive_all()
        self.reactor.advance(0.005)
        self.assertEqual(self.first.receive_all(), [0, 0, 0])
        for client in clients:
            self.assert_open(client)
        self.assertEqual(slot_sockets.waiting, 0)

    def test_hearer_may_let_more_in_at_once(self) -> None:
        """What is given while that is said is neither lost nor sent twice."""
        self.fill()
        given: list[socket.socket] = []

        def let_in() -> None:
            if not self.handing.is_held and not given:
                given.extend(self.give(listener=8))
                self.handing.flush()

        self.replace_hearer(let_in)
        self.give(listener=7)
        self.first.receive_all()
        self.second.receive_all()
        self.reactor.advance(0.005)
        listeners = self.first.receive_all() + self.second.receive_all()
        self.assertEqual(sorted(listeners), [7, 8])

    def replace_hearer(self, heard: Callable[[], None]) -> None:
        handing = FdPassing(self.reactor, heard)
        handing.targets = self.handing.targets
        self.handing = handing
        self.addCleanup(handing.stop)


class TakingBackTests(HandingCase):
    """A slot that nobody fills any more."""

    def reclaim_fds(self, *listeners: int) -> None:
        """Take back what has come by these listeners; the rest belongs there."""
        self.handing.reclaim_fds(
            self.second.slot_sockets, dict.fromkeys(listeners, self.policy)
        )

    def test_others_get_it(self) -> None:
        self.targets(self.second)
        clients = self.give(2, listener=1)
        self.handing.flush()
        self.targets(self.first)
        self.reclaim_fds(1)
        self.assertEqual(self.second.slot_sockets.waiting, 0)
        self.assertEqual(self.first.receive_all(), [1, 1])
        for client in clients:
            self.assert_open(client)

    def test_what_belongs_there_waits(self) -> None:
        """It stands in the same order as before."""
        self.targets(self.second)
        self.give(listener=1)
        self.give(listener=2)
        self.give(listener=3)
        self.handing.flush()
        self.targets(self.first)
        self.reclaim_fds(2)
        self.assertEqual(self.first.receive_all(), [2])
        self.assertEqual(self.second.slot_sockets.waiting, 2)
        self.assertEqual(self.second.receive_all(), [1, 3])

    def test_as_many_as_may_wait(self) -> None:
        """They are all taken back, and all put there again."""
        self.give_more(MOST_WAITING, self.second.slot_sockets)
        self.targets(self.first)
        self.reclaim_fds()
        self.assertEqual(self.second.slot_sockets.waiting, MOST_WAITING)
        self.assertEqual(self.first.slot_sockets.waiting, 0)

    def test_nobody_else_is_there(self) -> None:
        self.targets(self.second)
        [client] = self.give(listener=1)
        self.handing.flush()
        self.targets()
        self.reclaim_fds(1)
        self.assertTrue(self.handing.is_held)
        self.assert_open(client)
        self.targets(self.first)
        self.reactor.advance(0.005)
        self.assertEqual(self.first.receive_all(), [1])

    def test_after_a_worker_that_has_not_counted(self) -> None:
        self.targets(self.second)
        self.give(2, listener=1)
        self.handing.flush()
        self.give(listener=1)
        self.handing.flush()
        self.second.receive(counts=False)
        self.second.dies()
        self.targets(self.first)
        self.reclaim_fds(1)
        self.assertEqual(self.second.slot_sockets.waiting, 0)
        self.assertEqual(self.first.receive_all(), [1])


class StopTests(HandingCase):
    """The end."""

    def test_what_can_be_sent_is_sent(self) -> None:
        self.targets()
        self.give(listener=4)
        self.targets(self.first)
        self.handing.stop()
        self.assertEqual(self.first.receive_all(), [4])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_given_in_the_same_turn(self) -> None:
        self.give(2)
        self.handing.stop()
        self.assertEqual(self.handing.given, 2)

    def test_finish(self) -> None:
        """It is over when there is room for the last one, and that is noticed."""
        self.targets()
        clients = self.give(2)
        finished = self.handing.finish()
        self.assertNoResult(finished)
        self.targets(self.first)
        self.reactor.advance(0.005)
        self.successResultOf(finished)
        self.assertEqual(self.first.receive_all(), [0, 0])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        for client in clients:
            self.assert_open(client)

    def test_finish_with_nothing_left(self) -> None:
        self.give(2)
        self.successResultOf(self.handing.finish())
        self.assertEqual(self.handing.given, 2)

    def test_finish_in_vain(self) -> None:
        """Nobody waits for those that hang; what is left stays until the stop."""
        self.targets()
        [client] = self.give()
        finished = self.handing.finish()
        self.reactor.pump([0.5] * 9)
        self.assertNoResult(finished)
        self.reactor.advance(0.5)
        self.successResultOf(finished)
        self.assert_open(client)
        self.handing.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assert_closed(client)

    def test_stop_while_it_finishes(self) -> None:
        self.targets()
        self.give()
        finished = self.handing.finish()
        self.handing.stop()
        self.successResultOf(finished)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_the_rest_is_let_go(self) -> None:
        """Its clients are not kept waiting, and no timer is left."""
        self.targets()
        clients = self.give(2)
        self.handing.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertFalse(self.handing.is_held)
        for client in clients:
            self.assert_closed(client)

    def test_kernel_has_no_room(self) -> None:
        """What cannot be sent at the end is let go of as well."""
        self.targets(self.first)
        slot_sockets = self.first.slot_sockets
        _, connection = self.raw()
        while slot_sockets.queue.send(b"\0", [connection]):
            pass
        os.close(connection)
        [client] = self.give()
        self.handing.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assert_closed(client)

    def test_twice(self) -> None:
        self.targets()
        self.give()
        self.handing.stop()
        self.handing.stop()
