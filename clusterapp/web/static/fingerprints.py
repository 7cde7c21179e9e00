"""Fingerprints in file names, by content: ``app.3f2a9c1b22d4.css``."""

import os
import re
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple, TypeVar
from urllib.parse import quote

from clusterapp.web.request_paths import is_shown
from clusterapp.web.static.safe_open import Folder, Identity, Opened

#: The seconds for which a file is assumed unchanged: short enough that a person sees an
#: edit at once, and under load most requests need no look at the disk.
FRESH_SECONDS: Final = 1.0

_LENGTH: Final = 12
_FINGERPRINT = re.compile(r"\.[0-9a-f]{12}")
_MARK = re.compile(rb"[0-9a-f]{12}")
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_PIECE: Final = 256 * 1024
#: The most cached names and files; an entry takes less than 1 KiB.
_MOST_REMEMBERED: Final = 1024


def digest(content: bytes) -> str:
    """Return 32 hexadecimal digits that identify a content."""
    return blake2b(content, digest_size=16).hexdigest()


def fingerprint(digest: str) -> str:
    """Return the fingerprint of a digest: its first 12 digits."""
    return digest[:_LENGTH]


def with_fingerprint(name: str, mark: str) -> str:
    """Return a name with a fingerprint, in front of the extension if it has one."""
    folder, slash, last = name.rpartition("/")
    stem, dot, extension = last.rpartition(".")
    if not stem or _FINGERPRINT.fullmatch(dot + extension):
        return f"{name}.{mark}"
    return f"{folder}{slash}{stem}.{mark}{dot}{extension}"


def without_fingerprint(name: bytes) -> tuple[bytes, str] | None:
    """Return the plain name and the fingerprint of a name; None if it has none."""
    folder, slash, last = name.rpartition(b"/")
    stem, dot, end = last.rpartition(b".")
    if stem and _MARK.fullmatch(end):
        return folder + slash + stem, end.decode()
    # Otherwise the fingerprint may be in front of the extension.
    stem, _, mark = stem.rpartition(b".")
    if stem and _MARK.fullmatch(mark):
        return folder + slash + stem + dot + end, mark.decode()
    return None


class _Known(NamedTuple):
    """The URL of a file at the last look at the disk."""

    url: str
    identity: Identity
    fresh_until: float


class Fingerprints:
    """
    The fingerprints of the files of one folder.

    :param folder: the folder.
    :param static_url: the URL prefix of its files.
    :param now: returns the time in seconds, from any beginning.
    """

    def __init__(
        self,
        folder: Path,
        static_url: str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = folder
        self._folder = Folder(folder)
        self._prefix = quote(static_url)
        self._now = now
        self._known: dict[str, _Known] = {}
        self._digests: dict[Identity, str] = {}

    def url(self, name: str) -> str:
        """
        Return the URL of a file, which changes with the file's content.

        :param name: the file's path below the folder, such as ``"css/app.css"``.
        :raises FileNotFoundError: the folder has no such file.
        """
        known = self._known.get(name)
        if known is not None and self._now() < known.fresh_until:
            return known.url
        return self._look_up(name, known)

    def _look_up(self, name: str, known: _Known | None) -> str:
        below = os.fsencode(name)
        now_there = self._folder.identity(below) if _may_be_served(below) else None
        if known is None or known.identity != now_there:
            opened = None if now_there is None else self._folder.open(below)
            if opened is None:
                raise FileNotFoundError(
                    f"static_url({name!r}): no such file is served from {self._place}"
                )
            marked = os.fsencode(with_fingerprint(name, self.of(opened)))
            known = _Known(self._prefix + quote(marked), opened.identity, 0.0)
        known = known._replace(fresh_until=self._now() + FRESH_SECONDS)
        _remember(self._known, name, known)
        return known.url

    def of(self, opened: Opened) -> str:
        """Return the fingerprint of a file, which is read only if not cached."""
        known = self._digests.get(opened.identity)
        if known is None:
            known = fingerprint(_digest_of(opened))
            _remember(self._digests, opened.identity, known)
        return known


def _may_be_served(below: bytes) -> bool:
    return all(map(is_shown, below.split(b"/")))


def _digest_of(opened: Opened) -> str:
    """Return the `digest` of a file, read piecewise: the file may be large."""
    whole = blake2b(digest_size=16)
    have = 0
    while piece := opened.read(have, _PIECE):
        whole.update(piece)
        have += len(piece)
    return whole.hexdigest()


def _remember(known: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Add a value as the newest, and evict the oldest if there are too many."""
    known.pop(key, None)
    known[key] = value
    if len(known) > _MOST_REMEMBERED:
        del known[next(iter(known))]
