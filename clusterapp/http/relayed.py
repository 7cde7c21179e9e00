"""
Connections between two workers, on which one passes clients' requests to the other.

Each request says whose it is, in a field before all others that no application sees.
Only workers can connect here, so it is believed; on every other connection a field of
that name means nothing.
"""

import re
from copy import copy
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from clusterapp.http.addresses import address_of
from clusterapp.http.agent import IDLE_TIMEOUT
from clusterapp.http.heads import BadMessageError, Head, HeadReader
from clusterapp.http.limits import Limits
from clusterapp.http.native import NativeConnection
from clusterapp.http.reading import Message
from clusterapp.http.request import ClusterRequest

_NAME = b"Clusterapp-From"
#: Whether the client came over TLS, its address, and the one that it connected to.
_VALUE = re.compile(rb"([01]) (\S+) ([0-9]+) (\S+) ([0-9]+)")

#: What the other worker may add to a head: this field and a Host, beside a space in
#: each line that has none behind its colon.
_OWN_FIELDS = 2
_OWN_BYTES = 512


def relayed_from(
    peer: IAddress, host: IAddress, *, secure: bool
) -> tuple[bytes, bytes]:
    """
    Write the field that says whose a request is; it must be the first.

    :param peer: the other end of the connection that it has come by.
    :param host: this end of it.
    :param secure: whether that is encrypted.
    """
    return _NAME, b"%d %b %b" % (secure, _written(peer), _written(host))


def relayed_limits(limits: Limits) -> Limits:
    """
    Give the bounds of such connections.

    Whatever the other worker has taken from its client must be taken here, too. And
    it keeps its connections for a time of its own: no request may cross a close.

    :param limits: the bounds of the clients' connections.
    """
    return replace(
        limits,
        head=limits.head + _OWN_BYTES + limits.fields,
        fields=limits.fields + _OWN_FIELDS,
        keepalive_timeout=max(limits.keepalive_timeout, 2 * IDLE_TIMEOUT),
        requests=None,
    )


class RelayedConnection(NativeConnection):
    """
    A connection from another worker, whose requests are of many clients.

    :param heads: reads heads within `relayed_limits`.
    :param others: those of every `NativeConnection`.
    """

    __slots__ = ("_host", "_is_relayed_secure")

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
        name, value = head.fields[0] if head.fields else (b"", b"")
        said = _VALUE.fullmatch(value)
        if name != _NAME or said is None:
            raise BadMessageError(HTTPStatus.BAD_REQUEST, "it is of no worker")
        secure, peer, peer_port, host, port = said.groups()
        self._is_relayed_secure = secure == b"1"
        self._peer = _read(peer, peer_port)
        self._host = _read(host, port)
        head = copy(head)  # it may be that of many requests
        head.fields = head.fields[1:]
        super()._begin(head)

    def _make(self, head: Head) -> Message:
        message = super()._make(head)
        if isinstance(message, ClusterRequest):
            # It may be asked when the connection has come to another client's.
            message.getClientAddress()
            message.getHost()
        return message

    def getHost(self) -> IAddress:
        """Tell the address that the client has connected to."""
        return self._host

    def isSecure(self) -> bool:
        """Tell whether the client's connection is encrypted."""
        return self._is_relayed_secure

    def _record(self, status: int, sent: int, *, complete: bool = True) -> None:
        """Note nothing: the worker that the client is connected to does so."""


def _written(address: IAddress) -> bytes:
    if isinstance(address, IPv4Address | IPv6Address):
        return b"%b %d" % (address.host.encode("ascii"), address.port)
    return b"- 0"


def _read(host: bytes, port: bytes) -> IAddress:
    if host == b"-":
        return address_of(None)
    name = host.decode("ascii"), int(port)
    return address_of((*name, 0, 0) if b":" in host else name)
