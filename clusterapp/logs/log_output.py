"""Where lines go: a file, a pipe, a terminal or a socket, and how each is written."""

import errno
import os
import socket
import stat
from collections.abc import Callable
from select import PIPE_BUF

from clusterapp.descriptors import adopt_shared

#: The most bytes that go into a file in one write.
MOST_BYTES = 65_536
#: What a new file may be used for, before the umask: its lines are not everyone's.
MODE = 0o640

_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_path(path: str) -> int:
    """
    Open a file for appending, and make it if it is not there; a FIFO needs a reader.

    :return: a descriptor that child processes do not inherit.
    :raise OSError: if that cannot be done.
    """
    return os.open(path, _APPENDING | os.O_CREAT, MODE)


def open_again(descriptor: int) -> int:
    """
    Open once more what another program has opened, such as its stdout.

    The result can be written without ever waiting, and the other program's own
    descriptor is left as it is.

    :return: a descriptor that child processes do not inherit.
    :raise OSError: if there is no such descriptor.
    """
    # Who shares a file must share the place in it where the next byte goes.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        try:
            return os.open(f"/proc/self/fd/{descriptor}", _APPENDING)
        except OSError:
            pass  # a socket, or what only another user may open
    return os.dup(descriptor)


class Output:
    """
    Something that lines are appended to, whole, while others append to it as well.

    The kernel does not mix what single writes bring: to a local file opened for
    appending whatever their length, to a pipe or a socket up to `PIPE_BUF` bytes.
    """

    def __init__(self, descriptor: int) -> None:
        """
        Take over a descriptor.

        :param descriptor: an open one; it is this object's to close.
        """
        mode = os.fstat(descriptor).st_mode
        self._descriptor = descriptor
        self._is_file = stat.S_ISREG(mode)
        self._socket = adopt_shared(descriptor) if stat.S_ISSOCK(mode) else None

    @property
    def longest_line(self) -> int:
        """The most bytes that a line may have so that it stays whole."""
        return MOST_BYTES if self._is_file else PIPE_BUF

    def write(self, lines: list[bytes]) -> None:
        """
        Write lines, and take those that are written out of the list.

        :raise BlockingIOError: if no more can be taken now.
        :raise OSError: if the rest cannot be written.
        """
        while lines:
            count = _fitting(lines, self.longest_line)
            batch = b"".join(lines[:count])
            sent = self._send(batch)
            if sent < len(batch):
                self._was_short(lines, sent)
            del lines[:count]

    def close(self) -> None:
        """Close the descriptor."""
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self._descriptor)

    def _send(self, batch: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(batch, socket.MSG_DONTWAIT)
        return os.write(self._descriptor, batch)

    def _was_short(self, lines: list[bytes], sent: int) -> None:
        """Put up with a write that has ended early, as a rule within a line."""
        while len(lines[0]) <= sent:
            sent -= len(lines.pop(0))
        if not self._is_file:
            lines[0] = lines[0][sent:]
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        # The file system is full, so as a rule nobody has appended anything since, and
        # the piece of a line is the end of the file.
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if end == os.fstat(self._descriptor).st_size:
            os.ftruncate(self._descriptor, end - sent)
            os.lseek(self._descriptor, end - sent, os.SEEK_SET)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _fitting(lines: list[bytes], most: int) -> int:
    """Count the lines, at least one, that go into one write."""
    size = 0
    for count, line in enumerate(lines):
        size += len(line)
        if size > most and count:
            return count
    return len(lines)


#: Opens an output, for the first time or anew.
Opening = Callable[[], Output]
