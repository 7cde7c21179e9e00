"""Status lines, and the fields that every response has."""

import time
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from twisted.web.http import RESPONSES, datetimeToString

from clusterapp.http.syntax.http_date import time_of
from clusterapp.http.syntax.response_framing import InvalidResponseError

#: The statuses that a final response may have: three digits, and no interim one
#: (RFC 9110, section 15).
_FINAL: Final = range(200, 1000)

_DATE: Final = b"Date: "


#: An application may choose any number, even one that a client has sent.
@lru_cache(1024)
def status_line(status: int) -> bytes:
    """
    Write the status line of a final response, with its line end.

    :raises InvalidResponseError: for what is no final status.
    """
    check_final(status)
    return b"HTTP/1.1 %d %b\r\n" % (status, RESPONSES.get(status) or _phrase(status))


def check_final(status: object) -> None:
    """
    Check the status of a final response (RFC 9110, section 15).

    :raises InvalidResponseError: if it is interim (1xx), or has not three digits.
    """
    if not isinstance(status, int) or status not in _FINAL:
        raise InvalidResponseError(f"{status!r} is no status of a final response")


def _phrase(status: int) -> bytes:
    """Give the reason of a status that Twisted does not know, such as 431."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Unknown Status"


def common_lines() -> bytes:
    """Write the Server and Date fields as they are now, each with its line end."""
    date = datetimeToString(time.time())
    return b"Server: clusterapp\r\n%b%b\r\n" % (_DATE, date)


def date_in(lines: bytes) -> bytes:
    """Return the value of the Date field among `common_lines`; empty without it."""
    return lines.partition(_DATE)[2].partition(b"\r\n")[0]


def last_modified(when: float, date: bytes) -> bytes:
    """
    Write a Last-Modified that is not later than its message (RFC 9110, 8.8.2.1).

    :param when: the time of the last modification, in seconds since the epoch.
    :param date: the Date of the message, empty if it has none.
    :return: the HTTP-date.
    :raises ValueError: if the Date is no HTTP-date.
    """
    now = _seconds(date) if date else time.time()
    written: bytes = datetimeToString(min(when, now))
    return written


@lru_cache(4)
def _seconds(date: bytes) -> float:
    found = time_of(date)
    if found is None:
        raise ValueError(f"no HTTP-date: {date!r:.100}")
    return found.timestamp()
