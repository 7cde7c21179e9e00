"""
The bounded cache of static files in a worker, revalidated once a second.

A file has changed if its device, inode, size or one of its times differs, or that of a
sibling. Those times have the granularity of the kernel's clock: a file that is written
twice within one tick can look unchanged. So an entry is made a second time when it is
first revalidated, and only then its identity is trusted.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from clusterapp.web.static.cached_file import CachedFile, CacheKey, EntrySource
from clusterapp.web.static.fingerprints import FRESH_SECONDS

#: The most files kept open. The descriptor limit of a process is often 1024, and they
#: are needed for connections.
MOST_OPEN: Final = 128

#: The most request paths that are mapped to entries, and the greatest length of one in
#: bytes. They bound the memory to about 1 MiB, whatever clients send.
MOST_PATHS: Final = 4096
_LONGEST_PATH: Final = 128


class Cache:
    """
    The cache entries, in the order of their last revalidation, the oldest first.

    A requested file is revalidated once a second, so this is nearly the order of the
    last requests, and no request has to update it.

    :param source: the source of cache entries.
    :param most_bytes: the most bytes of all entries. The newest entry is always kept.
    :param now: returns the time in seconds, from any beginning.
    """

    def __init__(
        self, source: EntrySource, most_bytes: int, now: Callable[[], float]
    ) -> None:
        self._source = source
        self._most_bytes = most_bytes
        self._now = now
        self._entries: dict[CacheKey, CachedFile] = {}
        # An OrderedDict: in a plain dict, the search for the first key passes over all
        # deleted entries.
        #: The entries by request path.
        self.paths: OrderedDict[bytes, CachedFile] = OrderedDict()
        #: The bytes of all entries.
        self.cost = 0
        #: The number of file descriptors that are kept open.
        self.descriptors = 0

    def current(self, key: CacheKey, *, at_once: bool = False) -> CachedFile | None:
        """
        Return the entry of a file, at most a second old; None if there is no file.

        :param key: the key of the entry.
        :param at_once: whether the file is revalidated even within that second.
        :raises PermissionError: the file may not be read.
        :raises OSError: the system call failed.
        """
        entry = self._entries.get(key)
        if entry is not None and not at_once and self._now() < entry.fresh_until:
            return entry
        seen = self._source.look(key.below)
        is_same = entry is not None and entry.seen == seen
        if entry is not None and is_same and (entry.verified or at_once):
            self._note(entry)
            return entry
        if entry is not None:
            self._drop(entry)
        made = self._source.make(key, seen)
        if made is not None:
            made.verified = is_same
            self._keep(made)
        return made

    def remember(self, path: bytes, entry: CachedFile) -> None:
        """Map a request path, as received, to an entry, unless the path is too long."""
        if len(path) > _LONGEST_PATH:
            return
        self._forget(path)
        if len(self.paths) >= MOST_PATHS:
            self._forget(next(iter(self.paths)))
        self.paths[path] = entry
        entry.paths.add(path)

    def _keep(self, entry: CachedFile) -> None:
        """Add an entry, and evict the oldest entries while a bound is exceeded."""
        self.cost += entry.cost
        self.descriptors += entry.descriptors
        self._note(entry)
        while len(self._entries) > 1 and self._is_too_much():
            self._drop(next(iter(self._entries.values())))

    def _is_too_much(self) -> bool:
        return self.cost > self._most_bytes or self.descriptors > MOST_OPEN

    def _note(self, entry: CachedFile) -> None:
        """Mark an entry as revalidated now."""
        self._entries.pop(entry.key, None)
        self._entries[entry.key] = entry
        entry.fresh_until = self._now() + FRESH_SECONDS

    def _drop(self, entry: CachedFile) -> None:
        """Remove an entry, and the request paths that map to it."""
        del self._entries[entry.key]
        self.cost -= entry.cost
        self.descriptors -= entry.descriptors
        for path in entry.paths:
            del self.paths[path]
        entry.paths.clear()

    def _forget(self, path: bytes) -> None:
        entry = self.paths.pop(path, None)
        if entry is not None:
            entry.paths.discard(path)
