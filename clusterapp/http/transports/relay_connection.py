"""
Relay connections between two workers, which carry requests of many clients.

The first header field of each request names its client; applications do not see that
field. Only workers can connect here, so it is trusted; on every other connection a
field of that name has no meaning.
"""

from dataclasses import replace
from http import HTTPStatus
from typing import Any

from twisted.internet.interfaces import IAddress

from clusterapp.http.connection_limits import Limits
from clusterapp.http.syntax.client_origin import OWN_BYTES, OWN_FIELDS
from clusterapp.http.syntax.request_head import BadMessageError, Head, HeadReader
from clusterapp.http.syntax.request_stream import RequestStream
from clusterapp.http.transports.asyncio_connection import NativeConnection
from clusterapp.http.upstream.core_agent import IDLE_TIMEOUT


def relayed_limits(limits: Limits) -> Limits:
    """
    Return the limits of relay connections.

    A request that the other worker has accepted from its client must be accepted here,
    too. And the other worker has a keep-alive timeout of its own, which must be shorter
    than the one here, so that no request crosses a close.

    :param limits: the limits of client connections.
    """
    return replace(
        limits,
        head=limits.head + OWN_BYTES + limits.fields,
        fields=limits.fields + OWN_FIELDS,
        keepalive_timeout=max(limits.keepalive_timeout, 2 * IDLE_TIMEOUT),
        requests=None,
    )


class RelayedConnection(NativeConnection):
    """
    Connection from another worker, which carries requests of many clients.

    :param heads: the parser of request heads, with `relayed_limits`.
    :param others: the arguments of `NativeConnection`.
    """

    __slots__ = ()

    of_client = False

    def __init__(self, heads: HeadReader, *others: Any) -> None:
        super().__init__(*others)
        self.limits = heads.limits
        self.stream = RequestStream(heads, heads.limits)

    def _begin(self, head: Head) -> None:
        """
        Start serving a request as if its client were connected directly.

        :raises BadMessageError: if the request does not name its client.
        """
        origin = self._origin = head.origin
        if origin is None:
            raise BadMessageError(HTTPStatus.BAD_REQUEST, "it is of no worker")
        self._peer = origin.peer
        self._face = None  # the transport has the previous client's addresses
        super()._begin(head)

    def getHost(self) -> IAddress:
        """Return the address that the client has connected to."""
        return super().getHost() if self._origin is None else self._origin.host

    def isSecure(self) -> bool:
        """Return whether the client's connection is encrypted."""
        return self._origin is not None and self._origin.secure

    @property
    def encrypted(self) -> bool:
        """Whether the client's connection to its worker is encrypted."""
        return self.isSecure()

    def client_certificate(self) -> bytes | None:
        """Return the certificate that the client has sent to its worker, in DER."""
        return None if self._origin is None else self._origin.certificate

    def _record(self, status: int, sent: int, *, complete: bool = True) -> None:
        """Do nothing: the worker that the client is connected to logs the request."""
