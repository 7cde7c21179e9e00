"""The peer of a connection, and the client whose requests it sends."""

from http import HTTPStatus
from typing import Final

from twisted.internet.interfaces import IAddress

from clusterapp.http.connection.peer_kind import PeerKind
from clusterapp.http.server.server_interfaces import TransportAdapter
from clusterapp.http.syntax.client_origin import Origin
from clusterapp.http.syntax.request_head import BadMessageError, Head

# Members of an Enum are looked up slowly, and these are used for each request.
_CLIENT: Final = PeerKind.CLIENT
_RELAY: Final = PeerKind.RELAY


class ConnectionPeer:
    """
    The peer of a connection, and the client of its current request.

    :param adapter: the transport adapter of the connection.
    :param kind: what the peer is.
    :ivar is_client: whether it is a client, or a proxy, and not another process of the
        cluster.
    :ivar is_relay: whether it is a worker that relays requests of its clients.
    """

    __slots__ = ("_adapter", "_origin", "is_client", "is_relay")

    def __init__(self, adapter: TransportAdapter, kind: PeerKind) -> None:
        self._adapter = adapter
        self._origin: Origin | None = None
        self.is_client = kind is _CLIENT
        self.is_relay = kind is _RELAY

    def take_origin(self, head: Head) -> None:
        """
        Take the client's addresses from a request of another process.

        :raises BadMessageError: if a relayed request does not name its client.
        """
        self._origin = head.origin
        if head.origin is None and self.is_relay:
            raise BadMessageError(HTTPStatus.BAD_REQUEST, "it is of no worker")

    @property
    def origin(self) -> Origin:
        """The addresses, TLS state and certificate of the client's connection."""
        if self._origin is None:
            self._origin = Origin(
                self.address, self.host, self.secure, certificate=self.certificate
            )
        return self._origin

    @property
    def address(self) -> IAddress:
        """The client's address."""
        origin = self._origin
        return self._adapter.getPeer() if origin is None else origin.peer

    @property
    def host(self) -> IAddress:
        """The address that the client has connected to."""
        origin = self._origin
        return self._adapter.getHost() if origin is None else origin.host

    @property
    def secure(self) -> bool:
        """Whether the client uses TLS, as far as the connection shows."""
        origin = self._origin
        return self._adapter.secure if origin is None else origin.secure

    @property
    def encrypted(self) -> bool:
        """Whether the client's connection itself uses TLS."""
        return self._adapter.encrypted if self.is_client else self.secure

    @property
    def certificate(self) -> bytes | None:
        """The client certificate in DER, or None."""
        if self._origin is not None:
            return self._origin.certificate
        # That of another process is its own.
        return self._adapter.client_certificate() if self.is_client else None
