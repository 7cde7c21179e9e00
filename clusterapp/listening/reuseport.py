"""
Reuseport groups: a TCP listener's first socket, and one more for each slot.

All sockets have the same address, and for each new connection a BPF program in the
kernel chooses the socket that gets it (SO_REUSEPORT and SO_ATTACH_REUSEPORT_CBPF in
socket(7)). The kernel numbers the sockets of a group in the order in which they began
to listen; when one is closed, its number goes to the last one. So none is closed before
all are. Connections in a socket's backlog stay there whatever happens to the slot's
worker.
"""

import ctypes
import socket
import struct
from collections.abc import Sequence

from clusterapp.dispatch.steering import Program, first_only
from clusterapp.errors import ListenError
from clusterapp.listening.listen_sockets import BACKLOG
from clusterapp.system.descriptors import own

#: Missing from `socket`; this number holds on all architectures but a few old ones.
_SO_ATTACH_REUSEPORT_CBPF = 51


class Group:
    """
    The sockets of a listener: member 0 is the first one, member n + 1 is slot n's.

    :param first: a listening TCP socket. It must have been bound without SO_REUSEPORT:
        only then is a port that another program uses an error.
    :raise ListenError: if the socket is of a kind that cannot form a group.
    """

    def __init__(self, first: socket.socket) -> None:
        # For the sockets that follow, this is as if it had been set before bind; from
        # now on the kernel refuses only sockets of other users.
        try:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except OSError as error:
            raise _not_divisible(first, error) from error
        self._members = [first]
        self._program = first_only()

    @classmethod
    def inherited(cls, members: Sequence[socket.socket]) -> "Group":
        """
        Take over a group of another process, with its BPF program.

        :param members: all its sockets, in their order.
        """
        group = cls(members[0])
        group._members.extend(members[1:])
        return group

    @property
    def members(self) -> Sequence[socket.socket]:
        """All sockets of the group in their order, to be inherited."""
        return tuple(self._members)

    def member(self, slot: int) -> socket.socket:
        """
        Return the socket of a slot; create it and those of all earlier slots if needed.

        A new socket gets no connections before `steer` includes it.

        :param slot: the slot's number, from 0.
        :raise ListenError: if the kernel makes no more sockets; the group is unchanged,
            but for the sockets of earlier slots.
        """
        while len(self._members) <= slot + 1:
            self._add()
        return self._members[slot + 1]

    def steer(self, program: Program) -> None:
        """
        Attach a program that chooses the socket of each new connection.

        :param program: made by `clusterapp.dispatch.steering`, for slots whose sockets
            exist already.
        :raise ListenError: if the kernel refuses it; before Linux 6.8, for example,
            net.core.optmem_max bounds it to some 2,500 instructions.
        """
        # A single first socket is no group yet, and gets all connections.
        if len(self._members) > 1:
            self._attach(program)
        self._program = program

    def close(self) -> None:
        """Close all sockets; connections that wait in their queues are reset."""
        for member in self._members:
            member.close()

    def _add(self) -> None:
        first = self._members[0]
        try:
            made = _bound_beside(first)
        except OSError as error:
            raise _not_divisible(first, error) from error
        self._members.append(made)
        if len(self._members) == 2:  # noqa: PLR2004 - now it is a group
            self._attach(self._program)

    def _attach(self, program: Program) -> None:
        code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
        memory = ctypes.create_string_buffer(code, len(code))
        # struct sock_fprog: the number of instructions, and a pointer to them.
        pointer = struct.pack("HP", len(program), ctypes.addressof(memory))
        first = self._members[0]
        try:
            first.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, pointer)
        except OSError as error:
            raise _not_divisible(first, error) from error


def _bound_beside(first: socket.socket) -> socket.socket:
    made = socket.socket(first.family, first.type, first.proto)
    made.setblocking(False)
    own(made)
    try:
        _bind_beside(first, made)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _bind_beside(first: socket.socket, made: socket.socket) -> None:
    # Without SO_REUSEADDR, connections that were accepted before the first socket could
    # be shared would make bind fail.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if first.family == socket.AF_INET6:
        only = first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    made.setblocking(False)
    made.bind(first.getsockname())


def _not_divisible(first: socket.socket, error: OSError) -> ListenError:
    """Return the error for a listener that cannot have a socket for each slot."""
    name = first.getsockname()
    if first.family == socket.AF_UNIX:
        address = f"unix:{name}"
    else:
        host = f"[{name[0]}]" if first.family == socket.AF_INET6 else name[0]
        address = f"{host}:{name[1]}"
    return ListenError(
        f"cannot listen on {address} for each worker alone: "
        f"{error.strerror or error} (it must be a TCP socket that this user has bound)"
    )
