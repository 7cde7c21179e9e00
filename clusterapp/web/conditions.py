"""The conditions of a request for a file (RFC 9110, section 13)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final

IF_MATCH: Final = b"if-match"
IF_NONE_MATCH: Final = b"if-none-match"
IF_MODIFIED_SINCE: Final = b"if-modified-since"
IF_UNMODIFIED_SINCE: Final = b"if-unmodified-since"
IF_RANGE: Final = b"if-range"

_TAG = rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")'
_TAGS = re.compile(rb"[ \t,]*" + _TAG + rb"[ \t]*(?=,|\Z)")

_MONTHS: Final = (
    *(b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun"),
    *(b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"),
)
_DIGITS_OF_A_SHORT_YEAR: Final = 2

_MONTH = rb"(?P<month>" + b"|".join(_MONTHS) + rb")"
_DAY_NAME = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_NAME = rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_TIME = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DAY, _YEAR = rb"(?P<day>[0-9]{2})", rb"(?P<year>[0-9]{4})"

#: The forms of RFC 9110, section 5.6.7.
_IMF_FIXDATE: Final = re.compile(
    _DAY_NAME + b", " + _DAY + b" " + _MONTH + b" " + _YEAR + b" " + _TIME + b" GMT"
)
_RFC_850: Final = re.compile(
    _LONG_NAME
    + b", "
    + _DAY
    + b"-"
    + _MONTH
    + b"-(?P<year>[0-9]{2}) "
    + _TIME
    + b" GMT"
)
_ASCTIME: Final = re.compile(
    _DAY_NAME + b" " + _MONTH + b" (?P<day>[0-9]{2}| [0-9]) " + _TIME + b" " + _YEAR
)


class Verdict(Enum):
    """What conditions ask for."""

    #: The request, as if it had none.
    PERFORM = auto()
    #: 304 Not Modified.
    UNCHANGED = auto()
    #: 412 Precondition Failed.
    FAILED = auto()


def judge(asked: Mapping[bytes, bytes], etag: bytes, modified: bytes) -> Verdict:
    """
    Weigh the conditions of a GET or HEAD in the order of section 13.2.2.

    :param asked: the values of the request's fields, by their names in lower case.
    :param etag: the strong entity tag of what would be sent, with its quotes.
    :param modified: its Last-Modified.
    """
    if _forbids(asked, etag, modified):
        return Verdict.FAILED
    return Verdict.UNCHANGED if _has_it(asked, etag, modified) else Verdict.PERFORM


def allows_range(asked: Mapping[bytes, bytes], etag: bytes, modified: bytes) -> bool:
    """Whether If-Range lets a part be sent: the client has the rest of the same."""
    value = asked.get(IF_RANGE)
    # A date must be the very same: an earlier or later one tells nothing.
    return value is None or value in (etag, modified)


def _forbids(asked: Mapping[bytes, bytes], etag: bytes, modified: bytes) -> bool:
    if IF_MATCH in asked:
        return not _names(asked[IF_MATCH], etag, weakly=False)
    if IF_UNMODIFIED_SINCE in asked:
        return _is_later(modified, asked[IF_UNMODIFIED_SINCE]) is True
    return False


def _has_it(asked: Mapping[bytes, bytes], etag: bytes, modified: bytes) -> bool:
    if IF_NONE_MATCH in asked:
        return _names(asked[IF_NONE_MATCH], etag, weakly=True)
    if IF_MODIFIED_SINCE in asked:
        return _is_later(modified, asked[IF_MODIFIED_SINCE]) is False
    return False


def _names(value: bytes, etag: bytes, *, weakly: bool) -> bool:
    """Whether a list of entity tags has ``etag``; what is no list has none."""
    if value in (b"*", etag):
        return True
    position = 0
    while match := _TAGS.match(value, position):
        if match[2] == etag and (weakly or not match[1]):
            return True
        position = match.end()
    return False


def _is_later(modified: bytes, value: bytes) -> bool | None:
    """Whether a file is later than a date; None for what is no date."""
    if value == modified:
        return False
    mine, theirs = _time_of(modified), _time_of(value)
    return None if mine is None or theirs is None else mine > theirs


def _time_of(value: bytes) -> datetime | None:
    """
    Read an HTTP-date in any of its three forms (RFC 9110, section 5.6.7).

    :return: None for what is no HTTP-date: conditions with it are ignored (sections
        13.1.3 and 13.1.4).
    """
    for form in (_IMF_FIXDATE, _RFC_850, _ASCTIME):
        found = form.fullmatch(value)
        if found is not None:
            return _time_in(found)
    return None


def _time_in(found: re.Match[bytes]) -> datetime | None:
    day, year, hour, minute, second = (
        int(found[part]) for part in ("day", "year", "hour", "minute", "second")
    )
    if len(found["year"]) == _DIGITS_OF_A_SHORT_YEAR:
        year = _whole_year(year)
    month = _MONTHS.index(found["month"]) + 1
    try:
        # A leap second, 60, is taken for the one before: datetime has none.
        second = 59 if second == 60 else second  # noqa: PLR2004
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _whole_year(year: int) -> int:
    """Return the year of two digits, which is at most 50 years from now."""
    now = datetime.now(UTC).year
    year += now - now % 100
    return year - 100 if year > now + 50 else year
