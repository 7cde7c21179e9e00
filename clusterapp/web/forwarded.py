"""
The syntax of ``Forwarded`` (RFC 7239) and of ``X-Forwarded-For``.

Both list the hops of a request, the nearest last, and are read from there: a client
may have written thousands, of which none counts. What cannot be understood is an
unknown hop and never an error: proxies pass on what clients wrote.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

#: What RFC 9110, section 5.6.2 lets stand without quotes.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# A quoted string of the same section, wherever it begins.
_STRING = r'"(?:[^"\\]++|\\.)*+"'
_WHOLE = re.compile(rf'(?:[^"]++|{_STRING})*+', re.DOTALL)
#: What stands between separators; a string that does not end reaches to the end.
_PARTS = {
    separator: re.compile(rf'(?:[^"{separator}]++|{_STRING}|".*+)*+', re.DOTALL)
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


def parse_forwarded(value: str) -> Iterator[Hop]:
    """
    Read the hops of a ``Forwarded`` value (RFC 7239, section 4).

    :returns: the nearest first, each read when it is asked for.
    """
    return (_hop(part) for part in reversed(_split(value, ",")) if part.strip())


def is_whole(value: str) -> bool:
    """Whether more can be appended to ``value`` without ending up inside quotes."""
    return _WHOLE.fullmatch(value) is not None


def parse_x_forwarded_for(value: str) -> Iterator[Hop]:
    """
    Read the hops of an ``X-Forwarded-For`` value.

    :returns: as those of `parse_forwarded`.
    """
    parts = map(str.strip, reversed(value.split(",")))
    return (Hop(address_of(part)) for part in parts if part)


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
    IPv4 again, and a link-local address has no zone.

    :raises ValueError: ``address`` is none.
    """
    found = ip_address(address.partition("%")[0])
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


def _hop(element: str) -> Hop:
    found: dict[str, str] = {}
    for pair in _split(element, ";"):
        name, _, value = pair.partition("=")
        found.setdefault(name.strip().lower(), _unquoted(value.strip()))
    return Hop(address_of(found.get("for", "")), found.get("host"), found.get("proto"))


def _unquoted(value: str) -> str:
    if value[:1] != '"':
        return value
    return re.sub(r"\\(.)", r"\1", value[1:].removesuffix('"'), flags=re.DOTALL)


def _split(value: str, separator: str) -> list[str]:
    """Divide at ``separator`` wherever it is not inside a quoted string."""
    part, parts, begin = _PARTS[separator], [], 0
    while begin <= len(value):
        found = part.match(value, begin)
        assert found is not None  # noqa: S101 - it matches anything, if only nothing
        parts.append(found[0])
        begin = found.end() + 1
    return parts
