"""Slots as the master holds them open, with workers that the test plays."""

import os
import socket
import tempfile
from pathlib import Path

from clusterapp.interfaces import OPEN, RECEIVED, Row, private_row
from clusterapp.listening.handoff import receive
from clusterapp.listening.listen_sockets import private_unix
from clusterapp.master.distribution.fd_passing import WorkerTarget
from clusterapp.master.workers.slot_sockets import SlotSockets
from tests.unit.arriving import ArrivingCase


class Worker:
    """
    A process that fills a slot, as far as its queue and its row go.

    :ivar got: the connections that it has received, and by which listener each.
    """

    def __init__(self, slot_sockets: SlotSockets, number: int) -> None:
        self.slot_sockets = slot_sockets
        self.number = number
        self.row: Row = private_row()
        self.got: list[tuple[int, int]] = []
        slot_sockets.entered(number, self.row)

    def receive(self, *, counts: bool = True) -> list[int]:
        """
        Receive a message; tell by which listeners its connections have come.

        :param counts: whether it lives to say so.
        """
        found = receive(self.slot_sockets.queue.receiving).connections
        self.got += found
        if counts:
            self.row[RECEIVED] += len(found)
            self.row[OPEN] += len(found)
        return [listener for listener, _ in found]

    def receive_all(self) -> list[int]:
        """Receive all that waits."""
        listeners: list[int] = []
        while found := self.receive():
            listeners += found
        return listeners

    def dies(self) -> None:
        """Exit: close the connections, and leave the slot."""
        while self.got:
            os.close(self.got.pop()[1])
        self.slot_sockets.left(self.number)

    def target(self) -> WorkerTarget:
        """Return it as the master sees it."""
        return WorkerTarget(self.slot_sockets, self.row)


class SlotSocketsCase(ArrivingCase):
    """Slots of which nothing is left when the test ends."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self._numbers = iter(range(1, 100))

    def slot_sockets(self, number: int = 0) -> SlotSockets:
        """Make what the master has of a slot."""
        private = private_unix(str(self.folder / f"{number}.sock"))
        slot_sockets = SlotSockets(number, private, None)
        self.addCleanup(slot_sockets.close)
        return slot_sockets

    def worker(self, slot_sockets: SlotSockets) -> Worker:
        """Return a new worker in a slot."""
        worker = Worker(slot_sockets, next(self._numbers))
        self.addCleanup(self._close, worker)
        return worker

    def send(self, slot_sockets: SlotSockets, count: int = 1) -> list[socket.socket]:
        """Return a slot connections, as the master does; return their clients."""
        pairs = [self.raw() for _ in range(count)]
        slot_sockets.given += count
        self.assertTrue(
            slot_sockets.queue.send(bytes(count), [one for _, one in pairs])
        )
        for _, number in pairs:
            os.close(number)
        return [client for client, _ in pairs]

    def _close(self, worker: Worker) -> None:
        for _, number in worker.got:
            os.close(number)
