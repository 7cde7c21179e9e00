"""
The parser of ``Forwarded`` (RFC 7239) and ``X-Forwarded-For``.

Both list the hops of a request, the nearest last, and are parsed from the end: a client
can have written thousands of hops, none of which is trusted. An invalid element is an
unknown hop and never an error, since proxies pass on what clients have sent.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from itertools import islice
from typing import Final

#: The number of hops that are parsed, counted from the nearest. No chain of proxies is
#: as long; a client can send thousands of hops to keep the server busy.
MOST_HOPS: Final = 100

#: The number of parameters of a hop that are parsed: RFC 7239, section 5, has four.
_MOST_PAIRS: Final = 16

#: The number of nodes that are cached, and the greatest length of a cached node in
#: characters: an IPv6 address in brackets with a port has 53.
_REMEMBERED: Final = 1024
_SHORT: Final = 64

#: The only addresses that can have a zone (RFC 4007, section 11).
_LINK_LOCAL: Final = IPv6Network("fe80::/10")

#: Optional white space (RFC 9110, section 5.6.3).
_OWS: Final = " \t"

#: A token, the only value that needs no quotes (RFC 9110, section 5.6.2).
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# A quoted string (RFC 9110, section 5.6) at any position.
_STRING = r'"(?:[^"\\]++|\\.)*+"'
_WHOLE = re.compile(rf'(?:[^"]++|{_STRING})*+', re.DOTALL)
#: The text between separators; an unterminated quoted string reaches to the end.
_PARTS = {
    separator: re.compile(
        rf'((?:[^"{separator}]++|{_STRING}|".*+)*+)(?:{separator}|\Z)', re.DOTALL
    )
    for separator in ",;"
}


@dataclass(frozen=True)
class Hop:
    """
    One hop: what a proxy has reported about the request that it received.

    :param address: the IP address of its peer; None if it is unknown, obfuscated, or
        not an address.
    :param host: the Host field, if reported.
    :param proto: ``"http"`` or ``"https"``, if reported.
    """

    address: str | None
    host: str | None = None
    proto: str | None = None


def parse_forwarded(value: str, most: int = MOST_HOPS) -> Iterator[Hop]:
    """
    Parse the hops of a ``Forwarded`` value (RFC 7239, section 4).

    :param value: the field's value.
    :param most: the number of elements that are parsed, empty ones included. If the
        list is longer, the last hop returned has no address; it represents all hops
        that are farther away.
    :returns: the hops, the nearest first, each parsed when it is iterated over.
    """
    if '"' in value:
        elements = _PARTS[","].findall(value)
        if not elements[-1]:  # the pattern matches the end of the value, too
            elements.pop()
        return _hops(elements, _hop, most)
    return _hops(value.rsplit(",", most), _hop, most)


def is_whole(value: str) -> bool:
    """Return whether all quoted strings of ``value`` end, so it can be appended to."""
    return _WHOLE.fullmatch(value) is not None


def parse_x_forwarded_for(value: str, most: int = MOST_HOPS) -> Iterator[Hop]:
    """
    Parse the hops of an ``X-Forwarded-For`` value.

    :param value: the field's value.
    :param most: as for `parse_forwarded`.
    :returns: as for `parse_forwarded`.
    """
    return _hops(value.rsplit(",", most), lambda node: Hop(address_of(node)), most)


def format_forwarded(hops: Iterable[Hop]) -> str:
    """Return hops as a ``Forwarded`` value."""
    return ", ".join(";".join(_pairs(hop)) for hop in hops)


def format_x_forwarded_for(hops: Iterable[Hop]) -> str:
    """Return hops as an ``X-Forwarded-For`` value."""
    return ", ".join(hop.address or "unknown" for hop in hops)


def address_of(node: str) -> str | None:
    """
    Parse the address of a node, such as ``192.0.2.1`` or ``[2001:db8::1]:8080``.

    :returns: the address in the form of `plain`, None if there is none.
    """
    return _short_address(node) if len(node) <= _SHORT else _address(node)


@lru_cache(_REMEMBERED)
def _short_address(node: str) -> str | None:
    return _address(node)


def _address(node: str) -> str | None:
    if node.startswith("["):
        host = node[1:].partition("]")[0]
    elif node.count(":") == 1:
        host = node.partition(":")[0]
    else:
        host = node
    try:
        return str(plain(host))
    except ValueError:
        return None


def plain(address: str) -> IPv4Address | IPv6Address:
    """
    Parse an address to the normal form in which addresses are compared and written.

    An IPv4-mapped IPv6 address, as a dual-stack socket reports it, becomes IPv4, and a
    link-local address loses its zone. No other address may have a zone.

    :raises ValueError: ``address`` is not an IP address.
    """
    digits, percent, zone = address.partition("%")
    found = ip_address(digits)
    if percent and (not zone or found not in _LINK_LOCAL):
        raise ValueError(f"a zone of an address without zones: {address!r}")
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _pairs(hop: Hop) -> Iterator[str]:
    node = hop.address or "unknown"
    yield f"for={_quoted(f'[{node}]' if ':' in node else node)}"
    if hop.host is not None:
        yield f"host={_quoted(hop.host)}"
    if hop.proto is not None:
        yield f"proto={_quoted(hop.proto)}"


def _quoted(value: str) -> str:
    if _TOKEN.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _hops(
    elements: Sequence[str], read: Callable[[str], Hop], most: int
) -> Iterator[Hop]:
    """Parse the last ``most`` elements; of a longer list, the last hop is unknown."""
    is_longer = len(elements) > most
    for element in reversed(elements[1 - most :] if is_longer else elements):
        text = element.strip(_OWS)
        if text:
            yield read(text)
    if is_longer:
        yield Hop(None)


def _hop(element: str) -> Hop:
    found: dict[str, str] = {}
    for pair in islice(_pairs_of(element), _MOST_PAIRS):
        name, _, value = pair.partition("=")
        found.setdefault(name.strip(_OWS).lower(), _unquoted(value.strip(_OWS)))
    return Hop(address_of(found.get("for", "")), found.get("host"), found.get("proto"))


def _unquoted(value: str) -> str:
    if value[:1] != '"':
        return value
    # Split at pairs of backslashes first, each of which is one backslash. All other
    # backslashes are removed.
    parts = value[1:].removesuffix('"').split("\\\\")
    return "\\".join(part.replace("\\", "") for part in parts)


def _pairs_of(element: str) -> Iterator[str]:
    """Split an element at each ``;`` that is not inside a quoted string."""
    if '"' in element:
        return (found[1] for found in _PARTS[";"].finditer(element))
    return iter(element.split(";", _MOST_PAIRS))
