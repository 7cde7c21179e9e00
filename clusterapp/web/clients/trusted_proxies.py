"""
The trusted proxies: the client behind them, and the forwarded fields for the core.

Each proxy adds the address of its peer to the forwarded fields. A client can send the
same fields, so their hops are used only as far back as every hop is trusted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from types import MappingProxyType
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from clusterapp.errors import SettingsError
from clusterapp.interfaces import Fields
from clusterapp.web.clients.forwarded_header import (
    MOST_HOPS,
    Hop,
    format_forwarded,
    format_x_forwarded_for,
    is_whole,
    parse_forwarded,
    parse_x_forwarded_for,
    plain,
)

#: Entries of the setting that are not addresses: Unix socket peers, and all peers.
UNIX = "unix"
EVERYONE = "*"

_FOR = b"X-Forwarded-For"
_PROTO = b"X-Forwarded-Proto"
_HOST = b"X-Forwarded-Host"
_FORWARDED = b"Forwarded"
_OURS = {name.lower(): name for name in (_FOR, _PROTO, _HOST, _FORWARDED)}

#: The values of X-Forwarded-Proto for a connection over TLS.
_SECURE = frozenset({"https", "wss"})

#: The number of cached peers, and of cached sets of forwarded fields.
_REMEMBERED = 1024
#: The longest Host that is cached, in bytes: a name has 253 (RFC 1035, 2.3.4).
_SHORT = 260

#: The network of the IPv4-mapped IPv6 addresses (RFC 4291, 2.5.5.2).
_MAPPED = IPv6Network("::ffff:0:0/96")


class _Trace(NamedTuple):
    """
    The path from a peer back to the client, as far as hops are trusted.

    :ivar client: the client's IP address; None if it is not known.
    :ivar back: the number of hops from the peer to the client; 0 if it is the peer.
    :ivar forwarded_fields: the forwarded fields of a trusted peer.
    :ivar last: the hop of the client.
    """

    client: str | None
    back: int = 0
    forwarded_fields: Mapping[bytes, str] = MappingProxyType({})
    last: Hop | None = None

    def proto(self) -> str | None:
        """Return the protocol of the client's own connection; None if not known."""
        given = self.forwarded_fields.get(_PROTO, "").rsplit(",", MOST_HOPS)[
            -MOST_HOPS:
        ]
        protos = [proto for part in given if (proto := part.strip())]
        if protos:
            # A proxy that appends a protocol appends an address as well; elements
            # farther left can have been sent by the client itself.
            return protos[-min(max(self.back, 1), len(protos))]
        return (self.last and self.last.proto) or None


class TrustedProxies:
    """
    The peers whose forwarded fields are trusted.

    :param entries: IP addresses, networks as ``address/bits``, ``unix`` for peers on
        a Unix socket, ``*`` for every peer.
    :raises SettingsError: an entry is not one of these.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        given = {entry.strip() for entry in entries}
        self._everyone = EVERYONE in given
        self._unix = UNIX in given
        addresses = sorted(given - {EVERYONE, UNIX})
        self._networks = [_network(entry) for entry in addresses]
        self._seen = lru_cache(_REMEMBERED)(self._look_at)
        self._trusts = lru_cache(_REMEMBERED)(self.trusts)

    @property
    def trusts_everyone(self) -> bool:
        """Whether every peer is trusted."""
        return self._everyone

    @property
    def networks(self) -> Sequence[IPv4Network | IPv6Network]:
        """The networks whose addresses are trusted."""
        return self._networks

    def trusts(self, address: str | None) -> bool:
        """
        Return whether a peer is trusted.

        :param address: the peer's IP address; None for a peer on a Unix socket. Text
            that is not an address is trusted only with ``*``.
        """
        if self._everyone:
            return True
        if address is None:
            return self._unix
        try:
            parsed = plain(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def trusts_peer(self, name: Any) -> bool:
        """
        Return whether a peer is trusted.

        :param name: the peer's address as accept(2) returns it.
        """
        return self._seen(name[0] if isinstance(name, tuple) else None)[1]

    def client_of(self, peer: IAddress, fields: Fields) -> str | None:
        """
        Return the client's IP address: the right-most one that is not trusted.

        It is searched among the nearest `MOST_HOPS` hops.

        :param peer: the peer address of the connection.
        :param fields: the request's fields; ``X-Forwarded-For`` takes precedence over
            ``Forwarded``. A trusted proxy must itself write or remove both.
        :returns: the IP address; the farthest one if all hops are trusted; None if it
            is not known (a Unix peer without forwarded fields, an obfuscated hop, more
            trusted hops than are parsed).
        """
        return self._trace(peer, fields).client

    def address_of_client(self, peer: IAddress, fields: Fields) -> IAddress:
        """
        Return the client's address as a Twisted address object.

        :param peer: the peer address of the connection.
        :param fields: the request's fields.
        :returns: the address, with port 0 unless the peer is the client; the peer's
            address if the client is not known.
        """
        client, back, *_ = self._trace(peer, fields)
        if client is None:
            return peer
        if back:
            return (IPv6Address if ":" in client else IPv4Address)("TCP", client, 0)
        return _with_port(client, peer)

    def is_secure(self, peer: IAddress, fields: Fields, *, secure: bool) -> bool:
        """
        Return whether the client's connection is over TLS.

        ``X-Forwarded-Proto`` is trusted as far back as the addresses are, and
        ``Forwarded`` if its addresses are used. A trusted proxy must itself write or
        remove both.

        :param peer: the peer address of the connection.
        :param fields: the request's fields.
        :param secure: whether the connection from the peer is over TLS; it is returned
            if a trusted peer reports no protocol, or if the peer is the client.
        """
        proto = self._trace(peer, fields).proto()
        return secure if proto is None else proto.lower() in _SECURE

    def forwarded(self, *, peer: IAddress, secure: bool, fields: Fields) -> Fields:
        """
        Return a request's fields with the forwarded fields rewritten for this hop.

        ``X-Forwarded-For``, ``-Proto``, ``-Host`` and ``Forwarded`` (RFC 7239) are
        replaced, after all other fields, which are unchanged. The values of a trusted
        peer are kept, and this hop is appended to the two lists; if the peer has sent
        only one of the lists, the other is made from it (RFC 7239, section 7.4). Of a
        list of protocols only the client's is kept.

        Hop-by-hop fields must have been removed before: ``Connection:
        X-Forwarded-For`` would otherwise remove the fields that are added here.

        :param peer: the peer address of the connection.
        :param secure: whether the request was received over TLS.
        :param fields: the request's fields.
        """
        address, trusted = self._seen(_host_of(peer))
        others, forwarded_fields = [], []
        host = None
        for field in fields:
            name = field[0].lower()
            if name in _OURS:
                forwarded_fields.append(field)
                continue
            others.append(field)
            if host is None and name == b"host":
                host = field[1]
        if trusted and forwarded_fields:
            known = _forwarded_fields(forwarded_fields)
            hops = list(_hops_back(known, self._most_hops(address)))
            trace = self._follow(address, known, hops)
            rewritten = _fields_for(trace, address, host, hops, secure=secure)
        else:
            rewritten = _first_hop_fields(address, host, secure=secure)
        return [*others, *rewritten]

    def _trace(self, peer: IAddress, fields: Fields) -> "_Trace":
        """Return the path from a peer back to the client."""
        address, trusted = self._seen(_host_of(peer))
        if not trusted:
            return _Trace(address)
        forwarded_fields = _forwarded_fields(fields)
        return self._follow(
            address,
            forwarded_fields,
            _hops_back(forwarded_fields, self._most_hops(address)),
        )

    def _most_hops(self, _address: str | None) -> int:
        """Return the number of hops to parse in the fields of a peer's request."""
        return MOST_HOPS

    def _follow(
        self,
        address: str | None,
        forwarded_fields: Mapping[bytes, str],
        hops: Iterable[Hop],
    ) -> "_Trace":
        """Return the path from a trusted peer back to the client."""
        back, hop = 0, None
        for back, hop in enumerate(hops, start=1):  # noqa: B007
            address = hop.address
            if address is None or not self._trusts(address):
                break  # the client, or an unknown hop: farther hops are not trusted
        return _Trace(address, back, forwarded_fields, hop)

    def _look_at(self, host: str | None) -> tuple[str | None, bool]:
        """Return a peer's address in the form of `plain`, and whether it is trusted."""
        address = None if host is None else str(plain(host))
        return address, self.trusts(address)


class TrustedInCore(TrustedProxies):
    """
    The trusted proxies of the core, whose peers are workers of clusterapp.

    Workers are always trusted: only they can connect to the core's Unix socket, or have
    the certificates for its TLS listeners. They report their own peer as the nearest
    hop, and the settings' trusted proxies apply from that hop on.
    """

    def address_of_client(self, peer: IAddress, fields: Fields) -> IAddress:
        """
        Return the client's address as a Twisted address object; see `TrustedProxies`.

        :param peer: the worker's peer, which the worker also reports as the nearest
            hop.
        :param fields: the request's fields.
        """
        client, back, *_ = self._trace(peer, fields)
        if back == 1 and client is not None and client == self._seen(_host_of(peer))[0]:
            # The worker's peer is the client itself, and its port is known.
            return _with_port(client, peer)
        return super().address_of_client(peer, fields)

    def _look_at(self, host: str | None) -> tuple[str | None, bool]:
        return super()._look_at(host)[0], True

    def _most_hops(self, address: str | None) -> int:
        # As many as the worker has parsed, and one for the worker's own peer, which has
        # no hop in X-Forwarded-For if it has no address.
        return MOST_HOPS + (address is not None)


def _network(entry: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(entry, strict=False)
    except ValueError as error:
        raise SettingsError(
            f"trusted_proxies: {entry!r} is not an IP address, a network such as"
            f" 10.0.0.0/8, {UNIX!r} or {EVERYONE!r}"
        ) from error
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        return IPv4Network((int(mapped or 0), network.prefixlen - _MAPPED.prefixlen))
    return network


def _with_port(client: str, peer: IAddress) -> IAddress:
    """Return the address of a client that is the peer itself."""
    if isinstance(peer, IPv6Address) and ":" not in client:
        return IPv4Address("TCP", client, peer.port)
    return peer


def _host_of(peer: IAddress) -> str | None:
    """Return the IP address of a peer; None on a Unix socket."""
    if isinstance(peer, IPv4Address | IPv6Address):
        return str(peer.host)
    return None


def _first_hop_fields(
    address: str | None, host: bytes | None, *, secure: bool
) -> Sequence[tuple[bytes, bytes]]:
    """Return the forwarded fields of a request without any from a trusted peer."""
    if len(host or b"") > _SHORT:
        return _fields_for(_Trace(address), address, host, secure=secure)
    return _cached_fields(address, host, secure=secure)


@lru_cache(_REMEMBERED)
def _cached_fields(
    address: str | None, host: bytes | None, *, secure: bool
) -> Sequence[tuple[bytes, bytes]]:
    return _fields_for(_Trace(address), address, host, secure=secure)


def _fields_for(
    trace: _Trace,
    address: str | None,
    host: bytes | None,
    hops: Sequence[Hop] = (),
    *,
    secure: bool,
) -> Sequence[tuple[bytes, bytes]]:
    name = host.decode("latin-1") if host else None
    here = Hop(address, name, "https" if secure else "http")
    return [
        (name, value.encode("latin-1"))
        for name, value in _rewrite(trace, hops[::-1], here)
    ]


def _forwarded_fields(fields: Fields) -> Mapping[bytes, str]:
    """Return the forwarded fields of a request, each with its lines joined."""
    forwarded_fields: dict[bytes, str] = {}
    for name, value in fields:
        ours = _OURS.get(name.lower())
        text = value.decode("latin-1").strip()
        if ours is not None and text:
            forwarded_fields[ours] = (
                f"{forwarded_fields[ours]}, {text}"
                if ours in forwarded_fields
                else text
            )
    return forwarded_fields


def _hops_back(forwarded_fields: Mapping[bytes, str], most: int) -> Iterator[Hop]:
    """Parse the earlier hops, the nearest first, one by one."""
    if _FOR in forwarded_fields:
        return parse_x_forwarded_for(forwarded_fields[_FOR], most)
    return parse_forwarded(forwarded_fields.get(_FORWARDED, ""), most)


def _rewrite(
    trace: _Trace, hops: Sequence[Hop], here: Hop
) -> Iterator[tuple[bytes, str]]:
    """
    Return the forwarded fields from those of earlier hops and from this hop.

    :param trace: the path back to the client.
    :param hops: the earlier hops, the nearest last.
    :param here: this hop.
    """
    forwarded_fields = trace.forwarded_fields
    nearest = hops[-1] if hops else here
    chain = [forwarded_fields.get(_FOR) or format_x_forwarded_for(hops), here.address]
    if any(chain):
        yield _FOR, ", ".join(filter(None, chain))
    yield _PROTO, trace.proto() or here.proto or ""
    host = forwarded_fields.get(_HOST) or nearest.host or here.host
    if host is not None:
        yield _HOST, host
    yield (
        _FORWARDED,
        ", ".join([*_earlier(forwarded_fields, hops), format_forwarded([here])]),
    )


def _earlier(
    forwarded_fields: Mapping[bytes, str], hops: Sequence[Hop]
) -> Iterator[str]:
    """Return the ``Forwarded`` elements of the earlier hops."""
    if _FORWARDED in forwarded_fields and is_whole(forwarded_fields[_FORWARDED]):
        yield forwarded_fields[_FORWARDED]
    elif hops:
        # X-Forwarded-Host and -Proto are of the request that the nearest hop received.
        nearest = Hop(
            hops[-1].address, forwarded_fields.get(_HOST), forwarded_fields.get(_PROTO)
        )
        yield format_forwarded([*hops[:-1], nearest])
