"""
The rate limit of repeated log events: the first are logged, the rest are counted.

Events that clients can cause again and again, such as the traceback of a handler, would
otherwise fill disks and load the master. This is the one place that decides which
events are limited; it does no I/O and reads no clock.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure

#: The number of events with the same key that are logged in each window, and the
#: window's length in seconds.
FIRST, WINDOW = 5, 10.0

#: The seconds of a window after which the count so far is logged: soon at first, since
#: a process that is killed within the window loses its unlogged counts.
TOLD_AFTER = (1.0, 3.0, 6.0)

#: The most keys that are counted at the same time. One more ends the oldest window.
MOST_KEYS = 256

#: The namespaces of a server's own warnings and errors that clients can cause; one
#: template is one key, whatever the client has put into it.
_PROVOKED = (
    "clusterapp.guards",
    "clusterapp.http.",
    "clusterapp.listening.",
    "clusterapp.web.static.static_files",
    "clusterapp.worker.",
    "twisted.",
)
#: Here clients can cause events of level info, too.
_PROVOKED_AT_ANY_LEVEL = "twisted.web."
#: Our other namespaces log the events of the cluster itself, which are never limited.
_OURS = "clusterapp."
#: Neither are these two of the above: their events are about a file of the operator's.
_OPERATORS = (
    "clusterapp.http.tls.certificates",
    "clusterapp.http.tls.certificate_renewal",
)

#: The most characters of a text that are kept.
_LONGEST_TEXT = 200
_SEVERE = frozenset((LogLevel.warn, LogLevel.error, LogLevel.critical))


class Repeated(NamedTuple):
    """
    Events that were counted instead of logged.

    :param times: their number.
    :param seconds: the period, in seconds.
    :param level: their level.
    :param namespace: their namespace.
    :param text: the first line of the first of them.
    """

    times: int
    seconds: float
    level: object
    namespace: str
    text: str


class _Window:
    """
    The events of one key, for some seconds.

    No event is kept: it may refer to a request, and to everything that its exception
    refers to.
    """

    __slots__ = ("_counted", "_level", "_namespace", "_since", "_text", "began", "seen")

    def __init__(self, began: float, first: LogEvent) -> None:
        self.began = self._since = began
        self.seen = 0
        self._counted = FIRST
        self._level = first.get("log_level")
        self._namespace = str(first.get("log_namespace", ""))[:_LONGEST_TEXT]
        self._text = formatEvent(first).partition("\n")[0][:_LONGEST_TEXT]

    def repeated(self, now: float) -> Repeated | None:
        """Return the count since the last one that was logged; None if it is 0."""
        times, since = self.seen - self._counted, self._since
        if times <= 0:
            return None
        self._counted, self._since = self.seen, now
        seconds = min(now, self.began + WINDOW) - since
        return Repeated(times, seconds, self._level, self._namespace, self._text)

    def is_due(self, now: float) -> bool:
        """Return whether the count is to be logged before the window ends."""
        return any(
            self._since - self.began < each <= now - self.began for each in TOLD_AFTER
        )


class RepeatLimit:
    """Admits the first events of each key, and counts the rest."""

    def __init__(self) -> None:
        self._windows: OrderedDict[Hashable, _Window] = OrderedDict()
        self._due: list[Repeated] = []

    def admits(self, event: LogEvent, now: float) -> bool:
        """
        Return whether an event is to be logged now.

        :param now: the time in seconds, of a monotonic clock.
        """
        key = _key_of(event)
        if key is None:
            return True
        window = self._windows.get(key)
        if window is None or now - window.began >= WINDOW:
            self._end(key, now)
            window = self._windows[key] = _Window(now, event)
            if len(self._windows) > MOST_KEYS:
                self._end(next(iter(self._windows)), now)
        window.seen += 1
        return window.seen <= FIRST

    @property
    def counting(self) -> bool:
        """Whether there are events that `counted` will return, now or later."""
        return bool(self._due) or any(
            each.seen > FIRST for each in self._windows.values()
        )

    def counted(self, now: float, *, every: bool = False) -> list[Repeated]:
        """
        Return the counts that are to be logged now, each once.

        :param every: whether all windows end now.
        """
        for key, window in list(self._windows.items()):
            if every or now - window.began >= WINDOW:
                self._end(key, now)
            elif window.is_due(now):
                self._report(window, now)
        due, self._due = self._due, []
        return due

    def _end(self, key: Hashable, now: float) -> None:
        window = self._windows.pop(key, None)
        if window is not None:
            self._report(window, now)

    def _report(self, window: _Window, now: float) -> None:
        repeated = window.repeated(now)
        if repeated is not None:
            self._due.append(repeated)


def _key_of(event: LogEvent) -> Hashable | None:
    """Return the key under which an event is counted; None if it is not limited."""
    namespace = str(event.get("log_namespace", ""))
    level = event.get("log_level")
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        return namespace[:_LONGEST_TEXT], level, failure.type, _place_of(failure)
    if event.get("from_child") or namespace.startswith(_OPERATORS):
        return None
    if level not in _SEVERE and not namespace.startswith(_PROVOKED_AT_ANY_LEVEL):
        return None
    if namespace.startswith(_PROVOKED):
        return namespace, level, str(event.get("log_format"))[:_LONGEST_TEXT]
    if namespace.startswith(_OURS):
        return None
    text = formatEvent(event)
    return namespace[:_LONGEST_TEXT], level, text[:_LONGEST_TEXT], hash(text)


def _place_of(failure: Failure) -> tuple[object, ...]:
    """Return the file and the line at which an exception was raised."""
    traceback = failure.getTracebackObject()
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None or traceback.tb_frame is None:
        return ()
    return traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
