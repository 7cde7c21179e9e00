"""
Passing accepted connections from the master to a worker (unix(7), SCM_RIGHTS).

Each slot has a queue: a socket pair, whose receiving end is inherited by every process
of the slot. A connection that is sent and not received yet is in the kernel, like one
that waits for accept(2): if the worker dies, its successor in the slot receives it, or
the master takes it back. This needs no acknowledgements, and the master keeps no
duplicate, which would hold a connection open that its worker has closed.
"""

import array
import errno
import fcntl
import socket
import termios
from collections.abc import Callable, Sequence
from typing import NamedTuple

from clusterapp.listening.socket_watching import (
    Watching,
    WatchingReactor,
    keeps_watching,
    no_room,
)
from clusterapp.system.descriptors import adopt_socket, socket_pair

#: The most connections in one message: SCM_MAX_FD is 253.
MOST_AT_ONCE = 64

_DESCRIPTOR = array.array("i").itemsize

#: The type of all connections; only their family is asked of the kernel.
_STREAM = (-1, int(socket.SOCK_STREAM), 0)

#: The errors of sendmsg(2) for a full queue: of bytes, or of descriptors.
_FULL = {errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS}


class HandoffQueue:
    """The connections that are on their way to one slot (the master's side)."""

    def __init__(self) -> None:
        self._sending, self.receiving = socket_pair()
        #: The number of connections sent so far.
        self.sent = 0

    @property
    def waiting(self) -> int:
        """The number of queued connections: a byte for each (SIOCINQ in unix(7))."""
        count = array.array("i", [0])
        fcntl.ioctl(self.receiving, termios.FIONREAD, count)
        return count[0]

    def send(self, listeners: bytes, connections: Sequence[int]) -> bool:
        """
        Send connections; either all of them or none.

        :param listeners: the numbers of their listeners: a byte for each connection.
        :param connections: the descriptors, which remain the caller's; at most
            `MOST_AT_ONCE`.
        :return: whether the queue had room for them.
        """
        try:
            socket.send_fds(self._sending, [listeners], connections)
        except OSError as error:
            if error.errno in _FULL:
                return False
            raise
        self.sent += len(connections)
        return True

    def reclaim_fds(self) -> list[tuple[int, int]]:
        """
        Receive the connections that no worker has received: listener numbers and
        descriptors.
        """
        found: list[tuple[int, int]] = []
        while (received := receive(self.receiving)).sent:
            found += received.connections
        return found

    def close(self) -> None:
        """Close both ends; connections that were not received are lost."""
        self._sending.close()
        self.receiving.close()


class Received(NamedTuple):
    """
    The connections of one message.

    :param sent: the number that was sent; 0 if there is no message.
    :param connections: pairs of listener number and descriptor. These are fewer if the
        process had no descriptors left: the kernel closes the others.
    """

    sent: int
    connections: Sequence[tuple[int, int]]


def receive(receiving: socket.socket) -> Received:
    """
    Receive the connections of one message.

    :param receiving: the receiving end of a queue, non-blocking.
    """
    try:
        listeners, ancillary, _, _ = receiving.recvmsg(
            MOST_AT_ONCE,
            socket.CMSG_SPACE(MOST_AT_ONCE * _DESCRIPTOR),
            socket.MSG_CMSG_CLOEXEC,
        )
    except BlockingIOError:
        return Received(0, ())
    numbers = array.array("i")
    for _, _, piece in ancillary:
        numbers.frombytes(piece[: len(piece) - len(piece) % _DESCRIPTOR])
    return Received(len(listeners), list(zip(listeners, numbers, strict=False)))


class Receiver(Watching):
    """
    Receives connections from the master (in a worker).

    :param reactor: the reactor that polls the queue.
    :param receiving: the receiving end of the slot's queue; the receiver owns it.
    :param serve: serves one connection; receives the number of its listener as well.
    :param count: called with the number of connections of each message.
    :param has_room: returns whether this process has free descriptors.
    :param make_room: closes idle connections, and returns their number.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - one for each callback
        self,
        reactor: WatchingReactor,
        receiving: socket.socket,
        serve: Callable[[int, socket.socket], None],
        count: Callable[[int], None],
        has_room: Callable[[], bool],
        make_room: Callable[[], int] = no_room,
    ) -> None:
        super().__init__(reactor, receiving, make_room)
        self._serve = serve
        self._count = count
        self._has_room = has_room

    def start(self) -> None:
        """Start receiving."""
        self._watch()

    def stop(self) -> None:
        """
        Receive the connections in the queue, and stop.

        A receiver that was never started leaves them to the process that has the slot.
        """
        has_begun = self._is_on
        self._unwatch()
        while has_begun and self._has_room() and self._receive():
            pass
        self._watched.close()

    @keeps_watching("receive connections")
    def doRead(self) -> None:
        """Called when the queue is readable: serve the connections of one message."""
        if self._has_room():
            self._receive()
            return
        # A connection that is received without a free descriptor would be lost.
        self._try_later("receive", "no descriptor left")

    def _receive(self) -> bool:
        received = receive(self._watched)
        # The lost ones, too: the master would hold them for waiting ones otherwise, and
        # at last send no more.
        self._count(received.sent)
        for listener, number in received.connections:
            connection = adopt_socket(number, _STREAM)
            try:
                self._serve(listener, connection)
            except Exception as error:  # noqa: BLE001 - it ends this connection alone
                connection.close()
                self.cannot_serve(error)
        return bool(received.sent)
