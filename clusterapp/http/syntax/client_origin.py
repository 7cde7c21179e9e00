"""
Whose a request is that a worker has passed on: the field that says so, and its value.

A worker writes it before all other fields of a request that it passes to another
worker or to the core. It is believed on connections that only workers can make; on
every other connection it is taken out of the head, so that no client can write it.
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

#: The name of the field, and as it is compared.
NAME: Final = b"Clusterapp-From"
LOWER_NAME: Final = NAME.lower()

#: Whether the client came over TLS, its address, and the one that it connected to;
#: then whether it sent no Host, and the certificate that it has shown.
_VALUE: Final = re.compile(
    rb"([01]) ([^ ]+) ([0-9]{1,5}) ([^ ]+) ([0-9]{1,5})"
    rb"( no-host)?(?: cert=([A-Za-z0-9+/=]+))?"
)

#: The longest certificate that is passed on, in bytes of DER. A longer one is left out.
LONGEST_CERTIFICATE: Final = 8 * 1024

#: What a worker may add to a head by this field and by a Host of its own, in bytes.
OWN_BYTES: Final = 512 + LONGEST_CERTIFICATE * 4 // 3
OWN_FIELDS: Final = 2

#: The longest value that is remembered, in bytes, and how many.
_SHORT: Final = 256
_REMEMBERED: Final = 1024


@dataclass(frozen=True)
class Origin:
    """
    The connection that a client has made to the cluster.

    :param peer: the other end of it.
    :param host: this end of it.
    :param secure: whether it is encrypted.
    :param has_host: whether the client has sent a Host, which HTTP/1.0 need not.
    :param certificate: the client's certificate in DER; None if it has shown none.
    """

    peer: IAddress
    host: IAddress
    secure: bool
    has_host: bool = True
    certificate: bytes | None = None

    @Lazy
    def field(self) -> tuple[bytes, bytes]:
        """The field that tells this; it must be the first of a request."""
        value = b"%d %b %b" % (self.secure, _written(self.peer), _written(self.host))
        if not self.has_host:
            value += b" no-host"
        shown = self.certificate
        if shown is not None and len(shown) <= LONGEST_CERTIFICATE:
            value += b" cert=" + b64encode(shown)
        return NAME, value


def read_origin(value: bytes) -> Origin | None:
    """
    Read the value of the field.

    :return: None if it is none that `Origin.field` has.
    """
    return (_read_short if len(value) <= _SHORT else _read)(value)


def _read(value: bytes) -> Origin | None:
    told = _VALUE.fullmatch(value)
    if told is None:
        return None
    secure, peer, peer_port, host, port, hostless, certificate = told.groups()
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
    fields: "Fields", told: bytes, *, believed: bool
) -> tuple[list[tuple[bytes, bytes]], Origin | None]:
    """
    Take the field out of a head, every line of it.

    :param fields: the fields of a head in which it is.
    :param told: its value; those of all its lines, where there are more.
    :param believed: whether the head comes from a worker.
    :return: the other fields, as the client has sent them; and what the first field
        tells, None if it is not this one, or none that can be read.
    """
    if not believed:
        return _without(LOWER_NAME, fields), None
    name, value = fields[0]
    origin = read_origin(value) if name.lower() == LOWER_NAME else None
    alone = origin is not None and told == value
    kept = list(fields[1:]) if alone else _without(LOWER_NAME, fields)
    if origin is not None and not origin.has_host:
        # The worker has added it, since HTTP/1.1 must have one.
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
