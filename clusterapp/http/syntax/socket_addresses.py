"""Addresses of sockets, as Twisted writes them."""

from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

#: How many parts the name of an IPv4 socket has: its host and its port.
_OF_IPV4 = 2

#: The host of whatever has no IP address: an end of a Unix socket is on this machine.
_THIS_MACHINE: Final = "127.0.0.1"


def address_of(name: tuple[Any, ...] | str | bytes | None) -> IAddress:
    """
    Write a socket's name as Twisted does.

    :param name: as accept(2) and getsockname(2) give it.
    """
    if not isinstance(name, tuple):
        return UNIXAddress(name or None)
    kind = IPv4Address if len(name) == _OF_IPV4 else IPv6Address
    return kind("TCP", *name)


def is_ip(address: IAddress) -> bool:
    """Return whether an address is an IPv4 or IPv6 address and a port."""
    return isinstance(address, IPv4Address | IPv6Address)


def as_ip(address: IAddress, port: int = 0) -> IAddress:
    """
    Return an address with a host and a port, which applications expect.

    :param address: an address of any kind.
    :param port: the port of the stand-in for one that is no IP address.
    :return: the address itself if it is one of IP, otherwise 127.0.0.1 and `port`.
    """
    return address if is_ip(address) else IPv4Address("TCP", _THIS_MACHINE, port)
