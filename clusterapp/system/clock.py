"""A monotonic clock for the reactors of our own programs."""

from time import monotonic
from typing import Any

from twisted.logger import Logger
from twisted.python.runtime import seconds as wall_clock

_log = Logger()


def make_monotonic(reactor: Any) -> None:
    """
    Make a reactor's timers use the monotonic clock.

    Twisted's reactors use the wall clock, even the one on asyncio, whose loop does not.
    When that clock is set forwards all timers expire at once, and healthy processes are
    killed for being late; when it is set back no timer expires for as long.

    :param reactor: a reactor that only this program uses, still without timers: the
        times of existing timers would be wrong on another clock.
    """
    if reactor.seconds is not wall_clock:
        return
    if reactor.getDelayedCalls():
        _log.warn("the reactor has timers already: it keeps the wall clock")
        return
    reactor.seconds = monotonic
