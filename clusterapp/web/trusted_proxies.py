"""
Who the client is behind proxies, and what to tell the core about it.

Each proxy writes down where it had a request from. A client can write the same
fields, so what they say counts only as far back as every hop is trusted.
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
from clusterapp.web.forwarded_header import (
    MOST_HOPS,
    Hop,
    format_forwarded,
    format_x_forwarded_for,
    is_whole,
    parse_forwarded,
    parse_x_forwarded_for,
    plain,
)

#: Entries that are no addresses: peers on a Unix socket, and all peers.
UNIX = "unix"
EVERYONE = "*"

_FOR = b"X-Forwarded-For"
_PROTO = b"X-Forwarded-Proto"
_HOST = b"X-Forwarded-Host"
_FORWARDED = b"Forwarded"
_OURS = {name.lower(): name for name in (_FOR, _PROTO, _HOST, _FORWARDED)}

#: What the protocol is called where a proxy has taken TLS away.
_SECURE = frozenset({"https", "wss"})

#: How many peers, and what is said of how many, is remembered.
_REMEMBERED = 1024
#: The longest Host that is remembered, in bytes: a name has 253 (RFC 1035, 2.3.4).
_SHORT = 260

#: The part of an IPv6 address that mapping an IPv4 address fills (RFC 4291, 2.5.5.2).
_MAPPED = IPv6Network("::ffff:0:0/96")


class _Trace(NamedTuple):
    """
    The way from a peer back to the client, as far as it is trusted.

    :ivar client: the client's IP address; None if it is not known.
    :ivar back: how many hops the client is behind the peer; 0 if it is the peer.
    :ivar told: what a trusted peer wrote.
    :ivar last: what is said of the client's own hop.
    """

    client: str | None
    back: int = 0
    told: Mapping[bytes, str] = MappingProxyType({})
    last: Hop | None = None

    def proto(self) -> str | None:
        """Tell what the client spoke with who took its request; None if unknown."""
        given = self.told.get(_PROTO, "").rsplit(",", MOST_HOPS)[-MOST_HOPS:]
        protos = [proto for part in given if (proto := part.strip())]
        if protos:
            # Whoever appends to it does so along with the addresses; further left is
            # what the client may have written itself.
            return protos[-min(max(self.back, 1), len(protos))]
        return (self.last and self.last.proto) or None


class TrustedProxies:
    """
    The peers whose word about the client counts.

    :param entries: IP addresses, networks as ``address/bits``, ``unix`` for peers on
        a Unix socket, ``*`` for every peer.
    :raises SettingsError: an entry is none of these.
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
        """Whether every peer's word counts."""
        return self._everyone

    @property
    def networks(self) -> Sequence[IPv4Network | IPv6Network]:
        """The addresses of those whose word counts."""
        return self._networks

    def trusts(self, address: str | None) -> bool:
        """
        Whether a peer's word counts.

        :param address: its IP address; None for a peer that has none, on a Unix
            socket. What is not an address is trusted by ``*`` alone.
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
        Whether a peer's word counts.

        :param name: its address as accept(2) gives it.
        """
        return self._seen(name[0] if isinstance(name, tuple) else None)[1]

    def client_of(self, peer: IAddress, fields: Fields) -> str | None:
        """
        Find the client: the right-most address that is not trusted.

        It is searched among the nearest `MOST_HOPS` hops.

        :param peer: the other end of the connection.
        :param fields: the request's fields; ``X-Forwarded-For`` is believed before
            ``Forwarded``. A trusted proxy must itself write or remove them both.
        :returns: its IP address; the farthest one if all are trusted; None when it
            is not known (a Unix peer that does not tell, an obfuscated hop, more
            trusted hops than are read).
        """
        return self._trace(peer, fields).client

    def address_of_client(self, peer: IAddress, fields: Fields) -> IAddress:
        """
        Find the client, as Twisted writes addresses.

        :returns: its address, whose port is 0 unless the peer is the client; the
            peer's address if the client is not known.
        """
        client, back, *_ = self._trace(peer, fields)
        if client is None:
            return peer
        if back:
            return (IPv6Address if ":" in client else IPv4Address)("TCP", client, 0)
        return _with_port(client, peer)

    def is_secure(self, peer: IAddress, fields: Fields, *, secure: bool) -> bool:
        """
        Find out whether the client came over TLS.

        ``X-Forwarded-Proto`` is believed as far back as the addresses are, and
        ``Forwarded`` where its addresses are. A trusted proxy must itself write or
        remove them.

        :param secure: whether the connection from the peer is encrypted; this counts
            if a trusted peer does not tell, or is the client.
        """
        proto = self._trace(peer, fields).proto()
        return secure if proto is None else proto.lower() in _SECURE

    def forwarded(self, *, peer: IAddress, secure: bool, fields: Fields) -> Fields:
        """
        Say in a request's fields where it came from.

        ``X-Forwarded-For``, ``-Proto``, ``-Host`` and ``Forwarded`` (RFC 7239) are
        written anew, after all others, which are untouched. What a trusted peer
        wrote in them is kept, and this hop appended to the two lists; one list is
        made from the other when it wrote only that (RFC 7239, section 7.4). Of a list
        of protocols only the client's is kept.

        Hop-by-hop fields must have been removed before: ``Connection:
        X-Forwarded-For`` would otherwise remove what is said here.

        :param peer: the other end of the connection.
        :param secure: whether the request came over TLS.
        :param fields: the request's fields.
        """
        address, trusted = self._seen(_host_of(peer))
        others, told = [], []
        host = None
        for field in fields:
            name = field[0].lower()
            if name in _OURS:
                told.append(field)
                continue
            others.append(field)
            if host is None and name == b"host":
                host = field[1]
        if trusted and told:
            known = _told(told)
            hops = list(_hops_back(known, self._most_hops(address)))
            trace = self._follow(address, known, hops)
            said = _written(trace, address, host, hops, secure=secure)
        else:
            said = _said_of_the_first_hop(address, host, secure=secure)
        return [*others, *said]

    def _trace(self, peer: IAddress, fields: Fields) -> "_Trace":
        """Go back from a peer to the client."""
        address, trusted = self._seen(_host_of(peer))
        if not trusted:
            return _Trace(address)
        told = _told(fields)
        return self._follow(address, told, _hops_back(told, self._most_hops(address)))

    def _most_hops(self, _address: str | None) -> int:
        """Return how many hops are read that the peer of this address has told."""
        return MOST_HOPS

    def _follow(
        self, address: str | None, told: Mapping[bytes, str], hops: Iterable[Hop]
    ) -> "_Trace":
        """Go back from a peer that is trusted."""
        back, hop = 0, None
        for back, hop in enumerate(hops, start=1):  # noqa: B007
            address = hop.address
            if address is None or not self._trusts(address):
                break  # the client, or one behind which nothing is known
        return _Trace(address, back, told, hop)

    def _look_at(self, host: str | None) -> tuple[str | None, bool]:
        """Tell a peer's address as `plain` writes it, and whether its word counts."""
        address = None if host is None else str(plain(host))
        return address, self.trusts(address)


class TrustedInCore(TrustedProxies):
    """
    Who is believed in the core, whose peers are this project's own workers.

    Their word always counts: only they can connect to its Unix socket, or have the
    certificates of its TLS listeners. They tell their own peers as the nearest hop,
    and that is where the settings' trust begins.
    """

    def address_of_client(self, peer: IAddress, fields: Fields) -> IAddress:
        """
        Find the client, as Twisted writes addresses; `TrustedProxies` has the rest.

        :param peer: the worker's peer, whom the worker also tells as the nearest hop.
        """
        client, back, *_ = self._trace(peer, fields)
        if back == 1 and client is not None and client == self._seen(_host_of(peer))[0]:
            # It is the client itself, and its port is known.
            return _with_port(client, peer)
        return super().address_of_client(peer, fields)

    def _look_at(self, host: str | None) -> tuple[str | None, bool]:
        return super()._look_at(host)[0], True

    def _most_hops(self, address: str | None) -> int:
        # As many as the worker has read, behind its own peer, which has no hop in
        # X-Forwarded-For if it has no address.
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
    """Return the host of an Internet peer."""
    if isinstance(peer, IPv4Address | IPv6Address):
        return str(peer.host)
    return None


def _said_of_the_first_hop(
    address: str | None, host: bytes | None, *, secure: bool
) -> Sequence[tuple[bytes, bytes]]:
    """Write the four fields where nobody, or nobody who is trusted, wrote any."""
    if len(host or b"") > _SHORT:
        return _written(_Trace(address), address, host, secure=secure)
    return _said_often(address, host, secure=secure)


@lru_cache(_REMEMBERED)
def _said_often(
    address: str | None, host: bytes | None, *, secure: bool
) -> Sequence[tuple[bytes, bytes]]:
    return _written(_Trace(address), address, host, secure=secure)


def _written(
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
        (name, value.encode("latin-1")) for name, value in _say(trace, hops[::-1], here)
    ]


def _told(fields: Fields) -> Mapping[bytes, str]:
    """Collect what fields say of earlier hops, the lines of each joined to one."""
    told: dict[bytes, str] = {}
    for name, value in fields:
        ours = _OURS.get(name.lower())
        text = value.decode("latin-1").strip()
        if ours is not None and text:
            told[ours] = f"{told[ours]}, {text}" if ours in told else text
    return told


def _hops_back(told: Mapping[bytes, str], most: int) -> Iterator[Hop]:
    """Read the earlier hops, nearest first, one by one."""
    if _FOR in told:
        return parse_x_forwarded_for(told[_FOR], most)
    return parse_forwarded(told.get(_FORWARDED, ""), most)


def _say(trace: _Trace, hops: Sequence[Hop], here: Hop) -> Iterator[tuple[bytes, str]]:
    """
    Write the four fields from what earlier hops told and what is seen here.

    :param hops: the earlier hops, the nearest last.
    """
    told = trace.told
    nearest = hops[-1] if hops else here
    chain = [told.get(_FOR) or format_x_forwarded_for(hops), here.address]
    if any(chain):
        yield _FOR, ", ".join(filter(None, chain))
    yield _PROTO, trace.proto() or here.proto or ""
    host = told.get(_HOST) or nearest.host or here.host
    if host is not None:
        yield _HOST, host
    yield _FORWARDED, ", ".join([*_earlier(told, hops), format_forwarded([here])])


def _earlier(told: Mapping[bytes, str], hops: Sequence[Hop]) -> Iterator[str]:
    """Write what earlier hops told as a part of ``Forwarded``."""
    if _FORWARDED in told and is_whole(told[_FORWARDED]):
        yield told[_FORWARDED]
    elif hops:
        # X-Forwarded-Host and -Proto are of the request that the nearest received.
        nearest = Hop(hops[-1].address, told.get(_HOST), told.get(_PROTO))
        yield format_forwarded([*hops[:-1], nearest])
