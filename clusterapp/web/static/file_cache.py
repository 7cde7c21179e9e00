"""
The files that a worker keeps: bounded in every way, and looked at once a second.

A file is another when its device, inode, size or one of its times is, or that of a
sibling. Since those times have the grain of the kernel's clock, a file can be
written twice within one and look the same. So every file is made a second time when
it is first looked at again, and only then is what it looks like trusted.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from clusterapp.web.static.cached_file import CachedFile, Key, Source
from clusterapp.web.static.fingerprints import FRESH_SECONDS

#: The files that are kept open. A process may often have 1024 of them, which it
#: needs for connections.
MOST_OPEN: Final = 128

#: Paths that lead to a file at once, as clients write them, and the bytes above which
#: one never does. They bound the memory to about 1 MiB, whatever clients send.
MOST_PATHS: Final = 4096
_LONGEST_PATH: Final = 128


class Cache:
    """
    The files that are kept, the one that was looked at longest ago first.

    A file that is asked for is looked at once a second, so this is about the order
    in which they were asked for, and no request has to note it.

    :param source: where files come from.
    :param most_bytes: what all together may take. The latest is always kept.
    :param now: tells the time in seconds, from any beginning.
    """

    def __init__(
        self, source: Source, most_bytes: int, now: Callable[[], float]
    ) -> None:
        self._source = source
        self._most_bytes = most_bytes
        self._now = now
        self._kept: dict[Key, CachedFile] = {}
        # The first of a plain dictionary is behind all that were taken out of it.
        #: The files by the paths that lead to them.
        self.paths: OrderedDict[bytes, CachedFile] = OrderedDict()
        #: The bytes that are taken.
        self.cost = 0
        #: The files that are kept open.
        self.descriptors = 0

    def current(self, key: Key, *, at_once: bool = False) -> CachedFile | None:
        """
        Give a file as it is, or was within the last second; None if there is none.

        :param at_once: look at the disk whatever was seen within the last second.
        :raises PermissionError: it may not be read.
        :raises OSError: the system cannot tell.
        """
        kept = self._kept.get(key)
        if kept is not None and not at_once and self._now() < kept.fresh_until:
            return kept
        seen = self._source.look(key.below)
        is_same = kept is not None and kept.seen == seen
        if kept is not None and is_same and (kept.verified or at_once):
            self._note(kept)
            return kept
        if kept is not None:
            self._drop(kept)
        made = self._source.make(key, seen)
        if made is not None:
            made.verified = is_same
            self._keep(made)
        return made

    def remember(self, path: bytes, kept: CachedFile) -> None:
        """Let a path, as a client has written it, lead to a file, unless it is long."""
        if len(path) > _LONGEST_PATH:
            return
        self._forget(path)
        if len(self.paths) >= MOST_PATHS:
            self._forget(next(iter(self.paths)))
        self.paths[path] = kept
        kept.paths.add(path)

    def _keep(self, kept: CachedFile) -> None:
        """Put in a file, and leave the oldest out if need be."""
        self.cost += kept.cost
        self.descriptors += kept.descriptors
        self._note(kept)
        while len(self._kept) > 1 and self._is_too_much():
            self._drop(next(iter(self._kept.values())))

    def _is_too_much(self) -> bool:
        return self.cost > self._most_bytes or self.descriptors > MOST_OPEN

    def _note(self, kept: CachedFile) -> None:
        """Note that a file was looked at, and is as it is kept."""
        self._kept.pop(kept.key, None)
        self._kept[kept.key] = kept
        kept.fresh_until = self._now() + FRESH_SECONDS

    def _drop(self, kept: CachedFile) -> None:
        """Leave a file out, with the paths that lead to it."""
        del self._kept[kept.key]
        self.cost -= kept.cost
        self.descriptors -= kept.descriptors
        for path in kept.paths:
            del self.paths[path]
        kept.paths.clear()

    def _forget(self, path: bytes) -> None:
        kept = self.paths.pop(path, None)
        if kept is not None:
            kept.paths.discard(path)
