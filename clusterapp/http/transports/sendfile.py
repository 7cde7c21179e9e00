"""Sending of files and their heads with sendfile(2), bypassing the transport."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

from clusterapp.guards import guarded
from clusterapp.system.descriptors import copy_socket

#: How many bytes of a file are read at once, where sendfile(2) cannot be used.
_PIECE = 128 * 1024


def write_part_of_file(
    write: Callable[[bytes], object], fd: int, offset: int, length: int
) -> int:
    """
    Read a part of a file and write it, where sendfile(2) cannot be used.

    :param write: writes bytes to the client.
    :param fd: the file descriptor of the file.
    :param offset: the offset of the part, in bytes.
    :param length: the length of the part, in bytes.
    :return: how many bytes were written, 0 at the end of the file.
    :raises OSError: if the file cannot be read.
    """
    piece = os.pread(fd, min(length, _PIECE), offset)
    if piece:
        write(piece)
    return len(piece)


class KernelWrites:
    """
    Direct writes to the socket of a transport whose write buffer is empty.

    uvloop does not watch a file descriptor that one of its transports uses, so this
    uses a duplicate of the socket (dup(2)).

    :param loop: the event loop.
    :param original: the transport's socket.
    :param writable: called when the socket is writable again, after `send_file` could
        not send anything.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        original: Any,
        writable: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._writable = writable
        self._socket = copy_socket(original)

    def send_before_file(self, data: bytes) -> int:
        """
        Send bytes that the kernel may put into one segment with the file data.

        :return: the number of bytes sent.
        :raises OSError: if the client has disconnected.
        """
        try:
            return self._socket.send(data, socket.MSG_MORE)
        except BlockingIOError:
            return 0

    def send_file(self, fd: int, offset: int, length: int) -> int | None:
        """
        Send a part of a file (sendfile(2)).

        :param fd: the file descriptor of the file.
        :param offset: the offset of the part, in bytes.
        :param length: the length of the part, in bytes.
        :return: the number of bytes sent, 0 at the end of the file; None if it must
            wait until `writable` is called.
        :raises OSError: if the file cannot be read, or the client has disconnected.
        """
        try:
            return os.sendfile(self._socket.fileno(), fd, offset, length)
        except BlockingIOError:
            self._loop.add_writer(self._socket.fileno(), self._take_turn)
            return None

    def close(self) -> None:
        """Close the duplicate of the socket."""
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()

    @guarded("send a file")
    def _take_turn(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        self._writable()
