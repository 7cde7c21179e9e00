"""Who sent a request, and how: what a site asks about its connections' other ends."""

from typing import Protocol

from twisted.internet.interfaces import IAddress

from clusterapp.interfaces import Fields


class Proxies(Protocol):
    """
    Tells what a request's fields are to be believed about where it came from.

    Each is asked with the other end of the connection and the request's fields.
    """

    def client_of(self, peer: IAddress, fields: Fields) -> str | None:
        """Tell the client's IP address; None if it is not known."""

    def address_of_client(self, peer: IAddress, fields: Fields) -> IAddress:
        """Tell the client's address; the peer's if it is not known."""

    def is_secure(self, peer: IAddress, fields: Fields, *, secure: bool) -> bool:
        """
        Tell whether the client came over TLS.

        :param secure: whether the connection from the peer did.
        """


class NoProxies:
    """Each connection's other end is the client itself, whatever it says."""

    def client_of(self, peer: IAddress, _fields: Fields) -> str | None:
        """Tell the peer's host, if it has one."""
        host: str | None = getattr(peer, "host", None)
        return host

    def address_of_client(self, peer: IAddress, _fields: Fields) -> IAddress:
        """Give the peer's address."""
        return peer

    def is_secure(self, _peer: IAddress, _fields: Fields, *, secure: bool) -> bool:
        """Tell what the connection is."""
        return secure
