"""What a connection waits for, and until when."""

from enum import Enum, auto
from math import inf
from typing import Final

from twisted.internet.interfaces import IReactorTime


class Phase(Enum):
    """What a connection waits for, which decides what is done at its deadline."""

    #: Nothing that has a deadline.
    NOTHING = auto()
    #: The first byte of a request.
    REQUEST = auto()
    #: That the client reads the end of a response, before the connection is offered to
    #: another process.
    REST = auto()
    #: The rest of a request's head.
    HEAD = auto()
    #: The next part of a request's body, by the minimum rate.
    BODY = auto()
    #: The response of the application.
    RESPONSE = auto()
    #: The time to end a response that would not end by itself, while draining.
    STREAM = auto()
    #: The time to close a WebSocket, while draining.
    UPGRADED = auto()
    #: The client's close frame of a WebSocket.
    CLOSE_FRAME = auto()
    #: The rest of a request's body that is not used.
    DISCARD = auto()
    #: That the client reads the rest or closes; the write side is closed.
    LINGER = auto()
    #: That everything is written; then the transport closes.
    END = auto()


#: The phases of a connection that has been closed at this end.
CLOSING: Final = (Phase.LINGER, Phase.END)

#: The phases in which nothing more is written: also after a WebSocket's close frame.
CLOSE_SENT: Final = (*CLOSING, Phase.CLOSE_FRAME)


# Members of an Enum are looked up slowly, and this one is set for each request.
_NOTHING: Final = Phase.NOTHING


class Deadlines:
    """
    The deadlines of one connection; the site checks them about once a second.

    :param clock: the clock by which they are set.
    :ivar phase: what the connection waits for.
    :ivar at: the deadline of the phase, in the clock's seconds; `math.inf` for none.
    :ivar stall: the deadline of a write stall: the client must have read enough by
        then.
    """

    __slots__ = ("_clock", "at", "phase", "stall")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.phase = _NOTHING
        self.at = inf
        self.stall = inf

    def wait_for(self, phase: Phase, seconds: float) -> None:
        """Enter a phase that may last so many seconds."""
        self.phase = phase
        # Not by the site's `now`, which is up to a second old: no connection may be
        # closed before its timeout.
        self.at = self._clock.seconds() + seconds

    def extend(self, seconds: float) -> None:
        """Extend the phase to at least so many seconds from now."""
        self.at = max(self.at, self._clock.seconds() + seconds)

    def clear(self) -> None:
        """Wait for nothing."""
        self.phase = _NOTHING
        self.at = inf

    def are_over(self, now: float) -> bool:
        """Return whether one of them has passed."""
        return self.at <= now or self.stall <= now
