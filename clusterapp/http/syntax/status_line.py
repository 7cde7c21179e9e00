"""Status lines, and the fields common to all responses."""

import time
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from twisted.web.http import RESPONSES, datetimeToString

from clusterapp.http.syntax.http_date import time_of
from clusterapp.http.syntax.response_framing import InvalidResponseError

#: The statuses of final responses: three digits, and not an interim one (RFC 9110,
#: section 15).
_FINAL: Final = range(200, 1000)

_DATE: Final = b"Date: "


#: Bounded: an application may choose any number, even one that a client has sent.
@lru_cache(1024)
def status_line(status: int) -> bytes:
    """
    Return the status line of a final response, with its line end.

    :raises InvalidResponseError: if the status is not a final one.
    """
    check_final(status)
    return b"HTTP/1.1 %d %b\r\n" % (status, RESPONSES.get(status) or _phrase(status))


def check_final(status: object) -> None:
    """
    Check the status of a final response (RFC 9110, section 15).

    :raises InvalidResponseError: if it is interim (1xx), or does not have three digits.
    """
    if not isinstance(status, int) or status not in _FINAL:
        raise InvalidResponseError(f"{status!r} is no status of a final response")


def _phrase(status: int) -> bytes:
    """Return the reason phrase of a status missing in Twisted, such as 431."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Unknown Status"


def common_lines() -> bytes:
    """Return the current Server and Date fields, each with its line end."""
    date = datetimeToString(time.time())
    return b"Server: clusterapp\r\n%b%b\r\n" % (_DATE, date)


def date_in(lines: bytes) -> bytes:
    """Return the value of the Date field in `common_lines`; empty if there is none."""
    return lines.partition(_DATE)[2].partition(b"\r\n")[0]


def last_modified(when: float, date: bytes) -> bytes:
    """
    Return a Last-Modified that is not later than its message (RFC 9110, 8.8.2.1).

    :param when: the time of the last modification, in seconds since the epoch.
    :param date: the Date of the message, empty if it has none.
    :return: the HTTP-date.
    :raises ValueError: if the Date is not an HTTP-date.
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
