"""The log observer that applies the rate limit of repeated events."""

import threading
import time
from collections.abc import Callable

from twisted.logger import ILogObserver, LogEvent
from zope.interface import implementer

from clusterapp.logs.repeats import TOLD_AFTER, Repeated, RepeatLimit
from clusterapp.wording import counted

#: Seconds between two looks for counts that are to be told, while there are any.
_INTERVAL = TOLD_AFTER[0]

#: Calls a function after some seconds; any thread may ask for that.
Later = Callable[[float, Callable[[], None]], object]


@implementer(ILogObserver)
class RepeatFilter:
    """
    Passes events on to an observer, repeated ones up to a rate.

    The others are counted, and their number is logged in each window and at its end,
    with the level and the namespace that they have.

    :param observer: gets the events.
    :param later: calls back after some seconds.
    :param now: returns the time in seconds, of a clock that nobody sets.
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
        # Formatting a text may log something itself, in the same thread.
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
        """Log what was counted: the process ends."""
        with self._lock:
            due = self._limit.counted(self._now(), every=True)
        self._tell(due)

    def _look(self) -> None:
        with self._lock:
            due = self._limit.counted(self._now())
            self._waiting = again = self._limit.counting
        if again:
            self._later(_INTERVAL, self._look)
        self._tell(due)

    def _tell(self, due: list[Repeated]) -> None:
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
