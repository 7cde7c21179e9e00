"""The sources of cache entries: files sent by this process, or by a server in front."""

import os
from collections.abc import Iterator
from http import HTTPStatus
from types import MappingProxyType
from typing import Final
from urllib.parse import quote_from_bytes

from clusterapp.http.server.prepared_response import Prepared
from clusterapp.interfaces import Fields
from clusterapp.web.static.accept_encoding import SUFFIXES
from clusterapp.web.static.cached_file import CachedFile, CacheKey, Seen
from clusterapp.web.static.fingerprints import Fingerprints
from clusterapp.web.static.media_types import content_type
from clusterapp.web.static.representations import NO_SNIFFING, Representation
from clusterapp.web.static.safe_open import Folder, Opened

#: The Cache-Control of a name with the right fingerprint: a year, no revalidation.
IMMUTABLE: Final = b"max-age=31536000, immutable"

#: The size above which a file is not read into memory, but sent from the disk.
_MOST_IN_MEMORY: Final = 256 * 1024
#: A file larger than the cache divided by this is sent from the disk, too.
_PART_OF_CACHE: Final = 8


class FolderSource:
    """
    The source of files that this process sends.

    A precompressed sibling (``app.css.br``) is sent in place of a file only if it is
    not older, so that a sibling from before the last edit is not sent.

    :param folder: the folder.
    :param fingerprints: the fingerprints of its files.
    :param cache_bytes: the size of the cache.
    """

    def __init__(
        self, folder: Folder, fingerprints: Fingerprints, cache_bytes: int
    ) -> None:
        self._folder = folder
        self._fingerprints = fingerprints
        self._most_in_memory = min(_MOST_IN_MEMORY, cache_bytes // _PART_OF_CACHE)

    def look(self, below: bytes) -> Seen:
        """Return the identities of a file and of its sibling in each content coding."""
        itself = self._folder.identity(below)
        if itself is None:
            return [None]
        siblings = (below + suffix for suffix in SUFFIXES.values())
        return [itself, *map(self._folder.identity, siblings)]

    def make(self, key: CacheKey, seen: Seen) -> CachedFile | None:
        """Open a file and its siblings, and return the entry with their responses."""
        opened = None if seen[0] is None else self._folder.open(key.below)
        if opened is None:
            return None
        choices = self._represent(key, opened, dict(self._siblings(key, opened, seen)))
        return CachedFile(
            key,
            seen,
            plain=choices[b""].whole,
            choices=choices,
            fingerprint=_if_immutable(key, opened, self._fingerprints),
        )

    def _siblings(
        self, key: CacheKey, opened: Opened, seen: Seen
    ) -> Iterator[tuple[bytes, Opened]]:
        for identity, (coding, suffix) in zip(seen[1:], SUFFIXES.items(), strict=True):
            if identity is None:
                continue
            try:
                sibling = self._folder.open(key.below + suffix)
            except PermissionError:
                continue  # an unreadable sibling is skipped: the file can be sent
            if sibling is not None and sibling.is_no_older_than(opened):
                yield coding, sibling

    def _represent(
        self, key: CacheKey, plain: Opened, siblings: dict[bytes, Opened]
    ) -> dict[bytes, Representation]:
        caching = [(b"Cache-Control", key.cache_control)]
        if siblings:
            caching.append((b"Vary", b"Accept-Encoding"))
        return {
            coding: Representation(
                opened,
                in_memory=opened.size <= self._most_in_memory,
                coding=coding,
                kind=_kind(key),
                caching=caching,
            )
            for coding, opened in {b"": plain, **siblings}.items()
        }


class SendfileSource:
    """
    The source of files that a server in front sends, by a response field.

    That server handles conditions, ranges and content codings; access and
    Cache-Control are decided here.

    :param folder: the folder.
    :param fingerprints: the fingerprints of its files.
    :param header: the field's name, and for nginx the prefix of the internal location
        of the folder: ``X-Accel-Redirect=/internal/``. Without a prefix, as with
        ``X-Sendfile``, the value is the path of the file on this machine.
    """

    def __init__(self, folder: Folder, fingerprints: Fingerprints, header: str) -> None:
        self._folder = folder
        self._fingerprints = fingerprints
        name, _, prefix = header.partition("=")
        self._name = name.encode()
        self._prefix = prefix.encode()

    def look(self, below: bytes) -> Seen:
        """Return the identity of a file."""
        return [self._folder.identity(below)]

    def make(self, key: CacheKey, seen: Seen) -> CachedFile | None:
        """Open a file, to check that it can be sent, and return the entry naming it."""
        opened = None if seen[0] is None else self._folder.open(key.below)
        if opened is None:
            return None
        return CachedFile(
            key,
            seen,
            plain=Prepared(HTTPStatus.OK, self._fields(key)),
            choices=MappingProxyType({}),
            fingerprint=_if_immutable(key, opened, self._fingerprints),
        )

    def _fields(self, key: CacheKey) -> Fields:
        path = (
            self._prefix + key.below if self._prefix else self._folder.path(key.below)
        )
        return [
            (b"Content-Type", _kind(key)),
            (b"Cache-Control", key.cache_control),
            NO_SNIFFING,
            # All of these servers percent-decode the value.
            (self._name, quote_from_bytes(path).encode()),
        ]


def _kind(key: CacheKey) -> bytes:
    return content_type(os.fsdecode(key.below))


def _if_immutable(
    key: CacheKey, opened: Opened, fingerprints: Fingerprints
) -> str | None:
    """Return the fingerprint if it is needed: that of a large file takes time."""
    return fingerprints.of(opened) if key.cache_control == IMMUTABLE else None
