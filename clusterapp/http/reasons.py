"""Status lines, and the fields that every response has."""

import time
from functools import lru_cache
from http import HTTPStatus

from twisted.web.http import RESPONSES, datetimeToString


#: An application may choose any number, even one that a client has sent.
@lru_cache(1024)
def status_line(status: int) -> bytes:
    """Write the status line of a response, with its line end."""
    return b"HTTP/1.1 %d %b\r\n" % (status, RESPONSES.get(status) or _phrase(status))


def _phrase(status: int) -> bytes:
    """Give the reason of a status that Twisted does not know, such as 431."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Unknown Status"


def common_lines() -> bytes:
    """Write the Server and Date fields as they are now, each with its line end."""
    date = datetimeToString(time.time())
    return b"Server: clusterapp\r\nDate: %b\r\n" % date
