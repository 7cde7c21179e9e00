"""What the master accepts for slots that nobody fills, and how it ends."""

import socket
from itertools import chain

from clusterapp.dispatch.steering import at_random
from tests.ports import free_port
from tests.unit.master.distribution.accepting import (
    TCP,
    AcceptanceCase,
    request,
    session_of,
)


class VacantTests(AcceptanceCase):
    """What is the own of a slot that nobody fills."""

    def test_its_socket_in_a_group(self) -> None:
        """No connection waits there for a worker that crashes when it starts."""
        self.serve(TCP, dispatch="shared")
        self.divide()
        self.run_in(0, slots=(0, 1))
        group = self.listeners[0].group
        assert group is not None
        group.steer(at_random([1]))
        self.come(count=3)
        self.assertEqual(self.got(), [[0, 0, 0], []])

    def test_filled(self) -> None:
        """Its worker accepts there, and nobody else."""
        self.serve(TCP, dispatch="shared")
        self.divide()
        self.run_in(0, 1)
        group = self.listeners[0].group
        assert group is not None
        group.steer(at_random([1]))
        self.come()
        self.assertEqual(self.got(), [[], []])
        self.assert_waits_in(group.members[2])

    def test_first_of_a_group(self) -> None:
        """A connection in a socket before the kernel's program is set is served."""
        self.serve(TCP, dispatch="shared")
        self.divide()
        self.run_in(0, 1)
        self.come()
        self.assertEqual(sorted(self.got()), [[], [0]])

    def test_group_that_is_used_no_more(self) -> None:
        """What was on its way to a worker is served."""
        self.serve(TCP, dispatch="shared")
        self.divide()
        self.run_in(0, 1)
        group = self.listeners[0].group
        assert group is not None
        group.steer(at_random([0, 1]))
        self.come(count=4)
        self.listeners[0].follow("shared", None)
        self.run_in(0, 1)
        self.reactor.run_dry()
        self.assertEqual(list(chain(*self.got())), [0] * 4)

    def test_its_port(self) -> None:
        """A balancer is answered there by another worker."""
        self.serve(TCP, dispatch="shared", worker_ports=free_port(3))
        self.run_in(0, slots=(0, 1))
        port = self.sockets.slot(1).port
        assert port is not None
        self.connect(port.socket)
        self.reactor.run_dry()
        self.assertEqual(self.got(), [[1], []])

    def test_its_private_socket(self) -> None:
        """A worker may still pass on what has belonged to a slot that is gone."""
        self.serve(TCP, dispatch="shared")
        private = self.sockets.slot(1).private.socket
        self.run_in(0, slots=(0, 1))
        other = socket.socket(socket.AF_UNIX)
        self.addCleanup(other.close)
        other.connect(private.getsockname())
        self.reactor.run_dry()
        self.assertEqual(self.got(), [[], []])
        self.run_in(0)
        self.reactor.run_dry()
        self.assertEqual(self.got(), [[2], []])

    def test_what_came_by_it_and_waits(self) -> None:
        """It belongs to nobody: when its worker dies another gets it."""
        self.serve(TCP, dispatch="shared", size=3, worker_ports=free_port(3))
        self.run_in(0, slots=(0, 1, 2))
        port = self.sockets.slot(1).port
        assert port is not None
        self.connect(port.socket)
        self.reactor.run_dry()
        self.workers[0].dies()
        self.run_in(2, slots=(0, 1, 2))
        self.assertEqual(self.workers[2].receive_all(), [1])

    def test_port_of_a_slot_that_is_filled(self) -> None:
        self.serve(TCP, dispatch="shared", worker_ports=free_port(3))
        self.assertEqual(self.reactor.getReaders(), [])

    def test_nobody_runs(self) -> None:
        """What is there waits."""
        self.serve(TCP, dispatch="shared", worker_ports=free_port(3))
        self.run_in(slots=(0, 1))
        self.assertEqual(self.reactor.getReaders(), [])

    def test_all_are_full(self) -> None:
        """Nothing more is accepted here either."""
        self.serve(TCP, dispatch="shared", worker_ports=free_port(3))
        self.run_in(0, slots=(0, 1))
        self.fill(self.workers[0])
        port = self.sockets.slot(1).port
        assert port is not None
        self.connect(port.socket)
        self.reactor.run_dry()
        self.assertEqual(self.reactor.getReaders(), [])
        self.connect(port.socket)
        self.assertEqual(self.reactor.turn(), 0)
        self.empty(self.workers[0])
        self.reactor.advance(0.005)
        self.reactor.run_dry()
        self.assertEqual(self.workers[0].receive_all(), [1, 1])


class StopTests(AcceptanceCase):
    """The end of it, after which workers finish what they have."""

    def test_nothing_more(self) -> None:
        self.serve(TCP, dispatch="round-robin")
        self.acceptance.stop()
        self.assertEqual(self.reactor.getReaders(), [])
        self.run_in(0, 1)
        self.assertEqual(self.reactor.getReaders(), [])

    def test_twice(self) -> None:
        self.serve(TCP, dispatch="sticky")
        self.come()
        self.acceptance.stop()
        self.acceptance.stop()
        self.assert_nobody_waits()

    def test_what_is_looked_at(self) -> None:
        """It is passed on as it is."""
        self.serve(TCP, dispatch="sticky")
        self.update_affinity()
        [client] = self.come()
        self.acceptance.stop()
        self.assert_nobody_waits()
        self.assertEqual(sorted(self.got()), [[], [0]])
        self.assert_open(client)

    def test_what_waits_for_a_slot_that_nobody_fills(self) -> None:
        """No worker is started any more: others get it while they can."""
        self.serve(TCP, dispatch="sticky")
        self.update_affinity()
        self.run_in(0, slots=(0, 1))
        client = self.connect(self.listeners[0].bound.socket)
        client.sendall(request(session_of(1, (0, 1))))
        self.reactor.run_dry()
        looked_at = self.connect(self.listeners[0].bound.socket)
        self.reactor.run_dry()
        looked_at.sendall(request(session_of(1, (0, 1))))
        self.acceptance.stop()
        self.assertEqual(self.got(), [[0, 0], []])
        for each in (client, looked_at):
            self.assert_open(each)

    def test_finish(self) -> None:
        """What nobody has room for waits for the workers to make some."""
        self.serve(TCP, dispatch="round-robin", size=1)
        self.fill(self.workers[0])
        [client] = self.come()
        finished = self.acceptance.finish()
        self.assertNoResult(finished)
        self.assertEqual(self.reactor.getReaders(), [])
        self.empty(self.workers[0])
        self.reactor.advance(0.005)
        self.successResultOf(finished)
        self.assertEqual(self.workers[0].receive_all(), [0])
        self.assert_open(client)

    def test_what_is_held(self) -> None:
        """A held connection is closed at a stop if no worker has room."""
        self.serve(TCP, dispatch="round-robin", size=1)
        self.fill(self.workers[0])
        [client] = self.come()
        self.acceptance.stop()
        self.assert_nobody_waits()
        self.assert_closed(client)
