"""The log observer that applies the rate limit of repeated events."""

import threading
import time
from collections.abc import Callable

from twisted.logger import ILogObserver, LogEvent
from zope.interface import implementer

from clusterapp.logs.repeats import TOLD_AFTER, Repeated, RepeatLimit
from clusterapp.wording import counted

#: The interval, in seconds, at which counts are checked, while there are any.
_INTERVAL = TOLD_AFTER[0]

#: Schedules a call after some seconds; any thread may call it.
Later = Callable[[float, Callable[[], None]], object]


@implementer(ILogObserver)
class RepeatFilter:
    """
    Passes events on to an observer, repeated ones up to a rate.

    Events above the rate are counted, and their number is logged in each window and at
    its end, with their level and namespace.

    :param observer: receives the events.
    :param later: schedules a call after some seconds.
    :param now: returns the time in seconds, of a monotonic clock.
    """

    def __init__(
        self,
        observer: Callable[[LogEvent], object],
        later: Later,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._observer = observer
        self._later = later
        self._now = now
        self._limit = RepeatLimit()
        # Formatting a text may itself log something, in the same thread.
        self._lock = threading.RLock()
        self._waiting = False

    def __call__(self, event: LogEvent) -> None:
        """Pass an event on, or count it."""
        with self._lock:
            admitted = self._limit.admits(event, self._now())
            begins = not admitted and not self._waiting
            self._waiting = self._waiting or begins
        if begins:
            self._later(_INTERVAL, self._look)
        if admitted:
            self._observer(event)

    def flush(self) -> None:
        """Log all counts: the process exits."""
        with self._lock:
            due = self._limit.counted(self._now(), every=True)
        self._log_repeats(due)

    def _look(self) -> None:
        with self._lock:
            due = self._limit.counted(self._now())
            self._waiting = again = self._limit.counting
        if again:
            self._later(_INTERVAL, self._look)
        self._log_repeats(due)

    def _log_repeats(self, due: list[Repeated]) -> None:
        for each in due:
            self._observer(
                {
                    "log_level": each.level,
                    "log_namespace": each.namespace,
                    "log_format": "… {counted} more in {seconds:.0f} s: {text}",
                    "log_time": time.time(),
                    "counted": counted(each.times, "time"),
                    "times": each.times,
                    "seconds": each.seconds,
                    "text": each.text,
                }
            )
