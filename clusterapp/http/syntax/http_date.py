"""HTTP-dates (RFC 9110, section 5.6.7): exactly the three standard forms."""

import re
from datetime import UTC, datetime
from typing import Final

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

#: The three forms of RFC 9110, section 5.6.7.
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


def time_of(value: bytes) -> datetime | None:
    """
    Parse an HTTP-date in any of its three forms (RFC 9110, section 5.6.7).

    :return: None for an invalid HTTP-date: conditions with it are ignored (sections
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
        # A leap second, 60, becomes 59: datetime has none.
        second = 59 if second == 60 else second  # noqa: PLR2004
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _whole_year(year: int) -> int:
    """Return the full year for two digits; it is at most 50 years in the future."""
    now = datetime.now(UTC).year
    year += now - now % 100
    return year - 100 if year > now + 50 else year
