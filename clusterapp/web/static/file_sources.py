"""How a file becomes what is kept of it: sent from here, or by a server in front."""

import os
from collections.abc import Iterator
from http import HTTPStatus
from types import MappingProxyType
from typing import Final
from urllib.parse import quote_from_bytes

from clusterapp.http.server.prepared_response import Prepared
from clusterapp.interfaces import Fields
from clusterapp.web.static.accept_encoding import SUFFIXES
from clusterapp.web.static.cached_file import CachedFile, Key, Seen
from clusterapp.web.static.fingerprints import Fingerprints
from clusterapp.web.static.media_types import content_type
from clusterapp.web.static.representations import NO_SNIFFING, Representation
from clusterapp.web.static.safe_open import Folder, Opened

#: For a name with a fingerprint that fits: a year, and never asked for again.
IMMUTABLE: Final = b"max-age=31536000, immutable"

#: A larger file is not read into memory, but sent from the disk.
_MOST_IN_MEMORY: Final = 256 * 1024
#: Nor is one that takes more than this part of the cache.
_PART_OF_CACHE: Final = 8


class FromHere:
    """
    Files that this process sends.

    A sibling (``app.css.br``) is sent in a file's place only if it is no older, so
    that what was compressed before the last edit is not.

    :param folder: the folder.
    :param fingerprints: those of its files.
    :param cache_bytes: what the cache may take.
    """

    def __init__(
        self, folder: Folder, fingerprints: Fingerprints, cache_bytes: int
    ) -> None:
        self._folder = folder
        self._fingerprints = fingerprints
        self._most_in_memory = min(_MOST_IN_MEMORY, cache_bytes // _PART_OF_CACHE)

    def look(self, below: bytes) -> Seen:
        """See what a file is now, and its sibling in each encoding."""
        itself = self._folder.identity(below)
        if itself is None:
            return [None]
        siblings = (below + suffix for suffix in SUFFIXES.values())
        return [itself, *map(self._folder.identity, siblings)]

    def make(self, key: Key, seen: Seen) -> CachedFile | None:
        """Open a file and its siblings, and prepare all of their answers."""
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
        self, key: Key, opened: Opened, seen: Seen
    ) -> Iterator[tuple[bytes, Opened]]:
        for identity, (coding, suffix) in zip(seen[1:], SUFFIXES.items(), strict=True):
            if identity is None:
                continue
            try:
                sibling = self._folder.open(key.below + suffix)
            except PermissionError:
                continue  # the file itself may be read
            if sibling is not None and sibling.is_no_older_than(opened):
                yield coding, sibling

    def _represent(
        self, key: Key, plain: Opened, siblings: dict[bytes, Opened]
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


class FromFront:
    """
    Files that a server in front sends, told by a field of ours.

    Conditions, ranges and encodings are that server's; who may have what, and for
    how long, is ours.

    :param folder: the folder.
    :param fingerprints: those of its files.
    :param header: the field's name, and for nginx the prefix of the internal
        location that stands for the folder: ``X-Accel-Redirect=/internal/``.
        ``X-Sendfile`` alone is followed by the path of the file on this machine.
    """

    def __init__(self, folder: Folder, fingerprints: Fingerprints, header: str) -> None:
        self._folder = folder
        self._fingerprints = fingerprints
        name, _, prefix = header.partition("=")
        self._name = name.encode()
        self._prefix = prefix.encode()

    def look(self, below: bytes) -> Seen:
        """See what a file is now."""
        return [self._folder.identity(below)]

    def make(self, key: Key, seen: Seen) -> CachedFile | None:
        """Open a file, to be sure that it may be sent, and name it."""
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

    def _fields(self, key: Key) -> Fields:
        path = (
            self._prefix + key.below if self._prefix else self._folder.path(key.below)
        )
        return [
            (b"Content-Type", _kind(key)),
            (b"Cache-Control", key.cache_control),
            NO_SNIFFING,
            # All of these servers decode it.
            (self._name, quote_from_bytes(path).encode()),
        ]


def _kind(key: Key) -> bytes:
    return content_type(os.fsdecode(key.below))


def _if_immutable(key: Key, opened: Opened, fingerprints: Fingerprints) -> str | None:
    """Give the fingerprint where it is needed: that of a large file takes time."""
    return fingerprints.of(opened) if key.cache_control == IMMUTABLE else None
