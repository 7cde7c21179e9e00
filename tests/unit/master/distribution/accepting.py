"""A master that accepts, and workers that are passed what has come."""

import socket
from collections.abc import Sequence

from clusterapp.channel.stickiness import Stickiness
from clusterapp.dispatch.rendezvous import slot_of
from clusterapp.interfaces import RECEIVED
from clusterapp.master.distribution.fd_passing import MOST_WAITING
from clusterapp.master.distribution.listener_policy import PublicListener
from clusterapp.master.distribution.master_acceptor import MasterAcceptor
from clusterapp.master.master_sockets import Sockets
from clusterapp.settings.model import Settings
from clusterapp.web.clients.client_slot import ClientSlot
from clusterapp.web.clients.trusted_proxies import TrustedProxies
from tests.unit.master.distribution.slot_sockets import SlotSocketsCase, Worker

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


class AcceptanceCase(SlotSocketsCase):
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
        self.workers = [self.worker(self.sockets.slot(n)) for n in range(size)]
        self.listeners = [
            PublicListener(number, name, spec, listener)
            for number, (name, spec, listener) in enumerate(
                self.sockets.public_listeners
            )
        ]
        for listener in self.listeners:
            listener.follow(dispatch, None)
        self.acceptance = MasterAcceptor(self.reactor, self.sockets, self.listeners)
        self.addCleanup(self.acceptance.stop)
        self.run_in(*range(size))

    def divide(self, listener: int = 0) -> None:
        """Set a listener's policy to ``reuseport``, with a socket for each worker."""
        group = self.sockets.group(self.listeners[listener].bound)
        group.member(len(self.workers) - 1)
        self.listeners[listener].follow("reuseport", group)

    def run_in(self, *running: int, slots: Sequence[int] | None = None) -> None:
        """Set the running workers, and the slots that clients can belong to."""
        self.acceptance.targets = [self.workers[number].target() for number in running]
        self.acceptance.arrange(running, running if slots is None else slots)

    def update_affinity(self, key: str = "header:X-Session", *slots: int) -> None:
        """Set the key of session affinity, and its slots."""
        how = Stickiness((), key, slots or (0, 1), "00")
        self.acceptance.client_slot = ClientSlot(how, TrustedProxies(()))

    def come(self, listener: int = 0, *, count: int = 1) -> list[socket.socket]:
        """Connect clients, and run the reactor until the master has accepted them."""
        listening = self.listeners[listener].bound.socket
        clients = [self.connect(listening) for _ in range(count)]
        self.reactor.run_dry()
        return clients

    def got(self) -> list[list[int]]:
        """Return by which listeners each worker got connections since it was asked."""
        return [worker.receive_all() for worker in self.workers]

    def assert_waits_in(self, listening: socket.socket) -> None:
        """A connection is in the queue of a listening socket."""
        accepted, _ = listening.accept()
        accepted.close()

    def fill(self, *workers: Worker) -> None:
        """Fill the queues of these workers."""
        for worker in workers:
            worker.row[RECEIVED] -= MOST_WAITING

    def empty(self, *workers: Worker) -> None:
        """Empty the queues of these workers."""
        for worker in workers:
            worker.row[RECEIVED] += MOST_WAITING
