"""
The syntax of ``Forwarded`` (RFC 7239) and of ``X-Forwarded-For``.

Both list the hops of a request, the nearest last, and are read from there: a client
may have written thousands, of which none counts. What cannot be understood is an
unknown hop and never an error: proxies pass on what clients wrote.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from itertools import islice
from typing import Final

#: How many hops of a list are read, the nearest ones. No chain of proxies is as long;
#: a client may write thousands of hops to keep the server busy.
MOST_HOPS: Final = 100

#: How many parameters of a hop are read: RFC 7239, section 5, has four.
_MOST_PAIRS: Final = 16

#: How many nodes are remembered, and the longest that is, in characters: an IPv6
#: address in brackets with a port has 53.
_REMEMBERED: Final = 1024
_SHORT: Final = 64

#: The only addresses that are written with a zone (RFC 4007, section 11).
_LINK_LOCAL: Final = IPv6Network("fe80::/10")

#: Optional white space (RFC 9110, section 5.6.3).
_OWS: Final = " \t"

#: What RFC 9110, section 5.6.2 lets stand without quotes.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# A quoted string of the same section, wherever it begins.
_STRING = r'"(?:[^"\\]++|\\.)*+"'
_WHOLE = re.compile(rf'(?:[^"]++|{_STRING})*+', re.DOTALL)
#: What stands between separators; a string that does not end reaches to the end.
_PARTS = {
    separator: re.compile(
        rf'((?:[^"{separator}]++|{_STRING}|".*+)*+)(?:{separator}|\Z)', re.DOTALL
    )
    for separator in ",;"
}


@dataclass(frozen=True)
class Hop:
    """
    What one proxy said of the request that it received.

    :param address: the IP address that it came from; None when that is unknown,
        obfuscated, or not an address.
    :param host: its Host field, if that was told.
    :param proto: ``"http"`` or ``"https"``, if that was told.
    """

    address: str | None
    host: str | None = None
    proto: str | None = None


def parse_forwarded(value: str, most: int = MOST_HOPS) -> Iterator[Hop]:
    """
    Read the hops of a ``Forwarded`` value (RFC 7239, section 4).

    :param most: how many elements are read, empty ones included. Of a longer list the
        last hop returned has no address, and stands for all that are farther away.
    :returns: the nearest first, each read when it is asked for.
    """
    if '"' in value:
        elements = _PARTS[","].findall(value)
        if not elements[-1]:  # the pattern matches the end of the value, too
            elements.pop()
        return _hops(elements, _hop, most)
    return _hops(value.rsplit(",", most), _hop, most)


def is_whole(value: str) -> bool:
    """Whether more can be appended to ``value`` without ending up inside quotes."""
    return _WHOLE.fullmatch(value) is not None


def parse_x_forwarded_for(value: str, most: int = MOST_HOPS) -> Iterator[Hop]:
    """
    Read the hops of an ``X-Forwarded-For`` value.

    :param most: as that of `parse_forwarded`.
    :returns: as those of `parse_forwarded`.
    """
    return _hops(value.rsplit(",", most), lambda node: Hop(address_of(node)), most)


def format_forwarded(hops: Iterable[Hop]) -> str:
    """Write hops as a ``Forwarded`` value."""
    return ", ".join(";".join(_pairs(hop)) for hop in hops)


def format_x_forwarded_for(hops: Iterable[Hop]) -> str:
    """Write hops as an ``X-Forwarded-For`` value."""
    return ", ".join(hop.address or "unknown" for hop in hops)


def address_of(node: str) -> str | None:
    """
    Read the address of a node: ``192.0.2.1``, ``[2001:db8::1]:8080`` and the like.

    :returns: the address as `plain` writes it, or None if there is none.
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
    Read an address in the one way in which it is compared and written.

    An IPv4 address that is mapped into IPv6, as a socket for both reports it, is
    IPv4 again, and a link-local address has no zone. No other address may have one.

    :raises ValueError: ``address`` is none.
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
    """Read the last ``most`` elements; the last hop of more is an unknown one."""
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
    # Pairs of backslashes first: each stands for one. The other ones are removed.
    parts = value[1:].removesuffix('"').split("\\\\")
    return "\\".join(part.replace("\\", "") for part in parts)


def _pairs_of(element: str) -> Iterator[str]:
    """Divide an element at each ``;`` that is not inside a quoted string."""
    if '"' in element:
        return (found[1] for found in _PARTS[";"].finditer(element))
    return iter(element.split(";", _MOST_PAIRS))
