"""
The origin of a forwarded request: the header field with the client's connection.

A worker adds it before all other fields of a request that it forwards to another worker
or to the core. It is trusted on connections that only workers can make; on every other
connection it is removed from the head, so that no client can set it.
"""

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from clusterapp.http.lazy import Lazy
from clusterapp.http.syntax.socket_addresses import address_of

if TYPE_CHECKING:
    from clusterapp.interfaces import Fields

#: The name of the field, and its lower-case form for comparisons.
NAME: Final = b"Clusterapp-From"
LOWER_NAME: Final = NAME.lower()

#: Whether the client uses TLS, its address, and the address that it has connected to;
#: then whether it sent no Host, and its client certificate.
_VALUE: Final = re.compile(
    rb"([01]) ([^ ]+) ([0-9]{1,5}) ([^ ]+) ([0-9]{1,5})"
    rb"( no-host)?(?: cert=([A-Za-z0-9+/=]+))?"
)

#: The longest certificate that is forwarded, in bytes of DER. A longer one is left out.
LONGEST_CERTIFICATE: Final = 8 * 1024

#: The most bytes and fields that a worker adds to a head: this field and a Host.
OWN_BYTES: Final = 512 + LONGEST_CERTIFICATE * 4 // 3
OWN_FIELDS: Final = 2

#: The longest value that is cached, in bytes, and the size of the cache.
_SHORT: Final = 256
_REMEMBERED: Final = 1024


@dataclass(frozen=True)
class Origin:
    """
    The connection of a client to the cluster.

    :param peer: the client's address.
    :param host: the local address.
    :param secure: whether it is encrypted.
    :param has_host: whether the client has sent a Host, which HTTP/1.0 does not
        require.
    :param certificate: the client's certificate in DER; None if it has sent none.
    """

    peer: IAddress
    host: IAddress
    secure: bool
    has_host: bool = True
    certificate: bytes | None = None

    @Lazy
    def field(self) -> tuple[bytes, bytes]:
        """The header field for this origin; it must be the first of a request."""
        value = b"%d %b %b" % (self.secure, _written(self.peer), _written(self.host))
        if not self.has_host:
            value += b" no-host"
        shown = self.certificate
        if shown is not None and len(shown) <= LONGEST_CERTIFICATE:
            value += b" cert=" + b64encode(shown)
        return NAME, value


def read_origin(value: bytes) -> Origin | None:
    """
    Parse the value of the field.

    :return: None if it is not a valid value of `Origin.field`.
    """
    return (_read_short if len(value) <= _SHORT else _read)(value)


def _read(value: bytes) -> Origin | None:
    match = _VALUE.fullmatch(value)
    if match is None:
        return None
    secure, peer, peer_port, host, port, hostless, certificate = match.groups()
    try:
        return Origin(
            peer=_address(peer, peer_port),
            host=_address(host, port),
            secure=secure == b"1",
            has_host=hostless is None,
            certificate=None
            if certificate is None
            else b64decode(certificate, validate=True),
        )
    except ValueError:
        return None


_read_short = lru_cache(_REMEMBERED)(_read)


def take_origin(
    fields: "Fields", joined: bytes, *, believed: bool
) -> tuple[list[tuple[bytes, bytes]], Origin | None]:
    """
    Remove the field from a head, every line of it.

    :param fields: the fields of a head that contains it.
    :param joined: its value; the values of all its lines, if it is repeated.
    :param believed: whether the head comes from a worker.
    :return: the other fields, as the client has sent them; and the origin in the first
        field, None if that is another field or malformed.
    """
    if not believed:
        return _without(LOWER_NAME, fields), None
    name, value = fields[0]
    origin = read_origin(value) if name.lower() == LOWER_NAME else None
    alone = origin is not None and joined == value
    kept = list(fields[1:]) if alone else _without(LOWER_NAME, fields)
    if origin is not None and not origin.has_host:
        # Added by the worker, since HTTP/1.1 requires one.
        kept = _without(b"host", kept)
    return kept, origin


def _without(name: bytes, fields: "Fields") -> list[tuple[bytes, bytes]]:
    return [field for field in fields if field[0].lower() != name]


def _written(address: IAddress) -> bytes:
    if isinstance(address, IPv4Address | IPv6Address):
        return b"%b %d" % (address.host.encode("ascii"), address.port)
    return b"- 0"


def _address(host: bytes, port: bytes) -> IAddress:
    if host == b"-":
        return address_of(None)
    name = host.decode("ascii"), int(port)
    return address_of((*name, 0, 0) if b":" in host else name)
