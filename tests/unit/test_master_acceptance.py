"""Accepting in the master, from real sockets, for workers that the test plays."""

import contextlib
import socket
from collections.abc import Sequence
from itertools import chain

from clusterapp.channel.stickiness import Stickiness
from clusterapp.dispatch.rendezvous import slot_of, slot_of_address
from clusterapp.dispatch.steering import at_random
from clusterapp.interfaces import OPEN, RECEIVED
from clusterapp.master.acceptance import Acceptance
from clusterapp.master.door import Door
from clusterapp.master.handing import MOST_WAITING
from clusterapp.master.peeking import PATIENCE
from clusterapp.master.sockets import Sockets
from clusterapp.settings.model import Settings
from clusterapp.web.belonging import Belonging
from clusterapp.web.proxies import TrustedProxies
from tests.unit.places import PlaceCase, Worker

#: A listener on loopback, at a port that the kernel chooses.
TCP = "tcp:0:interface=127.0.0.1"


def request(session: str) -> bytes:
    """Make a request of a client that has a session."""
    return f"GET / HTTP/1.1\r\nHost: h\r\nX-Session: {session}\r\n\r\n".encode()


def session_of(slot: int, slots: Sequence[int]) -> str:
    """Make up a session that belongs to a slot."""
    return next(
        str(number)
        for number in range(1000)
        if slot_of(str(number).encode(), slots) == slot
    )


class AcceptanceCase(PlaceCase):
    """A master's sockets, and workers in its slots."""

    def serve(self, *listen: str, dispatch: str, size: int = 2, **more: object) -> None:
        """Listen, and let workers run in so many slots."""
        settings = Settings(
            listen=listen,
            state=str(self.folder / "state"),
            **more,  # type: ignore[arg-type]
        )
        self.sockets = Sockets(settings)
        self.addCleanup(self.sockets.close)
        self.sockets.bind()
        self.sockets.open_state()
        self.workers = [self.worker(self.sockets.place(n)) for n in range(size)]
        self.doors = [
            Door(number, name, spec, listener)
            for number, (name, spec, listener) in enumerate(self.sockets.doors)
        ]
        for door in self.doors:
            door.follow(dispatch, None)
        self.acceptance = Acceptance(self.reactor, self.sockets, self.doors)
        self.addCleanup(self.acceptance.stop)
        self.run_in(*range(size))

    def divide(self, door: int = 0) -> None:
        """Let the kernel distribute the connections of a listener among the slots."""
        group = self.sockets.group(self.doors[door].listener)
        group.member(len(self.workers) - 1)
        self.doors[door].follow("reuseport", group)

    def run_in(self, *running: int, slots: Sequence[int] | None = None) -> None:
        """Let workers run in some slots; clients belong there, or to more."""
        self.acceptance.targets = [self.workers[number].target() for number in running]
        self.acceptance.arrange(running, running if slots is None else slots)

    def stick(self, key: str = "header:X-Session", *slots: int) -> None:
        """Let clients be known by something."""
        how = Stickiness((), key, slots or (0, 1), "00")
        self.acceptance.belonging = Belonging(how, TrustedProxies(()))

    def come(self, door: int = 0, *, count: int = 1) -> list[socket.socket]:
        """Let clients come, and the master take notice."""
        listening = self.doors[door].listener.socket
        clients = [self.connect(listening) for _ in range(count)]
        self.reactor.run_dry()
        return clients

    def got(self) -> list[list[int]]:
        """Tell by which listeners each worker got connections since it was asked."""
        return [worker.receive_all() for worker in self.workers]

    def assert_waits_in(self, listening: socket.socket) -> None:
        """A connection is in the queue of a listening socket."""
        accepted, _ = listening.accept()
        accepted.close()

    def fill(self, *workers: Worker) -> None:
        """Let as many wait for these as may."""
        for worker in workers:
            worker.row[RECEIVED] -= MOST_WAITING

    def empty(self, *workers: Worker) -> None:
        """Let them have received those."""
        for worker in workers:
            worker.row[RECEIVED] += MOST_WAITING


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
        self.doors[1].follow("least-connections", None)
        self.workers[0].row[OPEN] = 50
        self.come(0, count=2)
        self.come(1, count=2)
        self.assertEqual(self.got(), [[0], [0, 1, 1]])

    def test_shared(self) -> None:
        """Workers accept for themselves."""
        self.serve(TCP, dispatch="shared")
        self.come()
        self.assertEqual(self.reactor.getReaders(), [])
        self.assert_waits_in(self.doors[0].listener.socket)

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
        self.doors[0].follow("round-robin", None)
        self.run_in(0, 1)
        self.come()
        self.assertEqual(self.got(), [[], [0]])
        self.doors[0].follow("shared", None)
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
        self.assert_waits_in(self.doors[0].listener.socket)
        self.acceptance.stop()


class StickyTests(AcceptanceCase):
    """Listeners whose clients stay with their workers."""

    def ask(self, session: str) -> socket.socket:
        """Let a client come that has a session."""
        client = self.connect(self.doors[0].listener.socket)
        client.sendall(request(session))
        self.reactor.run_dry()
        return client

    def test_to_the_slot(self) -> None:
        self.serve(TCP, dispatch="sticky")
        self.stick()
        for slot in (0, 1, 1, 0):
            self.ask(session_of(slot, (0, 1)))
            wanted: list[list[int]] = [[], []]
            wanted[slot] = [0]
            self.assertEqual(self.got(), wanted)

    def test_head_that_comes_later(self) -> None:
        self.serve(TCP, dispatch="sticky")
        self.stick()
        [client] = self.come()
        self.assertEqual(self.got(), [[], []])
        client.sendall(request(session_of(1, (0, 1))))
        self.reactor.run_dry()
        self.assertEqual(self.got(), [[], [0]])

    def test_silence(self) -> None:
        """Anyone may have it, who will see whose it is."""
        self.serve(TCP, dispatch="sticky")
        self.stick()
        [client] = self.come()
        self.reactor.advance(PATIENCE)
        self.assertEqual(sorted(self.got()), [[], [0]])
        self.assert_open(client)

    def test_of_nobody(self) -> None:
        """Clients that have no session yet, and will stay, go to each in turn."""
        self.serve(TCP, dispatch="sticky")
        self.workers[0].row[OPEN] = 50
        self.stick("header:X-Other")
        for _ in range(4):
            self.ask("1")
        self.assertEqual(self.got(), [[0, 0], [0, 0]])

    def test_by_address(self) -> None:
        self.serve(TCP, dispatch="sticky")
        self.stick("client-ip")
        self.ask("1")
        slot = slot_of_address(bytes((127, 0, 0, 1)), (0, 1))
        self.assertEqual(self.got()[slot], [0])

    def test_on_a_path(self) -> None:
        """Its clients have no address, but may have a session."""
        path = str(self.folder / "a.sock")
        self.serve(f"unix:{path}", dispatch="sticky")
        self.stick()
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(path)
        client.sendall(request(session_of(1, (0, 1))))
        self.reactor.run_dry()
        self.assertEqual(self.got(), [[], [0]])

    def test_announced(self) -> None:
        """A balancer's word counts if it is believed, and is not read else."""
        self.serve(f"{TCP}:proxy=auto", dispatch="sticky")
        self.stick("client-ip")
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
                client = self.connect(self.doors[0].listener.socket)
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
        self.doors[1].follow("round-robin", None)
        self.stick()
        self.run_in(0, slots=(0, 1))
        self.ask(session_of(1, (0, 1)))
        self.come(1, count=2)
        self.assertEqual(self.got(), [[1, 1], [0]])

    def test_worker_dies(self) -> None:
        """What waits for it is given to others, but for what belongs to its slot."""
        self.serve(TCP, TCP, dispatch="sticky")
        self.doors[1].follow("least-connections", None)
        self.stick()
        self.run_in(1)
        self.come(1, count=2)
        self.ask(session_of(1, (0, 1)))
        self.workers[1].dies()
        self.run_in(0, slots=(0, 1))
        self.assertEqual(self.workers[0].receive_all(), [1, 1])
        self.assertEqual(self.sockets.place(1).waiting, 1)
        self.assertEqual(self.sockets.place(1).queue.waiting, 1)

    def test_slot_goes(self) -> None:
        """Then nothing belongs there any more."""
        self.serve(TCP, dispatch="sticky")
        self.stick()
        self.ask(session_of(1, (0, 1)))
        self.run_in(0)
        self.assertEqual(self.got(), [[0], []])

    def test_slot_is_given_up(self) -> None:
        """After its worker was waited for: it has crashed too often."""
        self.serve(TCP, dispatch="sticky")
        self.stick()
        self.run_in(0, slots=(0, 1))
        self.ask(session_of(1, (0, 1)))
        self.run_in(0, slots=(0,))
        self.assertEqual(self.got(), [[0], []])
        self.assertEqual(self.sockets.place(1).waiting, 0)


class VacantTests(AcceptanceCase):
    """What is the own of a slot that nobody fills."""

    def test_its_socket_in_a_group(self) -> None:
        """No connection waits there for a worker that crashes when it starts."""
        self.serve(TCP, dispatch="shared")
        self.divide()
        self.run_in(0, slots=(0, 1))
        group = self.doors[0].group
        assert group is not None
        group.steer(at_random([1]))
        self.come(count=3)
        self.assertEqual(self.got(), [[0, 0, 0], []])

    def test_filled(self) -> None:
        """Its worker accepts there, and nobody else."""
        self.serve(TCP, dispatch="shared")
        self.divide()
        self.run_in(0, 1)
        group = self.doors[0].group
        assert group is not None
        group.steer(at_random([1]))
        self.come()
        self.assertEqual(self.got(), [[], []])
        self.assert_waits_in(group.members[2])

    def test_first_of_a_group(self) -> None:
        """Who came before the kernel was told is served."""
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
        group = self.doors[0].group
        assert group is not None
        group.steer(at_random([0, 1]))
        self.come(count=4)
        self.doors[0].follow("shared", None)
        self.run_in(0, 1)
        self.reactor.run_dry()
        self.assertEqual(list(chain(*self.got())), [0] * 4)

    def test_its_port(self) -> None:
        """A balancer is answered there by another worker."""
        self.serve(TCP, dispatch="shared", worker_ports=self.free_ports())
        self.run_in(0, slots=(0, 1))
        port = self.sockets.place(1).port
        assert port is not None
        self.connect(port.socket)
        self.reactor.run_dry()
        self.assertEqual(self.got(), [[1], []])

    def test_its_private_socket(self) -> None:
        """A worker may still pass on what has belonged to a slot that is gone."""
        self.serve(TCP, dispatch="shared")
        private = self.sockets.place(1).private.socket
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
        self.serve(TCP, dispatch="shared", size=3, worker_ports=self.free_ports())
        self.run_in(0, slots=(0, 1, 2))
        port = self.sockets.place(1).port
        assert port is not None
        self.connect(port.socket)
        self.reactor.run_dry()
        self.workers[0].dies()
        self.run_in(2, slots=(0, 1, 2))
        self.assertEqual(self.workers[2].receive_all(), [1])

    def test_port_of_a_slot_that_is_filled(self) -> None:
        self.serve(TCP, dispatch="shared", worker_ports=self.free_ports())
        self.assertEqual(self.reactor.getReaders(), [])

    def test_nobody_runs(self) -> None:
        """What is there waits."""
        self.serve(TCP, dispatch="shared", worker_ports=self.free_ports())
        self.run_in(slots=(0, 1))
        self.assertEqual(self.reactor.getReaders(), [])

    def test_all_are_full(self) -> None:
        """Nothing more is accepted here either."""
        self.serve(TCP, dispatch="shared", worker_ports=self.free_ports())
        self.run_in(0, slots=(0, 1))
        self.fill(self.workers[0])
        port = self.sockets.place(1).port
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

    def free_ports(self) -> int:
        """Find three ports that nobody has, one behind the other."""
        while True:
            with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
                number = 0
                for more in range(3):
                    address = "127.0.0.1", number + more if number else 0
                    made = stack.enter_context(socket.create_server(address))
                    number = number or made.getsockname()[1]
                return number


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
        self.stick()
        [client] = self.come()
        self.acceptance.stop()
        self.assert_nobody_waits()
        self.assertEqual(sorted(self.got()), [[], [0]])
        self.assert_open(client)

    def test_what_waits_for_a_slot_that_nobody_fills(self) -> None:
        """No worker is started any more: others get it while they can."""
        self.serve(TCP, dispatch="sticky")
        self.stick()
        self.run_in(0, slots=(0, 1))
        client = self.connect(self.doors[0].listener.socket)
        client.sendall(request(session_of(1, (0, 1))))
        self.reactor.run_dry()
        looked_at = self.connect(self.doors[0].listener.socket)
        self.reactor.run_dry()
        looked_at.sendall(request(session_of(1, (0, 1))))
        self.acceptance.stop()
        self.assertEqual(self.got(), [[0, 0], []])
        for each in (client, looked_at):
            self.assert_open(each)

    def test_what_is_held(self) -> None:
        """It goes to whoever has room by now; else it is let go of."""
        self.serve(TCP, dispatch="round-robin", size=1)
        self.fill(self.workers[0])
        [client] = self.come()
        self.acceptance.stop()
        self.assert_nobody_waits()
        self.assert_closed(client)
