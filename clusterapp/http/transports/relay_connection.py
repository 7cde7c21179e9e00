"""
Connections between two workers, on which one passes clients' requests to the other.

Each request says whose it is, in a field before all others that no application sees.
Only workers can connect here, so it is believed; on every other connection a field of
that name means nothing.
"""

from dataclasses import replace
from http import HTTPStatus
from typing import Any

from twisted.internet.interfaces import IAddress

from clusterapp.http.limits import Limits
from clusterapp.http.syntax.client_origin import OWN_BYTES, OWN_FIELDS
from clusterapp.http.syntax.request_head import BadMessageError, Head, HeadReader
from clusterapp.http.transports.asyncio_connection import NativeConnection
from clusterapp.http.upstream.core_agent import IDLE_TIMEOUT


def relayed_limits(limits: Limits) -> Limits:
    """
    Give the bounds of such connections.

    Whatever the other worker has taken from its client must be taken here, too. And
    it keeps its connections for a time of its own: no request may cross a close.

    :param limits: the bounds of the clients' connections.
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
    A connection from another worker, whose requests are of many clients.

    :param heads: reads heads within `relayed_limits`.
    :param others: those of every `NativeConnection`.
    """

    __slots__ = ()

    of_client = False

    def __init__(self, heads: HeadReader, *others: Any) -> None:
        super().__init__(*others)
        self.heads = heads
        self.limits = heads.limits

    def _begin(self, head: Head) -> None:
        """
        Serve a request as if it had come from its client.

        :raises BadMessageError: if it does not say whose it is.
        """
        origin = self._origin = head.origin
        if origin is None:
            raise BadMessageError(HTTPStatus.BAD_REQUEST, "it is of no worker")
        self._peer = origin.peer
        self._face = None  # it is that of the client before
        super()._begin(head)

    def getHost(self) -> IAddress:
        """Return the address that the client has connected to."""
        return super().getHost() if self._origin is None else self._origin.host

    def isSecure(self) -> bool:
        """Return whether the client's connection is encrypted."""
        return self._origin is not None and self._origin.secure

    @property
    def encrypted(self) -> bool:
        """Whether the client's connection is encrypted, as its worker has it."""
        return self.isSecure()

    def client_certificate(self) -> bytes | None:
        """Return the certificate that the client has shown to its worker, in DER."""
        return None if self._origin is None else self._origin.certificate

    def _record(self, status: int, sent: int, *, complete: bool = True) -> None:
        """Note nothing: the worker that the client is connected to does so."""
