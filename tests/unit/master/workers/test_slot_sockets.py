"""The number of connections queued for a slot, while its workers change."""

import os
from pathlib import Path

from tests.unit.master.distribution.slot_sockets import SlotSocketsCase


class WaitingTests(SlotSocketsCase):
    """Those that were given to it and that no process has received."""

    def setUp(self) -> None:
        super().setUp()
        self.one = self.slot_sockets()

    def reclaim_fds(self) -> int:
        """Reclaim the queued connections; return their number."""
        found = self.one.queue.reclaim_fds()
        for _, number in found:
            os.close(number)
        self.one.reclaim_fds(len(found))
        return len(found)

    def test_nobody_receives(self) -> None:
        self.send(self.one, 3)
        self.assertEqual(self.one.waiting, 3)

    def test_received(self) -> None:
        worker = self.worker(self.one)
        self.send(self.one, 2)
        self.send(self.one)
        worker.receive()
        self.assertEqual(self.one.waiting, 1)

    def test_two_processes_of_one_slot(self) -> None:
        """While one follows the other both receive, and both count."""
        old, new = self.worker(self.one), self.worker(self.one)
        for _ in range(4):
            self.send(self.one)
        old.receive()
        new.receive()
        new.receive()
        self.assertEqual(self.one.waiting, 1)
        old.dies()
        self.assertEqual(self.one.waiting, 1)
        new.receive()
        self.assertEqual(self.one.waiting, 0)
        new.dies()
        self.assertEqual(self.one.waiting, 0)

    def test_next_process_receives_what_the_last_has_left(self) -> None:
        worker = self.worker(self.one)
        self.send(self.one)
        self.send(self.one)
        worker.receive()
        worker.dies()
        self.assertEqual(self.one.waiting, 1)
        self.worker(self.one).receive()
        self.assertEqual(self.one.waiting, 0)

    def test_killed_before_it_has_counted(self) -> None:
        """What it had received waits for nobody any more."""
        for _ in range(3):
            worker = self.worker(self.one)
            self.send(self.one, 2)
            self.send(self.one)
            worker.receive(counts=False)
            worker.dies()
            self.assertEqual(self.one.waiting, 1)
            self.reclaim_fds()
            self.assertEqual(self.one.waiting, 0)

    def test_killed_while_another_receives(self) -> None:
        """It is made good when nobody can be receiving; never does it fall below 0."""
        old, new = self.worker(self.one), self.worker(self.one)
        self.send(self.one, 5)
        self.send(self.one)
        old.receive(counts=False)
        old.dies()
        self.assertEqual(self.one.waiting, 6)
        new.receive()
        new.dies()
        self.assertEqual(self.one.waiting, 0)

    def test_taken_back(self) -> None:
        self.send(self.one, 2)
        self.assertEqual(self.reclaim_fds(), 2)
        self.assertEqual(self.one.waiting, 0)

    def test_taken_back_from_one_that_is_leaving(self) -> None:
        """It received some, the master the rest."""
        worker = self.worker(self.one)
        self.send(self.one, 2)
        self.send(self.one)
        worker.receive()
        self.assertEqual(self.reclaim_fds(), 1)
        self.assertEqual(self.one.waiting, 0)
        worker.dies()
        self.assertEqual(self.one.waiting, 0)

    def test_chosen_and_not_yet_sent(self) -> None:
        """They count while others are looked at, and when a process leaves."""
        worker = self.worker(self.one)
        self.send(self.one)
        self.one.given += 2
        self.assertEqual(self.one.waiting, 3)
        worker.dies()
        self.assertEqual(self.one.waiting, 3)


class CloseTests(SlotSocketsCase):
    """The end of a slot."""

    def test_all_is_closed(self) -> None:
        place = self.slot_sockets(3)
        path = place.private.path
        assert path is not None
        place.close()
        self.assertFalse(Path(path).exists())
        self.assertEqual(place.queue.receiving.fileno(), -1)
