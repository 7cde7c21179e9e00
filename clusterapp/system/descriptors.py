"""
Socket objects for descriptors, each explicitly blocking or not.

A new socket object uses `socket.setdefaulttimeout`, and with it sets whether its
descriptor blocks. Applications set that. So there is one function that makes a socket
object for a descriptor, and one that makes a socket pair.
"""

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Protocol
from weakref import WeakSet

#: Address family, socket type and protocol, as for `socket.socket`.
SocketKind = tuple[int, int, int]

#: The kernel is queried for the kind.
_UNKNOWN: SocketKind = (-1, -1, -1)

_WITH_ADDRESSES = frozenset({socket.AF_INET, socket.AF_INET6, socket.AF_UNIX})


class HasDescriptor(Protocol):
    """A socket, a transport, or an end of a pipe."""

    def fileno(self) -> int:
        """Return the descriptor; -1 if it is closed."""


#: Objects whose descriptors the application's forks must not keep open.
_owned: WeakSet[HasDescriptor] = WeakSet()


class Descriptor:
    """
    A descriptor that has no other object.

    :param number: the descriptor.
    """

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._number


def own(*owners: HasDescriptor) -> None:
    """
    Register objects whose descriptors the application's forks must not keep open.

    Connections of listening sockets need not be registered; see
    `clusterapp.system.forks`.

    :param owners: the objects; only weak references to them are kept.
    """
    _owned.update(owners)


def owned() -> Iterator[int]:
    """Return the descriptors of registered objects that are still open."""
    for owner in list(_owned):
        number = _number(owner)
        if number >= 0:
            yield number


def _number(owner: HasDescriptor) -> int:
    try:
        return owner.fileno()
    except Exception:  # noqa: BLE001 - in a fork; one must not keep the others open
        return -1


def adopt_socket(descriptor: int, kind: SocketKind = _UNKNOWN) -> socket.socket:
    """
    Return a non-blocking socket object for a descriptor.

    :param descriptor: owned by the object from now on; whether it is inheritable is
        left as it is.
    :param kind: its kind, if known, which saves a query of the kernel.
    :raise OSError: if it is not a socket; the descriptor stays open then.
    """
    made = socket.socket(*kind, fileno=descriptor)
    made.setblocking(False)
    return made


def adopt_inherited(descriptor: int) -> socket.socket:
    """
    Return a non-blocking socket object for a descriptor from another process.

    Neither programs that this process starts nor its forks inherit it; recvmsg(2), and
    an exec(2) with a list of descriptors, leave descriptors inheritable.

    :param descriptor: owned by the object from now on.
    """
    made = adopt_socket(descriptor)
    made.set_inheritable(False)
    own(made)
    return made


def adopt_shared(descriptor: int) -> socket.socket:
    """
    Return a socket object, without changing the mode of its open file description.

    For a socket that other processes use at the same time, such as a log's, which
    decide whether it blocks (``O_NONBLOCK`` in open(2)). The object itself has no
    timeout; a call that would block does so, or fails, as the description determines.

    :param descriptor: owned by the object from now on.
    """
    blocks = os.get_blocking(descriptor)
    made = socket.socket(fileno=descriptor)
    if made.gettimeout() is not None:  # there is a default timeout
        made.settimeout(None)
        os.set_blocking(descriptor, blocks)
    return made


def copy_socket(original: socket.socket) -> socket.socket:
    """
    Return a non-blocking socket object for a duplicate of a socket's descriptor.

    :param original: a socket, or an object with its interface, such as an event loop's
        ``TransportSocket``.
    :raise OSError: if there is no descriptor left.
    """
    copied = os.dup(original.fileno())
    try:
        return adopt_socket(copied)
    except BaseException:
        os.close(copied)
        raise


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return a pair of connected, non-blocking Unix stream sockets."""
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    own(one, other)
    return one, other


#: The port of an Internet socket, or the path of a Unix socket, which may be empty.
Place = int | str


def socket_addresses(numbers: Iterable[int]) -> Iterator[tuple[int, Place, Place]]:
    """
    Return the addresses of sockets without changing the sockets.

    Only for a process without other threads: the default timeout is unset meanwhile.

    :param numbers: descriptors, which remain the caller's.
    :return: those that are Internet or Unix sockets; each with its local address, and
        its peer's, which is empty if there is none.
    """
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(None)
    try:
        for number in numbers:
            with suppress(OSError):  # not a socket, or closed by now
                found = socket.socket(fileno=number)
                try:
                    if found.family in _WITH_ADDRESSES:
                        yield number, _place(found.getsockname()), _peer(found)
                finally:
                    found.detach()
    finally:
        socket.setdefaulttimeout(timeout)


def _peer(found: socket.socket) -> Place:
    try:
        return _place(found.getpeername())
    except OSError:  # not connected
        return ""


def _place(address: Any) -> Place:
    if isinstance(address, tuple):
        port: int = address[1]
        return port
    return os.fsdecode(address)
