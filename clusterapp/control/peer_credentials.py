"""Who is at the other end of a Unix socket."""

import socket
import struct
from typing import NamedTuple

#: struct ucred of unix(7): pid, uid, gid.
_CREDENTIALS = struct.Struct("3i")


class Peer(NamedTuple):
    """
    Who is at the other end of a Unix socket, as the kernel says.

    :ivar pid: its process, when it connected.
    :ivar uid: its user.
    :ivar gid: its group.
    """

    pid: int
    uid: int
    gid: int


def peer_of(connection: socket.socket) -> Peer:
    """Ask the kernel who is at the other end (SO_PEERCRED, unix(7))."""
    told = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
    )
    return Peer(*_CREDENTIALS.unpack(told))
