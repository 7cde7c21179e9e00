"""Status lines, and the fields that every response has."""

import time
from collections.abc import Callable
from functools import cache

from twisted.web.http import RESPONSES, datetimeToString


@cache
def status_line(status: int) -> bytes:
    """Write the status line of a response, with its line end."""
    reason = RESPONSES.get(status, b"Unknown Status")
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


class Stamp:
    """
    The Server and Date fields, made anew when the second changes.

    :param now: tells the time of day, in seconds since the epoch.
    """

    __slots__ = ("_lines", "_now", "_second")

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._second = 0
        self._lines = b""

    def lines(self) -> bytes:
        """Give both fields, each with its line end; the same object for a second."""
        second = int(self._now())
        if second != self._second:
            self._second = second
            date = datetimeToString(second)
            self._lines = b"Server: clusterapp\r\nDate: %b\r\n" % date
        return self._lines
