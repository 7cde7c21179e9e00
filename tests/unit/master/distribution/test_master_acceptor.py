"""Accepting in the master, and who gets what has come."""

import socket

from clusterapp.dispatch.rendezvous import slot_of_address
from clusterapp.interfaces import OPEN, RECEIVED
from clusterapp.master.distribution.fd_passing import MOST_WAITING
from clusterapp.master.distribution.request_peek import TIMEOUT
from tests.unit.master.distribution.accepting import (
    TCP,
    AcceptanceCase,
    request,
    session_of,
)


class FrontTests(AcceptanceCase):
    """Listeners where the master accepts."""

    def test_passed_on(self) -> None:
        self.serve(TCP, TCP, dispatch="round-robin")
        self.come(0, count=2)
        self.come(1, count=2)
        self.assertEqual(self.got(), [[0, 1], [0, 1]])
        self.assertEqual(self.acceptance.given, 4)

    def test_each_has_a_policy_of_its_own(self) -> None:
        self.serve(TCP, TCP, dispatch="round-robin")
        self.listeners[1].follow("least-connections", None)
        self.workers[0].row[OPEN] = 50
        self.come(0, count=2)
        self.come(1, count=2)
        self.assertEqual(self.got(), [[0], [0, 1, 1]])

    def test_shared(self) -> None:
        """Workers accept for themselves."""
        self.serve(TCP, dispatch="shared")
        self.come()
        self.assertEqual(self.reactor.getReaders(), [])
        self.assert_waits_in(self.listeners[0].bound.socket)

    def test_nobody_runs(self) -> None:
        """Connections wait where they are until somebody does."""
        self.serve(TCP, dispatch="round-robin")
        self.run_in(slots=(0, 1))
        [client] = self.come()
        self.assertEqual(self.reactor.getReaders(), [])
        self.run_in(1, slots=(0, 1))
        self.reactor.run_dry()
        self.assertEqual(self.got(), [[], [0]])
        self.assert_open(client)

    def test_policy_is_changed(self) -> None:
        self.serve(TCP, dispatch="shared")
        self.listeners[0].follow("round-robin", None)
        self.run_in(0, 1)
        self.come()
        self.assertEqual(self.got(), [[], [0]])
        self.listeners[0].follow("shared", None)
        self.run_in(0, 1)
        self.assertEqual(self.reactor.getReaders(), [])

    def test_all_are_full(self) -> None:
        """Nothing more is accepted before there is room."""
        self.serve(TCP, dispatch="round-robin")
        self.fill(*self.workers)
        self.come()
        self.assertEqual(self.reactor.getReaders(), [])
        second = self.come()
        self.empty(*self.workers)
        self.reactor.advance(0.005)
        self.reactor.run_dry()
        self.assertEqual(sorted(self.got()), [[0], [0]])
        self.assert_open(second[0])

    def test_accepting_ends_within_a_turn(self) -> None:
        """What comes at once may be more than there is room for."""
        self.serve(TCP, dispatch="round-robin", size=1)
        self.workers[0].row[RECEIVED] -= MOST_WAITING - 3
        self.come(count=6)
        self.assertEqual(self.workers[0].receive_all(), [0, 0, 0])
        self.assert_waits_in(self.listeners[0].bound.socket)
        self.acceptance.stop()


class StickyTests(AcceptanceCase):
    """Listeners whose clients stay with their workers."""

    def ask(self, session: str) -> socket.socket:
        """Connect a client that sends a request of this session."""
        client = self.connect(self.listeners[0].bound.socket)
        client.sendall(request(session))
        self.reactor.run_dry()
        return client

    def test_to_the_slot(self) -> None:
        self.serve(TCP, dispatch="sticky")
        self.update_affinity()
        for slot in (0, 1, 1, 0):
            self.ask(session_of(slot, (0, 1)))
            wanted: list[list[int]] = [[], []]
            wanted[slot] = [0]
            self.assertEqual(self.got(), wanted)

    def test_head_that_comes_later(self) -> None:
        self.serve(TCP, dispatch="sticky")
        self.update_affinity()
        [client] = self.come()
        self.assertEqual(self.got(), [[], []])
        client.sendall(request(session_of(1, (0, 1))))
        self.reactor.run_dry()
        self.assertEqual(self.got(), [[], [0]])

    def test_silence(self) -> None:
        """Any worker may get a silent client, and relays its requests to its slot."""
        self.serve(TCP, dispatch="sticky")
        self.update_affinity()
        [client] = self.come()
        self.reactor.advance(TIMEOUT)
        self.assertEqual(sorted(self.got()), [[], [0]])
        self.assert_open(client)

    def test_of_nobody(self) -> None:
        """Clients that have no session yet, and will stay, go to each in turn."""
        self.serve(TCP, dispatch="sticky")
        self.workers[0].row[OPEN] = 50
        self.update_affinity("header:X-Other")
        for _ in range(4):
            self.ask("1")
        self.assertEqual(self.got(), [[0, 0], [0, 0]])

    def test_by_address(self) -> None:
        self.serve(TCP, dispatch="sticky")
        self.update_affinity("client-ip")
        self.ask("1")
        slot = slot_of_address(bytes((127, 0, 0, 1)), (0, 1))
        self.assertEqual(self.got()[slot], [0])

    def test_on_a_path(self) -> None:
        """Its clients have no address, but may have a session."""
        path = str(self.folder / "a.sock")
        self.serve(f"unix:{path}", dispatch="sticky")
        self.update_affinity()
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(path)
        client.sendall(request(session_of(1, (0, 1))))
        self.reactor.run_dry()
        self.assertEqual(self.got(), [[], [0]])

    def test_announced(self) -> None:
        """A balancer's word counts if it is believed, and is not read else."""
        self.serve(f"{TCP}:proxy=auto", dispatch="sticky")
        self.update_affinity("client-ip")
        line = "PROXY TCP4 {} 192.0.2.1 1 80\r\n"
        packed = next(
            bytes((192, 0, 2, number))
            for number in range(255)
            if slot_of_address(bytes((192, 0, 2, number)), (0, 1))
            != slot_of_address(bytes((127, 0, 0, 1)), (0, 1))
        )
        announced = line.format(socket.inet_ntoa(packed)).encode() + request("1")
        for believed in (True, False):
            self.acceptance.trusts = lambda _, word=believed: word  # type: ignore[misc]
            for _ in range(2):
                client = self.connect(self.listeners[0].bound.socket)
                client.sendall(announced)
                self.reactor.run_dry()
            wanted: list[list[int]] = [[0], [0]]
            if believed:
                wanted = [[], []]
                wanted[slot_of_address(packed, (0, 1))] = [0, 0]
            self.assertEqual(self.got(), wanted)
            for worker in self.workers:
                worker.row[OPEN] = 0

    def test_slot_that_is_filled_again(self) -> None:
        """What belongs there waits for the next worker; nothing else does."""
        self.serve(TCP, TCP, dispatch="sticky")
        self.listeners[1].follow("round-robin", None)
        self.update_affinity()
        self.run_in(0, slots=(0, 1))
        self.ask(session_of(1, (0, 1)))
        self.come(1, count=2)
        self.assertEqual(self.got(), [[1, 1], [0]])

    def test_worker_dies(self) -> None:
        """What waits for it is given to others, but for what belongs to its slot."""
        self.serve(TCP, TCP, dispatch="sticky")
        self.listeners[1].follow("least-connections", None)
        self.update_affinity()
        self.run_in(1)
        self.come(1, count=2)
        self.ask(session_of(1, (0, 1)))
        self.workers[1].dies()
        self.run_in(0, slots=(0, 1))
        self.assertEqual(self.workers[0].receive_all(), [1, 1])
        self.assertEqual(self.sockets.slot(1).waiting, 1)
        self.assertEqual(self.sockets.slot(1).queue.waiting, 1)

    def test_slot_goes(self) -> None:
        """Then nothing belongs there any more."""
        self.serve(TCP, dispatch="sticky")
        self.update_affinity()
        self.ask(session_of(1, (0, 1)))
        self.run_in(0)
        self.assertEqual(self.got(), [[0], []])

    def test_slot_is_given_up(self) -> None:
        """After its worker was waited for: it has crashed too often."""
        self.serve(TCP, dispatch="sticky")
        self.update_affinity()
        self.run_in(0, slots=(0, 1))
        self.ask(session_of(1, (0, 1)))
        self.run_in(0, slots=(0,))
        self.assertEqual(self.got(), [[0], []])
        self.assertEqual(self.sockets.slot(1).waiting, 0)
