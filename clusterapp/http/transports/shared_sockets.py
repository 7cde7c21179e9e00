"""Duplicates of sockets, which other processes may have as well."""

import socket
from contextlib import suppress
from typing import Any

from clusterapp.descriptors import adopt_socket, copy_socket


def duplicate_of(original: Any) -> socket.socket | None:
    """Duplicate a socket; None if this process has as many files as it may."""
    try:
        return copy_socket(original)
    except OSError:
        return None


def shut_down(there: Any) -> None:
    """
    End a connection for every process that has a duplicate of its socket.

    :param there: the socket, as a transport tells it; None if it has none any more.
    """
    if there is None or there.fileno() == -1:
        return
    # It is not the transport's own object, and asyncio's lets nobody shut it down.
    duplicate = duplicate_of(there)
    if duplicate is not None:
        with duplicate, suppress(OSError):  # the client is gone
            duplicate.shutdown(socket.SHUT_RDWR)


def end_input(there: Any) -> None:
    """
    Have the transport of a socket read the end of its input next.

    :param there: the socket, as a transport tells it; None if it has none any more.
    """
    if there is None or there.fileno() == -1:
        return
    # Not a duplicate, for which there may be no descriptor left.
    borrowed = adopt_socket(there.fileno())
    try:
        with suppress(OSError):  # the client is gone
            borrowed.shutdown(socket.SHUT_RD)
    finally:
        borrowed.detach()
