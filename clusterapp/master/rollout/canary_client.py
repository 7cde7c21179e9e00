"""The client of a canary request: a client of a listener, on this machine."""

import socket
from dataclasses import dataclass

from clusterapp.http.syntax.authority import authority
from clusterapp.http.syntax.client_origin import Origin
from clusterapp.http.syntax.message_head import RequestHead
from clusterapp.http.syntax.socket_addresses import address_of
from clusterapp.listening.listen_sockets import Listener

#: The address that a local client connects to if a listener has every interface.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound to it
_LOCALHOST = frozenset(_LOOPBACK.values())

#: The client's port: none, since the request does not come by TCP.
_NO_PORT = 0


@dataclass(frozen=True)
class CanaryClient:
    """
    A client of a listener.

    :param origin: the addresses of its connection.
    :param host: the listener's authority, as in the client's Host field.
    """

    origin: Origin
    host: bytes

    @classmethod
    def of(cls, listener: Listener) -> "CanaryClient":
        """Return the client of a listener, with the listener's own address."""
        secure = listener.scheme == "https"
        if listener.socket.family == socket.AF_UNIX:
            nowhere = address_of(None)
            return cls(Origin(nowhere, nowhere, secure), b"localhost")
        bound, port, *rest = listener.socket.getsockname()
        host = _LOOPBACK.get(bound, bound)
        origin = Origin(
            address_of((host, _NO_PORT, *rest)),
            address_of((host, port, *rest)),
            secure,
        )
        name = "localhost" if host in _LOCALHOST else host
        return cls(origin, authority(None, b"https" if secure else b"http", name, port))

    def get(self, path: str) -> RequestHead:
        """Return the request head of a GET, as one worker relays it to another."""
        fields = [
            self.origin.field,
            (b"Host", self.host),
            (b"User-Agent", b"clusterapp"),
        ]
        return RequestHead(b"GET", path.encode("ascii"), fields)
