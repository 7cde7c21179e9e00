"""Load counters of a site, on the scoreboard that other processes read."""

from clusterapp.interfaces import LOAD, OPEN, SERVING, Row, private_row

#: The number of connections that a second of event-loop lag counts as: a loop with lag
#: has more load than its connections show, but all have some lag on a busy machine.
_A_SECOND = 100


class LoadCounters:
    """
    Load counters of a worker: its client connections and its load.

    :param row: the worker's scoreboard row; by default, a private one.
    :ivar clients: the number of client connections, without those of other workers.
    """

    __slots__ = ("_lag", "_recent", "_row", "clients")

    def __init__(self, row: Row | None = None) -> None:
        self.clients = 0
        self._recent = 0
        self._lag = 0
        self._row = private_row() if row is None else row

    def opened(self) -> None:
        """Called when a client connection is opened."""
        clients = self.clients = self.clients + 1
        recent = self._recent = self._recent + 1
        row = self._row
        row[OPEN] = clients
        row[LOAD] = clients + recent + self._lag

    def closed(self) -> None:
        """Called when a client connection is closed."""
        clients = self.clients = self.clients - 1
        row = self._row
        row[OPEN] = clients
        row[LOAD] = clients + self._recent + self._lag

    def looked(self, lag: float) -> None:
        """
        Called every second: halve the count of recent connections, and note the lag.

        :param lag: the lag of the event loop, in seconds.
        """
        self._recent >>= 1
        self._lag = int(lag * _A_SECOND)
        self._row[LOAD] = self.clients + self._recent + self._lag

    def serve(self) -> None:
        """Mark this worker as accepting connections in its scoreboard row."""
        self._row[SERVING] = 1

    def leave(self) -> None:
        """Zero the worker's scoreboard row, and count in a private row from now on."""
        for column in (SERVING, OPEN, LOAD):
            self._row[column] = 0
        self._row = private_row()
