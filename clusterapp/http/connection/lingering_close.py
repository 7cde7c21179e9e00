"""Lingering close of a connection, without I/O (RFC 9112, section 9.6)."""

from enum import Enum, auto

from clusterapp.http.connection_limits import BODY_RATE, WRITE_STALL


class Lingering(Enum):
    """What becomes of a lingering close when it is checked."""

    #: The client has acknowledged everything: the close is complete.
    COMPLETE = auto()
    #: The client has something left to acknowledge.
    WAITING = auto()
    #: The client has acknowledged too little for too long.
    STALLED = auto()


class LingeringClose:
    """
    Lingering close of one connection: whether the client goes on reading.

    The write side is closed already. The close ends a while after the client has
    acknowledged everything; one that reads nothing for too long, or too slowly, stalls.

    :param unacknowledged: how many bytes the client has not acknowledged yet.
    :param ends: the time, in seconds, at which it stalls unless there is progress.
    """

    __slots__ = ("_unacknowledged", "ends")

    def __init__(self, unacknowledged: int, ends: float) -> None:
        self._unacknowledged = unacknowledged
        self.ends = ends

    def check(self, unacknowledged: int, now: float) -> Lingering:
        """
        Take note of the client's progress, and return what becomes of the close.

        :param unacknowledged: how many bytes the client has not acknowledged now.
        :param now: the current time on the same clock, in seconds.
        """
        before = self._unacknowledged
        if not (unacknowledged or before):
            return Lingering.COMPLETE
        if not unacknowledged or before - unacknowledged >= BODY_RATE * WRITE_STALL:
            self._unacknowledged = unacknowledged
            self.ends = now + WRITE_STALL
        return Lingering.STALLED if self.ends <= now else Lingering.WAITING
