"""Range requests for a file (RFC 9110, section 14)."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

#: One range. No file needs more than 18 digits, and int() refuses thousands of them.
_RANGE = re.compile(rb"([0-9]{0,18})-([0-9]{0,18})")
_UNIT: Final = b"bytes="

#: The most ranges of a request; with more it gets the whole file (RFC 9110, section
#: 14.2).
MOST_RANGES: Final = 32

#: The gap in bytes up to which two ranges are joined: sending the gap costs less than
#: another part, which has a head.
_SMALL_GAP: Final = 256


class Range(NamedTuple):
    """A range, by the offsets of its first and its last byte."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """The number of bytes; zero or negative for a range beyond the end."""
        return self.last - self.first + 1


def parse_ranges(value: bytes, size: int) -> list[Range] | None:
    """
    Parse a Range field for a file of ``size`` bytes (RFC 9110, section 14.1.2).

    Ranges that overlap, or have a small gap, are joined (section 15.3.7.2). So no
    response is larger than the file but for the heads of its parts, and these take
    less than the gaps that are left out.

    :param value: the field's value.
    :param size: the size of the file in bytes.
    :returns: the ranges that the file can satisfy, possibly none; joined ranges have
        the position of their first one. None for a field that is to be ignored.
    """
    if value[: len(_UNIT)].lower() != _UNIT:
        return None
    parts = [part.strip(b" \t") for part in value[len(_UNIT) :].split(b",")]
    given = [part for part in parts if part]
    if not 0 < len(given) <= MOST_RANGES:
        return None
    found = [_parse_one(part, size) for part in given]
    if any(each is None for each in found):
        return None
    return _joined([each for each in found if each is not None and each.length > 0])


def _parse_one(part: bytes, size: int) -> Range | None:
    """Parse one range; its length is not positive if it is beyond the file's end."""
    match = _RANGE.fullmatch(part)
    if match is None or part == b"-":
        return None
    if not match[1]:
        return Range(max(0, size - int(match[2])), size - 1)
    first, last = int(match[1]), int(match[2]) if match[2] else size - 1
    if match[2] and first > last:
        return None
    return Range(first, min(last, size - 1))


def _joined(ranges: Sequence[Range]) -> list[Range]:
    """Join the ranges that overlap or have a small gap."""
    groups: list[tuple[int, Range]] = []
    for place, each in sorted(enumerate(ranges), key=lambda pair: pair[1]):
        if groups and each.first - groups[-1][1].last <= _SMALL_GAP:
            earlier, before = groups.pop()
            joined = Range(before.first, max(before.last, each.last))
            groups.append((min(earlier, place), joined))
        else:
            groups.append((place, each))
    return [each for _, each in sorted(groups)]


def content_range(part: Range, size: int) -> bytes:
    """Return the Content-Range value of one part."""
    return b"bytes %d-%d/%d" % (part.first, part.last, size)


def part_heads(
    ranges: Iterable[Range], size: int, kind: bytes, boundary: bytes
) -> list[bytes]:
    """
    Return the head of each part of a multipart/byteranges body, and its end.

    :param ranges: the ranges of the parts.
    :param size: the size of the whole file in bytes.
    :param kind: the media type of the file.
    :param boundary: the boundary, which must not occur in any part.
    """
    heads = [
        b"\r\n--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n"
        % (boundary, kind, content_range(each, size))
        for each in ranges
    ]
    return [*heads, b"\r\n--%b--\r\n" % boundary]
