"""What a site notes of itself where other processes see it: on the scoreboard."""

from clusterapp.interfaces import LOAD, OPEN, SERVING, Row, private_row

#: How many connections a second of lag counts as: a loop that is late has more to do
#: than it has connections, but all are a little late on a busy machine.
_A_SECOND = 100


class LoadCounters:
    """
    How many clients a worker has, and how much it has to do.

    :param row: where that is noted.
    :ivar clients: how many clients are connected; other workers are none.
    """

    __slots__ = ("_lag", "_recent", "_row", "clients")

    def __init__(self, row: Row | None = None) -> None:
        self.clients = 0
        self._recent = 0
        self._lag = 0
        self._row = private_row() if row is None else row

    def opened(self) -> None:
        """Know of one client more."""
        clients = self.clients = self.clients + 1
        recent = self._recent = self._recent + 1
        row = self._row
        row[OPEN] = clients
        row[LOAD] = clients + recent + self._lag

    def closed(self) -> None:
        """Know of one client less."""
        clients = self.clients = self.clients - 1
        row = self._row
        row[OPEN] = clients
        row[LOAD] = clients + self._recent + self._lag

    def looked(self, lag: float) -> None:
        """
        Know that a second has passed: what has come before it counts half.

        :param lag: how late the event loop was, in seconds.
        """
        self._recent >>= 1
        self._lag = int(lag * _A_SECOND)
        self._row[LOAD] = self.clients + self._recent + self._lag

    def serve(self) -> None:
        """Be one of those that take connections."""
        self._row[SERVING] = 1

    def leave(self) -> None:
        """Be none of them any more, nor count among them."""
        for column in (SERVING, OPEN, LOAD):
            self._row[column] = 0
        self._row = private_row()
