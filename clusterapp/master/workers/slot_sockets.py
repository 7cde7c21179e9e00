"""What the master holds open for one slot, whoever fills it."""

from clusterapp.interfaces import RECEIVED, Row
from clusterapp.listening.handoff import Queue
from clusterapp.listening.listen_sockets import Listener


class Place:
    """
    One slot's sockets, and how many connections it was given.

    :param number: the slot's number.
    :param private: where other workers pass it requests.
    :param port: where a balancer reaches it alone; None if there is no such port.
    """

    def __init__(self, number: int, private: Listener, port: Listener | None) -> None:
        self.number = number
        self.private = private
        self.port = port
        self.queue = Queue()
        #: How many connections were chosen for it so far.
        self.given = 0
        self._rows: dict[int, Row] = {}
        # By processes that are gone, and by the master.
        self._received_before = 0

    @property
    def waiting(self) -> int:
        """How many connections were given to it that no process has received yet."""
        received = self._received_before
        for row in self._rows.values():
            received += row[RECEIVED]
        return self.given - received

    def entered(self, number: int, row: Row) -> None:
        """Know of a process that is to fill the slot, and its row."""
        self._rows[number] = row

    def left(self, number: int) -> None:
        """Know that a process is gone."""
        self._received_before += self._rows.pop(number)[RECEIVED]
        self._settle()

    def reclaim_fds(self, count: int) -> None:
        """Know that so many connections do not wait for it any more."""
        self._received_before += count
        self._settle()

    def _settle(self) -> None:
        """
        Count anew, while no process changes anything.

        One that was killed may have received some without having said so.
        """
        if not self._rows:
            self._received_before = self.queue.sent - self.queue.waiting

    def close(self) -> None:
        """Close what is the slot's alone; its port is not this place's to close."""
        self.queue.close()
        self.private.close()
