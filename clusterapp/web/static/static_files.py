"""
The handler of static files, called before routing and before a request object is made.

A response is prepared once and cached, so that most requests cost a dictionary lookup,
a look at the clock and one pass over their fields. Nothing that clients send is stored
without a bound: neither spellings of paths, nor paths of files that do not exist.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote, quote_from_bytes

from twisted.logger import Logger

from clusterapp.http.server.prepared_response import Prepared
from clusterapp.interfaces import Fields
from clusterapp.settings.model import Settings
from clusterapp.web.request_paths import is_below, is_shown, segments_of, static_prefix
from clusterapp.web.static.accept_encoding import wanted
from clusterapp.web.static.cached_file import (
    ACCEPT_ENCODING,
    CachedFile,
    CacheKey,
    EntrySource,
)
from clusterapp.web.static.file_cache import Cache
from clusterapp.web.static.file_sources import IMMUTABLE, FolderSource, SendfileSource
from clusterapp.web.static.fingerprints import Fingerprints, without_fingerprint
from clusterapp.web.static.representations import refusal
from clusterapp.web.static.safe_open import Folder

_METHODS: Final = (b"GET", b"HEAD")
_INDEX: Final = b"index.html"

#: Clients can store the file, but must revalidate it before each use.
_ASK_FIRST: Final = b"no-cache"

_NOT_ALLOWED: Final = refusal(
    HTTPStatus.METHOD_NOT_ALLOWED, (b"Allow", b", ".join(_METHODS))
)
_NOT_FOUND: Final = refusal(HTTPStatus.NOT_FOUND)
_FORBIDDEN: Final = refusal(HTTPStatus.FORBIDDEN)
_UNAVAILABLE: Final = refusal(HTTPStatus.SERVICE_UNAVAILABLE, (b"Retry-After", b"1"))

#: The characters besides unreserved ones that a query can have (RFC 3986, section 3.4),
#: and the percent sign of encoded ones: they are not encoded.
_QUERY: Final = "!$&'()*+,;=:@/?%"


@dataclass(frozen=True, kw_only=True)
class StaticOptions:
    """
    The options of static files.

    :param cache_bytes: the size of the cache in bytes.
    :param max_age: the seconds for which clients may use a file without revalidation;
        0 for none. It does not apply to names with the right fingerprint, which are
        immutable.
    :param sendfile_header: the response field by which a server in front sends a file
        (see `file_sources.SendfileSource`); None if this process sends files.
    """

    cache_bytes: int = 32 * 1024 * 1024
    max_age: int = 0
    sendfile_header: str | None = None

    @classmethod
    def chosen(cls, settings: Settings) -> Self:
        """Return the options that the settings have."""
        return cls(
            cache_bytes=settings.static_cache,
            max_age=int(settings.static_max_age),
            sendfile_header=settings.sendfile_header,
        )


class StaticFiles:
    """
    The handler of GET and HEAD for the files below a folder.

    The response is 404 if a segment of the path begins with a dot, is empty (except the
    last one) or has an encoded slash, a backslash or a NUL, if a symbolic link leads
    out of the folder, and if the path is not that of a regular file. The response for a
    directory is its ``index.html``, or 404: it is never listed.

    :param folder: the folder; symbolic links in its own path are resolved once.
    :param static_url: the prefix of the paths, such as ``"/static/"``.
    :param fingerprints: the fingerprints of the files in the folder.
    :param options: the options.
    :param now: returns the time in seconds, from any beginning.
    """

    _log = Logger()

    def __init__(
        self,
        folder: Path,
        static_url: str,
        fingerprints: Fingerprints,
        options: StaticOptions,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = Folder(folder)
        self._start = static_url.encode()
        self._prefix = static_prefix(static_url)
        self._now = now
        source = _source(self._folder, fingerprints, options)
        self._cache = Cache(source, options.cache_bytes, now)
        self._known = self._cache.paths.get
        self._ordinary = (
            b"max-age=%d" % options.max_age if options.max_age else _ASK_FIRST
        )
        # Random, so that no file can have been made to contain it.
        self._boundary = secrets.token_hex(12).encode()

    def answer(self, method: bytes, target: bytes, fields: Fields) -> Prepared | None:
        """
        Return the response to a request for a static file.

        This method is a `prepared_response.Answer`.

        :returns: None for a request whose path is not below the prefix.
        """
        # A fast check first: nearly all other requests are the application's. Escaped
        # characters may spell the prefix, too.
        is_plain = target[:1] == b"/" and b"%" not in target
        if is_plain and not target.startswith(self._start):
            return None
        entry = self._known(target.partition(b"?")[0])
        if entry is None or self._now() >= entry.fresh_until or method not in _METHODS:
            return self._resolve(method, target, fields)
        varying = entry.varying
        for name, _ in fields:
            if name.lower() in varying:
                return self._choose(entry, method, fields)
        return entry.plain

    def _choose(self, entry: CachedFile, method: bytes, fields: Fields) -> Prepared:
        """Return the response of an entry, by the request fields that matter to it."""
        asked: dict[bytes, bytes] = {}
        for name, value in fields:
            lowered = name.lower()
            if lowered in entry.varying:
                # Lines of the same name are one list (RFC 9110, section 5.3).
                asked[lowered] = (
                    b"%b, %b" % (asked[lowered], value) if lowered in asked else value
                )
        if not asked:
            return entry.plain
        codings = wanted(asked.pop(ACCEPT_ENCODING, b""))
        coding = next((each for each in codings if each in entry.choices), b"")
        chosen = entry.choices[coding]
        return chosen.answer(method, asked, self._boundary) if asked else chosen.whole

    def _resolve(self, method: bytes, target: bytes, fields: Fields) -> Prepared | None:
        """Return the response for a path without an entry, or with an outdated one."""
        path, mark, query = target.partition(b"?")
        segments = self._segments_below(path)
        if segments is None:
            return None
        if method not in _METHODS:
            return _NOT_ALLOWED
        try:
            entry = self._find(path, segments)
            if entry is None:
                return self._elsewhere(segments, mark + query)
        except PermissionError:
            return _FORBIDDEN
        except OSError as error:
            self._log.error("cannot serve {path}: {error}", path=path, error=error)
            return _UNAVAILABLE
        return self._choose(entry, method, fields)

    def _segments_below(self, path: bytes) -> Sequence[bytes] | None:
        """Return the segments of a path after the prefix; None without the prefix."""
        segments = segments_of(path)
        if segments is None or not is_below(segments, self._prefix):
            return None
        return segments[len(self._prefix) :]

    def _find(self, path: bytes, segments: Sequence[bytes]) -> CachedFile | None:
        """Return the entry of the file of a path, with or without a fingerprint."""
        below = _below(segments)
        if below is None:
            return None
        entry = self._cache.current(CacheKey(below, self._ordinary))
        marked = without_fingerprint(below) if entry is None else None
        if marked is not None:
            entry = self._fitting(*marked)
            if entry is None:
                # The fingerprint is of an older or a newer version, so caches must not
                # store the present one under it for long. The path is not remembered
                # either, since its fingerprint may be right a moment later.
                return self._cache.current(CacheKey(marked[0], _ASK_FIRST))
        if entry is not None:
            self._cache.remember(path, entry)
        return entry

    def _fitting(self, name: bytes, mark: str) -> CachedFile | None:
        """Return the entry of a file if ``mark`` is the fingerprint of its content."""
        key = CacheKey(name, IMMUTABLE)
        entry = self._cache.current(key)
        if entry is not None and entry.fingerprint != mark:
            # The process that made the URL may have read a newer version of the file.
            entry = self._cache.current(key, at_once=True)
        return entry if entry is not None and entry.fingerprint == mark else None

    def _elsewhere(self, segments: Sequence[bytes], query: bytes) -> Prepared:
        """Return a relative redirect to a directory's index, or 404 without one."""
        below = _below([*segments, b""])
        if below is None or self._folder.open(below) is None:
            return _NOT_FOUND
        # Relative, so that the Host field cannot change the target.
        place = quote(segments[-1], safe="") + "/"
        rest = quote_from_bytes(query, safe=_QUERY)
        return refusal(HTTPStatus.FOUND, (b"Location", (place + rest).encode()))


def _source(
    folder: Folder, fingerprints: Fingerprints, options: StaticOptions
) -> EntrySource:
    if options.sendfile_header is None:
        return FolderSource(folder, fingerprints, options.cache_bytes)
    return SendfileSource(folder, fingerprints, options.sendfile_header)


def _below(segments: Sequence[bytes]) -> bytes | None:
    """Return the path of a file below the folder; None if it must not be served."""
    *folders, name = segments
    parts = [*folders, name or _INDEX]
    return b"/".join(parts) if all(map(is_shown, parts)) else None
