"""Client address and scheme of a request, with or without trusted proxies."""

from typing import Protocol

from twisted.internet.interfaces import IAddress

from clusterapp.interfaces import Fields


class Proxies(Protocol):
    """
    Derives a request's client address and scheme, with the fields of trusted proxies.

    Each method receives the peer of the connection and the request's header fields.
    """

    def client_of(self, peer: IAddress, fields: Fields) -> str | None:
        """Return the client's IP address; None if it is not known."""

    def address_of_client(self, peer: IAddress, fields: Fields) -> IAddress:
        """Return the client's address; the peer's if it is not known."""

    def is_secure(self, peer: IAddress, fields: Fields, *, secure: bool) -> bool:
        """
        Return whether the client's connection uses TLS.

        :param secure: whether the connection from the peer uses TLS.
        """


class NoProxies:
    """No trusted proxies: the peer is the client, and header fields are ignored."""

    def client_of(self, peer: IAddress, _fields: Fields) -> str | None:
        """Return the peer's host, or None if it has none."""
        host: str | None = getattr(peer, "host", None)
        return host

    def address_of_client(self, peer: IAddress, _fields: Fields) -> IAddress:
        """Return the peer's address."""
        return peer

    def is_secure(self, _peer: IAddress, _fields: Fields, *, secure: bool) -> bool:
        """Return whether the connection from the peer uses TLS."""
        return secure
