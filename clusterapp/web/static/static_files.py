"""
Static files: answered before a request is made of a head, and before the routes.

An answer is prepared once and kept, so that most requests are a look into a
dictionary, a look at the clock and one pass over their fields. Nothing that clients
send is kept without a bound: neither what they spell, nor what is not there.
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
from clusterapp.web.static.cached_file import ACCEPT_ENCODING, CachedFile, Key, Source
from clusterapp.web.static.file_cache import Cache
from clusterapp.web.static.file_sources import IMMUTABLE, FromFront, FromHere
from clusterapp.web.static.fingerprints import Fingerprints, without_fingerprint
from clusterapp.web.static.representations import refusal
from clusterapp.web.static.safe_open import Folder

_METHODS: Final = (b"GET", b"HEAD")
_INDEX: Final = b"index.html"

#: Kept by the client, but not used without asking.
_ASK_FIRST: Final = b"no-cache"

_NOT_ALLOWED: Final = refusal(
    HTTPStatus.METHOD_NOT_ALLOWED, (b"Allow", b", ".join(_METHODS))
)
_NOT_FOUND: Final = refusal(HTTPStatus.NOT_FOUND)
_FORBIDDEN: Final = refusal(HTTPStatus.FORBIDDEN)
_UNAVAILABLE: Final = refusal(HTTPStatus.SERVICE_UNAVAILABLE, (b"Retry-After", b"1"))

#: What may stand in a query as it is (RFC 3986, section 3.4), and what is encoded.
_QUERY: Final = "!$&'()*+,;=:@/?%"


@dataclass(frozen=True, kw_only=True)
class StaticOptions:
    """
    How static files are served.

    :param cache_bytes: what the cache may take.
    :param max_age: for how many seconds clients may use a file without asking for it
        again; 0 is never. Names with a fingerprint that fits are for ever.
    :param sendfile_header: the field by which a server in front is told to send a
        file (see `file_sources.FromFront`); None to send it from here.
    """

    cache_bytes: int = 32 * 1024 * 1024
    max_age: int = 0
    sendfile_header: str | None = None

    @classmethod
    def chosen(cls, settings: Settings) -> Self:
        """Take what the operator has chosen."""
        return cls(
            cache_bytes=settings.static_cache,
            max_age=int(settings.static_max_age),
            sendfile_header=settings.sendfile_header,
        )


class StaticFiles:
    """
    The files below a folder, by GET and HEAD.

    A path is answered with 404 when a segment of it begins with a dot, is empty
    (but for the last) or hides a slash, a backslash or a NUL, when a symbolic link
    leads out of the folder, and when what is there is no regular file. A directory
    is answered with its ``index.html``, or 404: it is never listed.

    :param folder: the folder; it is looked up once, with its own links followed.
    :param static_url: what the paths begin with, such as ``"/static/"``.
    :param fingerprints: those of the files in the folder.
    :param options: how they are served.
    :param now: tells the time in seconds, from any beginning.
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
        # Nobody can have put it into a file.
        self._boundary = secrets.token_hex(12).encode()

    def answer(self, method: bytes, target: bytes, fields: Fields) -> Prepared | None:
        """
        Answer a request for a static file; see `prepared_response.Answer`.

        :returns: None for a request that is not for one, by its path alone.
        """
        kept = self._known(target.partition(b"?")[0])
        if kept is None or self._now() >= kept.fresh_until or method not in _METHODS:
            return self._resolve(method, target, fields)
        matters = kept.matters
        for name, _ in fields:
            if name.lower() in matters:
                return self._choose(kept, method, fields)
        return kept.plain

    def _choose(self, kept: CachedFile, method: bytes, fields: Fields) -> Prepared:
        """Choose among the answers of a file by the fields that matter to it."""
        asked: dict[bytes, bytes] = {}
        for name, value in fields:
            lowered = name.lower()
            if lowered in kept.matters:
                # Lines of the same name are one list (RFC 9110, section 5.3).
                asked[lowered] = (
                    b"%b, %b" % (asked[lowered], value) if lowered in asked else value
                )
        if not asked:
            return kept.plain
        codings = wanted(asked.pop(ACCEPT_ENCODING, b""))
        coding = next((each for each in codings if each in kept.choices), b"")
        chosen = kept.choices[coding]
        return chosen.answer(method, asked, self._boundary) if asked else chosen.whole

    def _resolve(self, method: bytes, target: bytes, fields: Fields) -> Prepared | None:
        """Answer a request whose path is not known, or was not looked at of late."""
        path, mark, query = target.partition(b"?")
        segments = self._segments_below(path)
        if segments is None:
            return None
        if method not in _METHODS:
            return _NOT_ALLOWED
        try:
            kept = self._find(path, segments)
            if kept is None:
                return self._elsewhere(segments, mark + query)
        except PermissionError:
            return _FORBIDDEN
        except OSError as error:
            self._log.error("cannot serve {path}: {error}", path=path, error=error)
            return _UNAVAILABLE
        return self._choose(kept, method, fields)

    def _segments_below(self, path: bytes) -> Sequence[bytes] | None:
        """Give the segments of a path behind those of the prefix, if it has them."""
        # Nearly every other path is the application's, which must not be kept waiting.
        is_plain = path[:1] == b"/" and b"%" not in path
        if is_plain and not path.startswith(self._start):
            return None
        segments = segments_of(path)
        if segments is None or not is_below(segments, self._prefix):
            return None
        return segments[len(self._prefix) :]

    def _find(self, path: bytes, segments: Sequence[bytes]) -> CachedFile | None:
        """Find the file that a path leads to."""
        below = _below(segments)
        if below is None:
            return None
        kept = self._cache.current(Key(below, self._ordinary))
        marked = without_fingerprint(below) if kept is None else None
        if marked is not None:
            kept = self._fitting(*marked)
            if kept is None:
                # The fingerprint is that of an older or a newer version, for which
                # the present one must not be taken for long. Nor is the path
                # remembered, since it may fit a moment later.
                return self._cache.current(Key(marked[0], _ASK_FIRST))
        if kept is not None:
            self._cache.remember(path, kept)
        return kept

    def _fitting(self, name: bytes, mark: str) -> CachedFile | None:
        """Find the file ``name`` if ``mark`` is the fingerprint of its content."""
        key = Key(name, IMMUTABLE)
        kept = self._cache.current(key)
        if kept is not None and kept.fingerprint != mark:
            # Who made the URL may have seen a newer file than this.
            kept = self._cache.current(key, at_once=True)
        return kept if kept is not None and kept.fingerprint == mark else None

    def _elsewhere(self, segments: Sequence[bytes], query: bytes) -> Prepared:
        """Redirect to a directory's index, relative to where it is; else 404."""
        below = _below([*segments, b""])
        if below is None or self._folder.open(below) is None:
            return _NOT_FOUND
        # Relative, so no Host field can lead it elsewhere.
        place = quote(segments[-1], safe="") + "/"
        rest = quote_from_bytes(query, safe=_QUERY)
        return refusal(HTTPStatus.FOUND, (b"Location", (place + rest).encode()))


def _source(
    folder: Folder, fingerprints: Fingerprints, options: StaticOptions
) -> Source:
    if options.sendfile_header is None:
        return FromHere(folder, fingerprints, options.cache_bytes)
    return FromFront(folder, fingerprints, options.sendfile_header)


def _below(segments: Sequence[bytes]) -> bytes | None:
    """Give the path of a file below the folder; None if it must not be served."""
    *folders, name = segments
    parts = [*folders, name or _INDEX]
    return b"/".join(parts) if all(map(is_shown, parts)) else None
