"""The sockets that the master owns for one slot, across the workers in it."""

from clusterapp.interfaces import RECEIVED, Row
from clusterapp.listening.handoff import HandoffQueue
from clusterapp.listening.listen_sockets import Listener


class SlotSockets:
    """
    The sockets of one slot, and the count of the connections dispatched to it.

    :param number: the slot number.
    :param private: the listener for requests that other workers relay to the slot.
    :param port: the listener of the slot's own port, for load balancers; None if slots
        have none.
    """

    def __init__(self, number: int, private: Listener, port: Listener | None) -> None:
        self.number = number
        self.private = private
        self.port = port
        self.queue = HandoffQueue()
        #: The number of connections dispatched to the slot so far.
        self.given = 0
        self._rows: dict[int, Row] = {}
        # The number received by exited processes, or taken back by the master.
        self._received_before = 0

    @property
    def waiting(self) -> int:
        """The number of connections dispatched that no process has received yet."""
        received = self._received_before
        for row in self._rows.values():
            received += row[RECEIVED]
        return self.given - received

    def entered(self, number: int, row: Row) -> None:
        """Register the scoreboard row of a new process of the slot."""
        self._rows[number] = row

    def left(self, number: int) -> None:
        """Called when a process of the slot has exited: add its count, drop its row."""
        self._received_before += self._rows.pop(number)[RECEIVED]
        self._settle()

    def reclaim_fds(self, count: int) -> None:
        """Record that the master has taken back so many waiting connections."""
        self._received_before += count
        self._settle()

    def _settle(self) -> None:
        """
        Recount what was received, while the slot has no process.

        A process that was killed may have received some without counting them.
        """
        if not self._rows:
            self._received_before = self.queue.sent - self.queue.waiting

    def close(self) -> None:
        """Close the queue and the private listener; the port belongs to `Sockets`."""
        self.queue.close()
        self.private.close()
