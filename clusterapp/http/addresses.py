"""Addresses of sockets, as Twisted writes them."""

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

#: How many parts the name of an IPv4 socket has: its host and its port.
_OF_IPV4 = 2


def address_of(name: tuple[Any, ...] | str | bytes | None) -> IAddress:
    """
    Write a socket's name as Twisted does.

    :param name: as accept(2) and getsockname(2) give it.
    """
    if not isinstance(name, tuple):
        return UNIXAddress(name or None)
    kind = IPv4Address if len(name) == _OF_IPV4 else IPv6Address
    return kind("TCP", *name)
