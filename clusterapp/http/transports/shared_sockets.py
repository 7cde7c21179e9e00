"""Duplicates of sockets, and shutting down sockets that other processes share."""

import fcntl
import socket
import struct
import termios
from contextlib import suppress
from typing import Any

from clusterapp.system.descriptors import adopt_socket, copy_socket


def duplicate_of(original: Any) -> socket.socket | None:
    """Return a duplicate of a socket; None if no file descriptor is available."""
    try:
        return copy_socket(original)
    except OSError:
        return None


def unacknowledged(there: Any) -> int:
    """
    Return how many bytes in the send queue the peer has not acknowledged (tcp(7)).

    :param there: the socket, as returned by the transport; None if it is closed.
    """
    if there is None or there.fileno() == -1:
        return 0
    try:
        # SIOCOUTQ has the number of TIOCOUTQ.
        queued = fcntl.ioctl(there.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:  # the connection has been lost
        return 0
    count: int = struct.unpack("i", queued)[0]
    return count


def shut_down(there: Any) -> None:
    """
    Shut a connection down for every process that has a duplicate of its socket.

    :param there: the socket, as returned by the transport; None if it is closed.
    """
    if there is None or there.fileno() == -1:
        return
    # The transport gives only a wrapper of its socket, and uvloop's wrapper does not
    # support shutdown().
    duplicate = duplicate_of(there)
    if duplicate is not None:
        with duplicate, suppress(OSError):  # the client has disconnected
            duplicate.shutdown(socket.SHUT_RDWR)


def end_input(there: Any) -> None:
    """
    Shut the read side of a socket down, so that its transport reads EOF next.

    :param there: the socket, as returned by the transport; None if it is closed.
    """
    if there is None or there.fileno() == -1:
        return
    # Not a duplicate, for which no file descriptor may be left.
    borrowed = adopt_socket(there.fileno())
    try:
        with suppress(OSError):  # the client has disconnected
            borrowed.shutdown(socket.SHUT_RD)
    finally:
        borrowed.detach()
