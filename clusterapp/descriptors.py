"""
Sockets made from descriptors, each explicitly blocking or not.

A socket object takes over `socket.setdefaulttimeout` when it is made, and with it
whether its descriptor blocks. Applications set that. So there is one way to make a
socket object of a descriptor, and one to make a pair of sockets.
"""

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Protocol
from weakref import WeakSet

#: Address family, socket type and protocol, as for `socket.socket`.
SocketKind = tuple[int, int, int]

#: The kind is asked of the kernel.
_UNKNOWN: SocketKind = (-1, -1, -1)

_WITH_ADDRESSES = frozenset({socket.AF_INET, socket.AF_INET6, socket.AF_UNIX})


class HasDescriptor(Protocol):
    """A socket, a transport, or an end of a pipe."""

    def fileno(self) -> int:
        """Return its descriptor; -1 if it is closed."""


#: Those that processes forked by the application must not keep open.
_owned: WeakSet[HasDescriptor] = WeakSet()


class Descriptor:
    """
    A descriptor that nothing else stands for.

    :param number: the descriptor.
    """

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        """Return it."""
        return self._number


def own(*owners: HasDescriptor) -> None:
    """
    Note what processes that the application forks off must not keep open.

    Connections of listening sockets need not be noted; see `clusterapp.forks`.

    :param owners: what has the descriptors; no reference to them is kept.
    """
    _owned.update(owners)


def owned() -> Iterator[int]:
    """Give the descriptors of what has been noted and is still open."""
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
    Make a non-blocking socket object of a descriptor.

    :param descriptor: the object's own from now on; it stays inheritable, or not.
    :param kind: what it is, if that is known: it saves asking the kernel.
    :raise OSError: if it is no socket; the descriptor stays open then.
    """
    made = socket.socket(*kind, fileno=descriptor)
    made.setblocking(False)
    return made


def adopt_inherited(descriptor: int) -> socket.socket:
    """
    Make a non-blocking socket object of a descriptor that came from another process.

    Neither programs that this process starts nor its forks inherit it; recvmsg(2), and
    an exec(2) with a list of descriptors, leave them inheritable.

    :param descriptor: the object's own from now on.
    """
    made = adopt_socket(descriptor)
    made.set_inheritable(False)
    own(made)
    return made


def adopt_shared(descriptor: int) -> socket.socket:
    """
    Make a socket object that leaves the mode of its open file description alone.

    For a socket that other processes use at the same time, such as a log's: whether
    it blocks is theirs to say (``O_NONBLOCK`` in open(2)). The object itself has no
    timeout; a call that would block does so, or fails, as the description says.

    :param descriptor: the object's own from now on.
    """
    blocks = os.get_blocking(descriptor)
    made = socket.socket(fileno=descriptor)
    if made.gettimeout() is not None:  # there is a default timeout
        made.settimeout(None)
        os.set_blocking(descriptor, blocks)
    return made


def copy_socket(original: socket.socket) -> socket.socket:
    """
    Make a non-blocking socket object of a duplicate of a socket's descriptor.

    :param original: a socket, or what looks like one, such as an event loop's
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
    """Make a pair of connected, non-blocking Unix stream sockets."""
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    own(one, other)
    return one, other


#: The port of an Internet socket, or the path of a Unix socket, which may be empty.
Place = int | str


def socket_addresses(numbers: Iterable[int]) -> Iterator[tuple[int, Place, Place]]:
    """
    Give the addresses of sockets without changing anything about them.

    Only for a process in which no other thread runs: the default timeout is put aside.

    :param numbers: descriptors, which stay the caller's.
    :return: those that are Internet or Unix sockets; each with its own address, and
        with its peer's, which is empty if there is none.
    """
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(None)
    try:
        for number in numbers:
            with suppress(OSError):  # it is no socket, or is closed by now
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
    except OSError:  # it is not connected
        return ""


def _place(address: Any) -> Place:
    if isinstance(address, tuple):
        port: int = address[1]
        return port
    return os.fsdecode(address)
