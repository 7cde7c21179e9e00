"""The output of log lines: a file, a pipe, a terminal or a socket."""

import errno
import os
import socket
import stat
from collections.abc import Callable
from select import PIPE_BUF

from clusterapp.system.descriptors import adopt_shared

#: The most bytes that are written to a file in one write.
MOST_BYTES = 65_536
#: The mode of a new file, before the umask: it must not be readable by everyone.
MODE = 0o640

_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_path(path: str) -> int:
    """
    Open a file for appending; create it if it does not exist. A FIFO needs a reader.

    :return: a descriptor that child processes do not inherit.
    :raise OSError: if it cannot be opened.
    """
    return os.open(path, _APPENDING | os.O_CREAT, MODE)


def open_again(descriptor: int) -> int:
    """
    Reopen a descriptor that another program has opened, such as its stdout.

    Writing to the result never blocks, and the flags of the original descriptor are not
    changed.

    :return: a descriptor that child processes do not inherit.
    :raise OSError: if there is no such descriptor.
    """
    # Processes that share a regular file must share its offset.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        try:
            return os.open(f"/proc/self/fd/{descriptor}", _APPENDING)
        except OSError:
            pass  # a socket, or a file that only another user may open
    return os.dup(descriptor)


class LineOutput:
    """
    An output to which several processes append whole lines.

    The kernel does not mix the bytes of single writes: to a local file opened for
    appending whatever their length, to a pipe or a socket up to `PIPE_BUF` bytes.
    """

    def __init__(self, descriptor: int) -> None:
        """
        Take ownership of a descriptor.

        :param descriptor: an open descriptor, which this object closes.
        """
        mode = os.fstat(descriptor).st_mode
        self._descriptor = descriptor
        self._is_file = stat.S_ISREG(mode)
        self._socket = adopt_shared(descriptor) if stat.S_ISSOCK(mode) else None

    @property
    def longest_line(self) -> int:
        """The most bytes of a line that is written atomically."""
        return MOST_BYTES if self._is_file else PIPE_BUF

    def write(self, lines: list[bytes]) -> None:
        """
        Write lines, and remove the written ones from the list.

        :raise BlockingIOError: if no more can be written now.
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
        """Handle a short write, which usually ends within a line."""
        while len(lines[0]) <= sent:
            sent -= len(lines.pop(0))
        if not self._is_file:
            lines[0] = lines[0][sent:]
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        # The file system is full, so usually no other process has appended since, and
        # the partial line is the end of the file.
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if end == os.fstat(self._descriptor).st_size:
            os.ftruncate(self._descriptor, end - sent)
            os.lseek(self._descriptor, end - sent, os.SEEK_SET)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _fitting(lines: list[bytes], most: int) -> int:
    """Return the number of lines, at least one, that fit into one write."""
    size = 0
    for count, line in enumerate(lines):
        size += len(line)
        if size > most and count:
            return count
    return len(lines)


#: Opens an output; called at the start and to reopen it.
Opening = Callable[[], LineOutput]
