"""Addresses of sockets as Twisted's address objects."""

from typing import Any, Final

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

#: The number of parts of an IPv4 socket's name: its host and its port.
_OF_IPV4 = 2

#: The host of an address that is not an IP address: a Unix socket is on this machine.
_THIS_MACHINE: Final = "127.0.0.1"


def address_of(name: tuple[Any, ...] | str | bytes | None) -> IAddress:
    """
    Return the address object for a socket's name.

    :param name: as returned by accept(2) and getsockname(2).
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
    Return an address with a host and a port, as applications expect.

    :param address: an address of any kind.
    :param port: the port that replaces an address that is not an IP address.
    :return: the address itself if it is an IP address, otherwise 127.0.0.1 and `port`.
    """
    return address if is_ip(address) else IPv4Address("TCP", _THIS_MACHINE, port)
