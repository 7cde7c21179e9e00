"""Ports for programs that are told which one to take."""

import os
import random
import socket

#: The kernel gives these to nobody by itself (ip_local_port_range in ip(7)), so that
#: one that is free stays free until the program has it.
_UNUSED = range(20_000, 32_000)


def free_port(count: int = 1) -> int:
    """
    Find a TCP port of loopback that nobody has now.

    :param count: how many there must be in a row, of which it is the first.
    """
    while True:
        first = random.choice(_own_part()[: 1 - count or None])
        if all(map(_is_free, range(first, first + count))):
            return first


def _own_part() -> range:
    """
    Return the ports of this process of pytest-xdist.

    Another one must not take a port before the program that is told of it has it.
    """
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = len(_UNUSED) // count
    return _UNUSED[number * size : (number + 1) * size]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
