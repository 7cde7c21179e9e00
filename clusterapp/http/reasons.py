"""Status lines, and the fields that every response has."""

import time
from functools import cache

from twisted.web.http import RESPONSES, datetimeToString


@cache
def status_line(status: int) -> bytes:
    """Write the status line of a response, with its line end."""
    reason = RESPONSES.get(status, b"Unknown Status")
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def common_lines() -> bytes:
    """Write the Server and Date fields as they are now, each with its line end."""
    date = datetimeToString(time.time())
    return b"Server: clusterapp\r\nDate: %b\r\n" % date
