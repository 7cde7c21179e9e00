"""Memory that the master shares with its children, whose size is sealed."""

import fcntl
import os
from typing import Final

#: Otherwise a child could truncate the memory, and each process that reads the missing
#: part would be killed by SIGBUS (mmap(2)).
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def create_shared_memory(name: str, size: int) -> int:
    """
    Create anonymous memory whose size is sealed (memfd_create(2), fcntl(2)).

    Memory is only allocated when it is written. Children do not check the seals when
    they map it: an older master, which started them, may not have sealed it.

    :param name: a name for it in /proc.
    :param size: its size in bytes.
    :return: its descriptor, which is not inheritable.
    :raise OSError: if it cannot be created.
    """
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
