"""The path segments of request targets, for static files and routing alike."""

import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

#: The name of a file that is not hidden, and has no separator of any platform.
_SHOWN = re.compile(rb"[^./\\\0][^/\\\0]*")

_ABSOLUTE_FORM = re.compile(rb"https?://[^/]*", re.IGNORECASE)


def segments_of(path: bytes) -> list[bytes] | None:
    """
    Split a path as twisted.web does: at slashes, each segment decoded once.

    :param path: the request target as received, up to the ``?``: percent-encoded, in
        origin-form or in absolute-form (``http://host/path``).
    :returns: the segments after the first slash; None for another form (``*``).
    """
    origin = path if path.startswith(b"/") else _ABSOLUTE_FORM.sub(b"", path, 1)
    if origin and not origin.startswith(b"/"):
        return None
    segments = origin[1:].split(b"/")
    # Decoding is skipped if there is nothing to decode, as in most paths: a long path
    # has thousands of segments.
    return [*map(unquote_to_bytes, segments)] if b"%" in origin else segments


def static_prefix(static_url: str) -> tuple[bytes, ...]:
    """Return the path segments that every path below ``static_url`` begins with."""
    return tuple(part.encode() for part in static_url.strip("/").split("/"))


def is_below(segments: Sequence[bytes], prefix: Sequence[bytes]) -> bool:
    """Return whether a path of unquoted ``segments`` is below ``prefix``."""
    return len(segments) > len(prefix) and tuple(segments[: len(prefix)]) == prefix


def is_shown(segment: bytes) -> bool:
    r"""Return whether a segment may name a file: not empty, not hidden, no ``/\``."""
    return _SHOWN.fullmatch(segment) is not None
