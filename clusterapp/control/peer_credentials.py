"""The peer credentials of a Unix socket."""

import socket
import struct
from typing import NamedTuple

#: struct ucred of unix(7): pid, uid, gid.
_CREDENTIALS = struct.Struct("3i")


class PeerCredentials(NamedTuple):
    """
    The peer of a Unix socket, as reported by the kernel.

    :ivar pid: its process id when it connected.
    :ivar uid: its user id.
    :ivar gid: its group id.
    """

    pid: int
    uid: int
    gid: int


def peer_of(connection: socket.socket) -> PeerCredentials:
    """Return the credentials of a connection's peer (SO_PEERCRED, unix(7))."""
    packed = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
    )
    return PeerCredentials(*_CREDENTIALS.unpack(packed))
