"""The kinds of value that say how much is taken in, and how files are sent."""

import re
from dataclasses import dataclass

from clusterapp.settings.kinds import Kind
from clusterapp.settings.problems import WrongValueError

_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_MOST_BYTES = 1024**4
_SIZE = re.compile(r"(?P<number>[0-9]{1,13})\s*(?:(?P<unit>[kmg])i?)?b?", re.IGNORECASE)

_SENDFILE = re.compile(
    # No segment of the path is empty, hidden or dots alone.
    r"X-Accel-Redirect=(?P<prefix>/(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*/)+)|X-Sendfile",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Size(Kind):
    """
    A number of bytes, which may be given with a unit: ``64k``, ``16 MiB``.

    :param least: the smallest.
    """

    least: int = 0

    metavar = "SIZE"

    def check(self, value: object) -> int:
        """Judge a number, or text with or without a unit; all units are of 1024."""
        size = _bytes_of(value) if isinstance(value, str) else value
        if type(size) is int and self.least <= size <= _MOST_BYTES:
            return size
        raise WrongValueError(
            value,
            f"must be a number of bytes, from {self.least} up to 1 TiB, as in"
            " 65536, 64 KiB or 16 MiB",
        )

    def show(self, value: object) -> str:
        """Write the largest unit that it is a whole number of."""
        assert isinstance(value, int)  # noqa: S101 - `check` makes no other
        for unit, factor in reversed(_UNITS.items()):
            if value and value % factor == 0:
                return f"{value // factor} {unit}"
        return f"{value} B"


class SendfileHeader(Kind):
    """The field by which a server in front is told to send a file itself."""

    metavar = "X-Accel-Redirect=PREFIX|X-Sendfile"

    def check(self, value: object) -> str:
        """Judge a field and its prefix, and put the name into its usual spelling."""
        match = _SENDFILE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise WrongValueError(
                value,
                "must be X-Sendfile, or X-Accel-Redirect= and the path of an internal"
                " location, with a slash at both ends, as in"
                " X-Accel-Redirect=/internal/static/",
            )
        return (
            f"X-Accel-Redirect={match['prefix']}" if match["prefix"] else "X-Sendfile"
        )


def _bytes_of(text: str) -> int | None:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    power = " kmg".index((match["unit"] or " ").lower())
    return int(match["number"]) << (10 * power)
