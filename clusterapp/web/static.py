"""
Static files from one folder.

`twisted.web.static.File` is not used: it lists directories, follows symbolic links
out of its folder, serves unknown types as HTML, fails on some ranges, and with
several ranges it can send a file many times over or never end.
"""

import os
import re
from collections.abc import Sequence
from mimetypes import MimeTypes
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO
from urllib.parse import quote

from twisted.protocols.basic import FileSender
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.pages import errorPage, forbidden, notFound
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

_METHODS = (b"GET", b"HEAD")
_INDEX = "index.html"
_UNKNOWN_TYPE = "application/octet-stream"

#: By extension, the same on every machine, whatever its ``/etc/mime.types`` says. A
#: compressed file is sent as what it is, and not as the encoding of another.
_TYPES = {
    **MimeTypes().types_map[True],
    ".avif": "image/avif",
    ".gz": "application/gzip",
    ".js": "text/javascript",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
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

    def render(self, request: Request) -> object:
        """Answer with the file that the rest of the path (``postpath``) names."""
        if request.method not in _METHODS:
            request.setHeader(b"allow", b", ".join(_METHODS))
            refusal = errorPage(
                http.NOT_ALLOWED, "Method Not Allowed", "Static files are only read."
            )
            return refusal.render(request)
        segments = request.postpath or [b""]
        path = self._path(segments)
        if path is not None and _is_file(path):
            return _send(request, path)
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


def _send(request: Request, path: Path) -> object:
    """Send a file, or the part of it that the request wants."""
    try:
        file = path.open("rb")
    except PermissionError:
        return forbidden().render(request)
    facts = os.fstat(file.fileno())
    request.setHeader(b"content-type", _type(path))
    # The type is what is said here, not what a browser guesses.
    request.setHeader(b"x-content-type-options", b"nosniff")
    request.setHeader(b"accept-ranges", b"bytes")
    unchanged = request.setLastModified(facts.st_mtime) is http.CACHED
    if unchanged or request.method == b"HEAD":
        file.close()
        if not unchanged:
            request.setHeader(b"content-length", b"%d" % facts.st_size)
        return b""
    first, length = _announce(request, facts.st_size)
    file.seek(first)
    _Sending(request, file, length).start()
    return NOT_DONE_YET


def _type(path: Path) -> bytes:
    kind = _TYPES.get(path.suffix.lower(), _UNKNOWN_TYPE)
    return f"{kind}; charset=utf-8".encode() if kind[:5] == "text/" else kind.encode()


def _announce(request: Request, size: int) -> tuple[int, int]:
    """
    Set status and length of an answer to a GET.

    Several ranges are answered with the whole file, which a server may always do
    (RFC 9110, section 14.2): no browser asks for them.

    :returns: where to begin in the file, and how many bytes to send.
    """
    ranges = _wanted(request, size)
    first, last = 0, size - 1
    if ranges is not None and len(ranges) == 1:
        first, last = ranges[0]
        request.setResponseCode(http.PARTIAL_CONTENT)
        request.setHeader(b"content-range", b"bytes %d-%d/%d" % (first, last, size))
    elif ranges == []:
        last = -1
        request.setResponseCode(http.REQUESTED_RANGE_NOT_SATISFIABLE)
        request.setHeader(b"content-range", b"bytes */%d" % size)
    length = last - first + 1
    request.setHeader(b"content-length", b"%d" % length)
    return first, length


def _wanted(request: Request, size: int) -> list[tuple[int, int]] | None:
    """Read the ranges that a request wants of the file as it is now; None for all."""
    value = request.getHeader(b"range")
    condition = request.getHeader(b"if-range")
    unchanged = http.datetimeToString(request.lastModified)
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
        if match[1] and match[2] and int(match[1]) > int(match[2]):
            return None
        first, last = _ends(match[1], match[2], size)
        if first <= last:
            wanted.append((first, last))
    return wanted


def _ends(first: bytes, last: bytes, size: int) -> tuple[int, int]:
    """Return the first and last byte; the last comes first when there are none."""
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1


class _Sending:
    """A part of an open file on its way to the client, as fast as it reads."""

    def __init__(self, request: Request, file: BinaryIO, length: int) -> None:
        self._request = request
        self._file = file
        self._left = length

    def start(self) -> None:
        """Send from where the file stands, then finish the request."""
        sent = FileSender().beginFileTransfer(self, self._request)
        sent.addBoth(self._ended)

    def read(self, size: int) -> bytes:
        """Read what comes next of the part: `FileSender` takes this for a file."""
        content = self._file.read(min(size, self._left))
        self._left -= len(content)
        return content

    def _ended(self, result: bytes | Failure) -> None:
        self._file.close()
        if isinstance(result, Failure) or self._left:
            # The client is gone, or the file is shorter than it was and the length
            # that was promised cannot be kept: the answer must be seen to be broken.
            self._request.loseConnection()
        else:
            self._request.finish()
