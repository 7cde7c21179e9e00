"""
Passing accepted connections from the master to a worker (unix(7), SCM_RIGHTS).

Each slot has a queue: a pair of sockets, whose receiving end every process that fills
the slot inherits. A connection that is sent and not received yet is in the kernel, as
one that waits for accept(2) is: if the worker dies, the next one of the slot receives
it, or the master takes it back. Nobody has to acknowledge anything for that, and the
master keeps no copy that would hold a connection open which its worker has closed.
"""

import array
import errno
import fcntl
import socket
import termios
from collections.abc import Callable, Sequence

from clusterapp.descriptors import adopt_socket, socket_pair
from clusterapp.listening.socket_watching import (
    Watching,
    WatchingReactor,
    keeps_watching,
    no_room,
)

#: How many connections one message may have: SCM_MAX_FD is 253.
MOST_AT_ONCE = 64

_DESCRIPTOR = array.array("i").itemsize

#: What connections are; the kernel is asked for their family alone.
_STREAM = (-1, int(socket.SOCK_STREAM), 0)

#: What sendmsg(2) says when the queue is full: of bytes, or of descriptors.
_FULL = {errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS}


class Queue:
    """The connections that are on their way to one slot, as the master sees them."""

    def __init__(self) -> None:
        self._sending, self.receiving = socket_pair()
        #: How many have been sent so far.
        self.sent = 0

    @property
    def waiting(self) -> int:
        """How many are in it: each has a byte (SIOCINQ in unix(7))."""
        count = array.array("i", [0])
        fcntl.ioctl(self.receiving, termios.FIONREAD, count)
        return count[0]

    def send(self, doors: bytes, connections: Sequence[int]) -> bool:
        """
        Send connections; all of them, or none.

        :param doors: by which listener each has come: a byte for each.
        :param connections: the descriptors, which stay the caller's; at most
            `MOST_AT_ONCE`.
        :return: whether there was room for them.
        """
        try:
            socket.send_fds(self._sending, [doors], connections)
        except OSError as error:
            if error.errno in _FULL:
                return False
            raise
        self.sent += len(connections)
        return True

    def reclaim_fds(self) -> list[tuple[int, int]]:
        """Receive what no worker has: numbers of listeners, and descriptors."""
        found: list[tuple[int, int]] = []
        while received := receive(self.receiving):
            found += received
        return found

    def close(self) -> None:
        """Close both ends; what nobody has received is lost."""
        self._sending.close()
        self.receiving.close()


def receive(receiving: socket.socket) -> list[tuple[int, int]]:
    """
    Receive the connections of one message.

    :param receiving: the receiving end of a queue, which does not block.
    :return: the number of the listener that each has come by, and its descriptor; none
        if there is no message.
    """
    try:
        doors, ancillary, _, _ = receiving.recvmsg(
            MOST_AT_ONCE,
            socket.CMSG_SPACE(MOST_AT_ONCE * _DESCRIPTOR),
            socket.MSG_CMSG_CLOEXEC,
        )
    except BlockingIOError:
        return []
    numbers = array.array("i")
    for _, _, piece in ancillary:
        numbers.frombytes(piece[: len(piece) - len(piece) % _DESCRIPTOR])
    # If this process has no descriptor left, the kernel leaves the rest out.
    return list(zip(doors, numbers, strict=False))


class Receiver(Watching):
    """
    Receives connections from the master (in a worker).

    :param reactor: what waits for them.
    :param receiving: the receiving end of the slot's queue; it is the receiver's.
    :param serve: serves one; it gets the number of the listener that it has come by.
    :param has_room: tells whether this process has descriptors for some more.
    :param make_room: closes connections that are idle, and returns how many.
    """

    def __init__(
        self,
        reactor: WatchingReactor,
        receiving: socket.socket,
        serve: Callable[[int, socket.socket], None],
        has_room: Callable[[], bool],
        make_room: Callable[[], int] = no_room,
    ) -> None:
        super().__init__(reactor, receiving, make_room)
        self._serve = serve
        self._has_room = has_room

    def start(self) -> None:
        """Begin to receive."""
        self._watch()

    def stop(self) -> None:
        """
        Receive what waits, and no more.

        One that never began leaves it to the process that has the slot.
        """
        has_begun = self._is_on
        self._unwatch()
        while has_begun and self._has_room() and self._receive():
            pass
        self._watched.close()

    @keeps_watching("receive connections")
    def doRead(self) -> None:
        """Serve the connections of one message."""
        if self._has_room():
            self._receive()
            return
        # What is received without a descriptor for it would be lost.
        self._try_later("receive", "no descriptor left")

    def _receive(self) -> bool:
        received = receive(self._watched)
        for door, number in received:
            connection = adopt_socket(number, _STREAM)
            try:
                self._serve(door, connection)
            except Exception as error:  # noqa: BLE001 - it ends this connection alone
                connection.close()
                self.cannot_serve(error)
        return bool(received)
