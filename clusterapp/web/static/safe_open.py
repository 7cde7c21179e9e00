"""Opening of regular files below one folder, without a way out of it."""

import errno
import os
from pathlib import Path
from stat import S_ISREG
from typing import Final, NamedTuple

from clusterapp.http.server.prepared_response import OpenFile

#: The errors that mean that there is no such file. ENAMETOOLONG: such a name cannot
#: exist. EACCES: a folder without search permission does not reveal whether it exists.
_NOT_THERE: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES}
)
_MOST_READ: Final = 1024 * 1024


class Identity(NamedTuple):
    """The metadata by which a written or replaced file is noticed."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class Opened:
    """
    An open regular file.

    :param file: the open file.
    :param identity: the file's identity when it was opened.
    """

    __slots__ = ("file", "identity")

    def __init__(self, file: OpenFile, identity: Identity) -> None:
        self.file = file
        self.identity = identity

    @property
    def size(self) -> int:
        """The size in bytes when the file was opened."""
        return self.identity.size

    @property
    def modified(self) -> int:
        """The modification time, in whole seconds since the epoch."""
        return max(0, self.identity.modified_ns // 1_000_000_000)

    def is_no_older_than(self, other: "Opened") -> bool:
        """Return whether this file was modified when another one was, or later."""
        return self.identity.modified_ns >= other.identity.modified_ns

    def read(self, offset: int, most: int) -> bytes:
        """Return up to `most` bytes from an offset; none at the end of the file."""
        return os.pread(self.file.fd, min(most, _MOST_READ), offset)

    def content(self) -> bytes:
        """Return the content, up to the size when the file was opened."""
        pieces: list[bytes] = []
        have = 0
        while piece := self.read(have, self.size - have):
            pieces.append(piece)
            have += len(piece)
        return b"".join(pieces)


class Folder:
    """
    The regular files below a folder.

    The check is of the opened file, not of its name a moment earlier: the name is first
    opened with `O_PATH`, which neither reads nor blocks nor wakes a device; then the
    type and the path of that descriptor are checked; and only then the same file is
    opened for reading, through the descriptor and not by its name. So a folder that is
    replaced with a symbolic link in between cannot lead outside. (openat2 with
    RESOLVE_BENEATH would do nearly the same in one step, but Python has no call for it,
    and it refuses absolute links to files that are inside.)

    :param path: the folder; symbolic links in its own path are resolved once, now.
    """

    def __init__(self, path: Path) -> None:
        self._root = os.fsencode(os.path.realpath(path))

    def path(self, below: bytes) -> bytes:
        """Return the path of a file, from its path below the folder."""
        return b"%b/%b" % (self._root.rstrip(b"/"), below)

    def open(self, below: bytes) -> Opened | None:
        """
        Open a file for reading.

        :param below: the file's path below the folder, without ``..``.
        :returns: None if there is no regular file, or it is not below the folder.
        :raises PermissionError: the file exists but may not be read.
        :raises OSError: a system call failed, such as without free descriptors.
        """
        try:
            place = os.open(self.path(below), os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise
        try:
            return self._open_place(place)
        finally:
            os.close(place)

    def _open_place(self, place: int) -> Opened | None:
        facts = os.fstat(place)
        link = b"/proc/self/fd/%d" % place
        found = os.readlink(link)  # noqa: PTH115 - a name need not be text
        if not S_ISREG(facts.st_mode) or not found.startswith(self.path(b"")):
            return None
        # An OpenFile closes the descriptor; until it is made, nothing else would.
        file = OpenFile(os.open(link, os.O_RDONLY | os.O_CLOEXEC))
        return Opened(file, _identity(facts))

    def identity(self, below: bytes) -> Identity | None:
        """
        Return the current identity of a file; None if it does not exist.

        The file may be outside the folder, so the result must only be compared with
        the identity of a file that was opened.

        :raises OSError: the system call failed.
        """
        try:
            return _identity(os.stat(self.path(below)))  # noqa: PTH116 - likewise
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise


def _identity(facts: os.stat_result) -> Identity:
    return Identity(
        facts.st_dev,
        facts.st_ino,
        facts.st_size,
        facts.st_mtime_ns,
        facts.st_ctime_ns,
    )
