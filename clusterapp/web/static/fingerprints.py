"""Names of files that change with their content: ``app.3f2a9c1b22d4.css``."""

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

#: How long a file is taken to be as it was, in seconds: an edit shows to a person at
#: once, and load costs no look at the disk.
FRESH_SECONDS: Final = 1.0

_LENGTH: Final = 12
_FINGERPRINT = re.compile(r"\.[0-9a-f]{12}")
_MARK = re.compile(rb"[0-9a-f]{12}")
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

_PIECE: Final = 256 * 1024
#: Names and files that are remembered; an entry takes less than 1 KiB.
_MOST_REMEMBERED: Final = 1024


def digest(content: bytes) -> str:
    """Give 32 hexadecimal digits that no other content has."""
    return blake2b(content, digest_size=16).hexdigest()


def fingerprint(digest: str) -> str:
    """Give what stands for a digest in a name."""
    return digest[:_LENGTH]


def with_fingerprint(name: str, mark: str) -> str:
    """Put a fingerprint into a name, in front of the extension if it has one."""
    folder, slash, last = name.rpartition("/")
    stem, dot, extension = last.rpartition(".")
    if not stem or _FINGERPRINT.fullmatch(dot + extension):
        return f"{name}.{mark}"
    return f"{folder}{slash}{stem}.{mark}{dot}{extension}"


def without_fingerprint(name: bytes) -> tuple[bytes, str] | None:
    """Give the plain name and the fingerprint of a name that may have one."""
    folder, slash, last = name.rpartition(b"/")
    stem, dot, end = last.rpartition(b".")
    if stem and _MARK.fullmatch(end):
        return folder + slash + stem, end.decode()
    # Else it stands in front of the extension.
    stem, _, mark = stem.rpartition(b".")
    if stem and _MARK.fullmatch(mark):
        return folder + slash + stem + dot + end, mark.decode()
    return None


class _Known(NamedTuple):
    """The URL that a file had when it was last looked at."""

    url: str
    identity: Identity
    fresh_until: float


class Fingerprints:
    """
    The fingerprints of the files of one folder.

    :param folder: the folder.
    :param static_url: what the paths of its files begin with.
    :param now: tells the time in seconds, from any beginning.
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
        Give the URL of a file, which changes with its content.

        :param name: its path below the folder, such as ``"css/app.css"``.
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
        """Give the fingerprint of a file; it is read only if it is not known."""
        known = self._digests.get(opened.identity)
        if known is None:
            known = fingerprint(_digest_of(opened))
            _remember(self._digests, opened.identity, known)
        return known


def _may_be_served(below: bytes) -> bool:
    return all(map(is_shown, below.split(b"/")))


def _digest_of(opened: Opened) -> str:
    """Make the same as `digest`, a piece at a time: the file may be large."""
    whole = blake2b(digest_size=16)
    have = 0
    while piece := opened.read(have, _PIECE):
        whole.update(piece)
        have += len(piece)
    return whole.hexdigest()


def _remember(known: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Put in a value as the newest, and leave the oldest out if there are many."""
    known.pop(key, None)
    known[key] = value
    if len(known) > _MOST_REMEMBERED:
        del known[next(iter(known))]
