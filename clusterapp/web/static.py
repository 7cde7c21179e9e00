"""
Static files from one folder.

`twisted.web.static.File` sends the bytes. What it does beyond that is kept from it:
it lists directories, follows symbolic links out of its folder, serves unknown types
as HTML, fails on some ranges, and with several ranges it can send a file many times
over or never end.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from stat import S_ISREG
from typing import Any
from urllib.parse import quote

from twisted.web.http import NOT_ALLOWED, datetimeToString
from twisted.web.pages import errorPage, notFound
from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.static import File

_METHODS = (b"GET", b"HEAD")
_INDEX = "index.html"
_UNKNOWN_TYPE = "application/octet-stream"

#: With the names whose types differ between systems, or are missing from some.
_TYPES = {
    **File.contentTypes,
    ".gz": "application/gzip",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}

#: One range of RFC 9110, section 14.1.2. No file needs more digits, and int()
#: refuses thousands of them.
_RANGE = re.compile(rb"([0-9]{0,18})-([0-9]{0,18})")
_UNIT = b"bytes="


class StaticFolder(Resource):
    """
    The files below a folder, by GET and HEAD.

    A path is answered with 404 when a segment of it begins with a dot, is empty
    (but for the last) or hides a slash or a NUL, when a symbolic link leads out of
    the folder, and when what is there is no regular file. A directory is answered
    with its ``index.html``, or 404: it is never listed.

    :param folder: the folder; it is looked up once, with its own links followed.
    """

    isLeaf = True

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._root = Path(os.path.realpath(folder))

    def render(self, request: Request) -> Any:
        """Answer with the file that the rest of the path (``postpath``) names."""
        if request.method not in _METHODS:
            request.setHeader(b"allow", b", ".join(_METHODS))
            refusal = errorPage(
                NOT_ALLOWED, "Method Not Allowed", "Static files are only read."
            )
            return refusal.render(request)
        segments = request.postpath or [b""]
        path = self._path(segments)
        if path is not None and _is_file(path):
            return _StaticFile(str(path)).render_GET(request)
        if path is not None and _is_file(path / _INDEX):
            return _add_slash(request, segments[-1])
        return notFound().render(request)

    def _path(self, segments: Sequence[bytes]) -> Path | None:
        """Find the real path of ``segments``, or None if they must not be served."""
        *folders, name = segments
        if name == b"":
            name = _INDEX.encode()
        if not all(map(_is_plain, (*folders, name))):
            return None
        # As bytes first: a file's name need not be UTF-8.
        below = os.fsdecode(b"/".join((*folders, name)))
        path = Path(os.path.realpath(self._root / below))
        return path if path.is_relative_to(self._root) else None


class _StaticFile(File):
    """One regular file that may be served."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        kind = _TYPES.get(Path(path).suffix.lower(), _UNKNOWN_TYPE)
        self.type = f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
        # A compressed file is sent as what it is, not as the encoding of another.
        self.encoding = None

    def render_GET(self, request: Request) -> Any:
        """Send the file; its type is what is said, not what a browser guesses."""
        request.setHeader(b"x-content-type-options", b"nosniff")
        return super().render_GET(request)

    def makeProducer(self, request: Request, fileForReading: Any) -> Any:
        """Let ``File`` see only a range that it gets right, as ``first-last``."""
        ranges = _ranges(request, self.getFileSize())
        if ranges is None or len(ranges) > 1:
            request.requestHeaders.removeHeader(b"range")
        else:
            # A range from the end of the file on is one that cannot be satisfied.
            wanted = b"%d-%d" % ranges[0] if ranges else b"%d-" % self.getFileSize()
            request.requestHeaders.setRawHeaders(b"range", [_UNIT + wanted])
        return super().makeProducer(request, fileForReading)


def _ranges(request: Request, size: int) -> list[tuple[int, int]] | None:
    """
    Read which parts of a file of ``size`` bytes a request wants.

    A server may ignore any Range (RFC 9110, section 14.2), and so several ranges
    are answered with the whole file: no browser asks for them.
    """
    value = request.getHeader(b"range")
    condition = request.getHeader(b"if-range")
    unchanged = datetimeToString(request.lastModified)
    if value is None or (condition is not None and condition != unchanged):
        return None
    return parse_ranges(value, size)


def parse_ranges(value: bytes, size: int) -> list[tuple[int, int]] | None:
    """
    Parse a Range field for a file of ``size`` bytes (RFC 9110, section 14.1.2).

    :returns: the first and last byte of each range that the file can satisfy, which
        may be none of them; None for a field that is to be ignored.
    """
    if value[: len(_UNIT)].lower() != _UNIT:
        return None
    parts = [part.strip(b" \t") for part in value[len(_UNIT) :].split(b",")]
    found = [_RANGE.fullmatch(part) for part in parts if part]
    if not found:
        return None
    wanted = []
    for match in found:
        if match is None or match[0] == b"-":
            return None
        first, last = _ends(match[1], match[2], size)
        if match[1] and match[2] and int(match[2]) < first:
            return None
        if first <= last:
            wanted.append((first, last))
    return wanted


def _ends(first: bytes, last: bytes, size: int) -> tuple[int, int]:
    """Return the first and last byte; the last comes first when there are none."""
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1


def _is_plain(segment: bytes) -> bool:
    """Whether a segment is one name, not hidden; ``.`` and ``..`` are not."""
    return bool(segment) and segment[:1] != b"." and not set(b"/\0") & set(segment)


def _is_file(path: Path) -> bool:
    """Whether a regular file is there; a name may be too long to ask for."""
    try:
        return S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _add_slash(request: Request, segment: bytes) -> bytes:
    """Redirect to the directory ``segment`` with a slash, relative to where it is."""
    query = request.uri.partition(b"?")[1:]
    request.redirect(quote(segment, safe="").encode() + b"/" + b"".join(query))
    return b""
