"""One folder of files, and nothing outside it."""

import errno
import os
from pathlib import Path
from stat import S_ISREG
from typing import Final, NamedTuple

from clusterapp.http.server.prepared_response import OpenFile

#: What it means that there is no such file; a name may be too long to ask for, and
#: a folder that may not be searched hides whether there is one.
_NOT_THERE: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES}
)
_MOST_READ: Final = 1024 * 1024


class Identity(NamedTuple):
    """What is never the same again after a file was written or replaced."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class Opened:
    """
    A regular file that is open.

    :param file: the file.
    :param identity: what it was when it was opened.
    """

    __slots__ = ("file", "identity")

    def __init__(self, file: OpenFile, identity: Identity) -> None:
        self.file = file
        self.identity = identity

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.identity.size

    @property
    def modified(self) -> int:
        """When it was written, in whole seconds since the epoch."""
        return max(0, self.identity.modified_ns // 1_000_000_000)

    def is_no_older_than(self, other: "Opened") -> bool:
        """Whether it was written when the other was, or later."""
        return self.identity.modified_ns >= other.identity.modified_ns

    def read(self, offset: int, most: int) -> bytes:
        """Read some bytes; fewer if the file ends, none at its end."""
        return os.pread(self.file.fd, min(most, _MOST_READ), offset)

    def content(self) -> bytes:
        """Read all of it, up to the size that it had when it was opened."""
        pieces: list[bytes] = []
        have = 0
        while piece := self.read(have, self.size - have):
            pieces.append(piece)
            have += len(piece)
        return b"".join(pieces)


class Folder:
    """
    The regular files below a folder.

    What is opened is judged by where the kernel found it, and not by what its name
    led to a moment earlier: first it is opened as a mere place (`O_PATH`), which
    neither reads nor waits nor wakes a device, then that place is asked what and
    where it is, and only then is the same place, no longer the name, opened for
    reading. So no exchange of a folder for a symbolic link, however well timed, leads
    out. (openat2 with RESOLVE_BENEATH would do the like in one step, but Python has
    no call for it, and it refuses absolute links to files that are inside.)

    :param path: the folder; its own links are followed once, now.
    """

    def __init__(self, path: Path) -> None:
        self._root = os.fsencode(os.path.realpath(path))

    def path(self, below: bytes) -> bytes:
        """Give the path of a file, by its path below the folder."""
        return b"%b/%b" % (self._root.rstrip(b"/"), below)

    def open(self, below: bytes) -> Opened | None:
        """
        Open a file.

        :param below: its path below the folder, without ``..``.
        :returns: None if no regular file is there, or it is not below the folder.
        :raises PermissionError: it is there, but may not be read.
        :raises OSError: the system cannot tell, such as without free descriptors.
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
        # Until it is here, nobody but this frame would close it.
        file = OpenFile(os.open(link, os.O_RDONLY | os.O_CLOEXEC))
        return Opened(file, _identity(facts))

    def identity(self, below: bytes) -> Identity | None:
        """
        Ask what a file is now; None if nothing is there.

        What it answers may be outside the folder, so it is only to be compared with
        the identity of a file that was opened.

        :raises OSError: the system cannot tell.
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
