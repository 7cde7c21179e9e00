"""Files, and their heads, written to a socket beside its event loop's transport."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

from clusterapp.descriptors import copy_socket
from clusterapp.guards import guarded


class KernelWrites:
    """
    Writes to the socket of a transport that has nothing to write itself.

    uvloop watches no descriptor that one of its transports has, so this is the same
    socket under another number (dup(2)).

    :param loop: the event loop.
    :param original: the transport's socket.
    :param writable: called when the socket takes more, after `send_file` could not
        send anything.
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
        Send bytes that the kernel may put into one segment with what follows.

        :return: how many were sent.
        :raises OSError: the client has gone.
        """
        try:
            return self._socket.send(data, socket.MSG_MORE)
        except BlockingIOError:
            return 0

    def send_file(self, fd: int, offset: int, length: int) -> int | None:
        """
        Send a piece of a file (sendfile(2)).

        :return: how much of it was sent, 0 if the file has ended; None if it must
            wait until `writable` is called.
        :raises OSError: the client has gone.
        """
        try:
            return os.sendfile(self._socket.fileno(), fd, offset, length)
        except BlockingIOError:
            self._loop.add_writer(self._socket.fileno(), self._take_turn)
            return None

    def close(self) -> None:
        """Close this descriptor of the socket."""
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()

    @guarded("send a file")
    def _take_turn(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        self._writable()
