"""The clock of a reactor that a program of ours runs on."""

from time import monotonic
from typing import Any

from twisted.logger import Logger
from twisted.python.runtime import seconds as wall_clock

_log = Logger()


def make_monotonic(reactor: Any) -> None:
    """
    Let a reactor's timers follow a clock that nobody sets.

    Twisted's reactors go by the time of day, even the one on asyncio, whose loop does
    not. When that is set forwards all timers are over at once, and healthy processes
    are killed for being late; when it is set back nothing is over for as long.

    :param reactor: a reactor that this program has for itself, without any timer
        yet: the times of those there are would mean nothing on another clock.
    """
    if reactor.seconds is not wall_clock:
        return
    if reactor.getDelayedCalls():
        _log.warn("the reactor has timers already: it goes by the time of day")
        return
    reactor.seconds = monotonic
