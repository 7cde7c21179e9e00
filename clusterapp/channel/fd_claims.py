"""
Claims: connections that one process offers to another.

The offer goes through masters, any of which may stop responding at any point. The
process that has the connection waits for a limited time, and then takes it back. An
eventfd that is passed beside the connection's descriptor is the claim: reading it is
one atomic step in the kernel, and only the process that has read it serves the
connection. So there are never two processes that read from one socket.
"""

import os
import socket

from clusterapp.system.descriptors import copy_socket


class OfferedSocket(socket.socket):
    """
    A duplicate of an offered connection, which another process may still have.

    :param fileno: the duplicate's descriptor, which this object owns from now on.
    :param claim: the descriptor of the claim: an eventfd(2) that can be read once.
    """

    def __init__(self, fileno: int, claim: int) -> None:
        super().__init__(fileno=fileno)
        self.setblocking(False)  # whatever the default timeout is
        self.claim_fd = claim

    @classmethod
    def offer(cls, duplicate: socket.socket) -> "OfferedSocket":
        """
        Offer a duplicate of a connection; the offer owns the duplicate from now on.

        :raise OSError: if there is no descriptor left; the duplicate is closed then.
        """
        try:
            claim = os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError:
            duplicate.close()
            raise
        return cls(duplicate.detach(), claim)

    def claim(self) -> bool:
        """Claim the connection; return whether only this process has it now."""
        try:
            os.eventfd_read(self.claim_fd)
        except BlockingIOError:
            return False
        return True

    def dup(self) -> socket.socket:  # type: ignore[override]
        """Return a duplicate of the connection that is not an offer."""
        return copy_socket(self)

    def close(self) -> None:
        """Close the duplicate and the claim; the connection itself stays open."""
        super().close()
        claim, self.claim_fd = self.claim_fd, -1
        if claim != -1:
            os.close(claim)


def claim_of(connection: socket.socket) -> int | None:
    """Return the descriptor of a connection's claim; None if it has none."""
    return connection.claim_fd if isinstance(connection, OfferedSocket) else None


def received_offer(connection: socket.socket, claim: int | None) -> socket.socket:
    """
    Return an offer of descriptors that were received over a channel.

    :param connection: the connection, which the offer owns from now on.
    :param claim: the descriptor of its claim; None if it has none.
    """
    if claim is None:
        return connection
    os.set_inheritable(claim, False)
    return OfferedSocket(connection.detach(), claim)


def claimed(connection: socket.socket, claim: int | None) -> bool:
    """
    Claim a received connection for this process, and close the claim.

    :return: whether this process has it; if not, the connection is closed.
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
