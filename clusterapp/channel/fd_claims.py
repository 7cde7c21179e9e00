"""
Connections that one process offers to another: whoever claims one serves it.

The offer goes through masters, any of which may stand still at any point. The process
that has the connection waits for a while only, and then takes it back; a descriptor
beside the connection's decides, in one step of the kernel, who of the two has it. So
there are never two processes that read from one socket.
"""

import os
import socket

from clusterapp.descriptors import copy_socket


class LentSocket(socket.socket):
    """
    A duplicate of a connection that another process may still have.

    :param fileno: the duplicate's descriptor, which is this object's from now on.
    :param claim: the descriptor of the claim: an eventfd(2) that can be read once.
    """

    def __init__(self, fileno: int, claim: int) -> None:
        super().__init__(fileno=fileno)
        self.setblocking(False)  # whatever the default timeout is
        self.claim_fd = claim

    @classmethod
    def offer(cls, duplicate: socket.socket) -> "LentSocket":
        """
        Make an offer of a duplicate, which is the offer's from now on.

        :raise OSError: if there is no descriptor left; the duplicate is closed then.
        """
        try:
            claim = os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            duplicate.close()
            raise
        return cls(duplicate.detach(), claim)

    def claim(self) -> bool:
        """Return whether the connection is this process's from now on, and only its."""
        try:
            os.eventfd_read(self.claim_fd)
        except BlockingIOError:
            return False
        return True

    def dup(self) -> socket.socket:  # type: ignore[override]
        """Return a duplicate of the connection that is no offer."""
        return copy_socket(self)

    def close(self) -> None:
        """Close the duplicate and the claim; whoever has the connection keeps it."""
        super().close()
        claim, self.claim_fd = self.claim_fd, -1
        if claim != -1:
            os.close(claim)


def claim_of(connection: socket.socket) -> int | None:
    """Return the descriptor of a connection's claim, None if nothing is to claim."""
    return connection.claim_fd if isinstance(connection, LentSocket) else None


def received_offer(connection: socket.socket, claim: int | None) -> socket.socket:
    """
    Make an offer of descriptors that have come over a channel.

    :param connection: the connection, which is the offer's from now on.
    :param claim: the descriptor of its claim, if it has one.
    """
    if claim is None:
        return connection
    os.set_inheritable(claim, False)
    return LentSocket(connection.detach(), claim)


def claimed(connection: socket.socket, claim: int | None) -> bool:
    """
    Claim a connection for this process, which closes the claim.

    :return: whether it is this process's; if not, it is closed.
    """
    if claim is None:
        return True
    try:
        os.eventfd_read(claim)
    except BlockingIOError:
        connection.close()
        return False
    finally:
        os.close(claim)
    return True
