"""The authority of a request's URL (RFC 3986, section 3.2; RFC 9110, section 7.2)."""

import re
from functools import lru_cache
from typing import Final

#: The default ports, which a URL omits, by scheme (RFC 9110, section 4.2).
DEFAULT_PORTS: Final = {b"http": 80, b"https": 443}

#: The longest port that is parsed, in digits; 65535 has 5, more may be leading zeros.
_LONGEST_PORT: Final = 8

#: The longest Host that is cached, in bytes.
_SHORT: Final = 256

#: RFC 9110, section 7.2: a host and a port, without user information. It may be empty,
#: for a target that has no authority.
_HOST: Final = re.compile(
    rb"(?:\[(?:[0-9A-Fa-f:.]+|[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\]"
    rb"|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)"
    rb"(?::[0-9]*)?"
)


def is_host(text: bytes) -> bool:
    """Return whether a text is a valid value of a Host field; it may be empty."""
    return (_is_short_host if len(text) <= _SHORT else _is_host)(text)


def _is_host(text: bytes) -> bool:
    return _HOST.fullmatch(text) is not None


# Clients request the same few hosts. The cache is bounded to 256 KiB.
_is_short_host = lru_cache(1024)(_is_host)


def split_host(value: bytes) -> tuple[bytes, bytes]:
    """
    Split the value of a Host field.

    :param value: ``name``, ``name:port``, ``[address]:port``, or less.
    :return: the name or address, without brackets, and the port as text; either may be
        empty.
    """
    if value.startswith(b"["):
        name, _, rest = value[1:].partition(b"]")
        return name, rest.removeprefix(b":")
    if value.count(b":") > 1:
        return value, b""  # an IPv6 address that was set without brackets
    name, _, port = value.partition(b":")
    return name, port


def port_of(value: bytes | None, scheme: bytes) -> int:
    """
    Return the port of a Host field; the default port of the scheme if it has none.

    :param value: the field's value; None if there is no such field.
    :param scheme: ``b"http"`` or ``b"https"``.
    """
    port = split_host(value or b"")[1]
    if port.isdigit() and len(port) <= _LONGEST_PORT:
        return int(port)
    return DEFAULT_PORTS[scheme]


def authority(value: bytes | None, scheme: bytes, host: str, port: int) -> bytes:
    """
    Return the authority of the URL under which the client reaches the resource.

    :param value: the value of its Host field; None if it has sent none.
    :param scheme: the URL's scheme, ``b"http"`` or ``b"https"``.
    :param host: the host that the client has connected to, if it has sent none.
    :param port: the port that it has connected to.
    """
    if value and split_host(value)[0]:
        bare = value.count(b":") > 1 and not value.startswith(b"[")
        return b"[%b]" % value if bare else value
    # A zone has no meaning for the client (RFC 6874, section 1).
    name = f"[{host.partition('%')[0]}]" if ":" in host else host
    if port == DEFAULT_PORTS[scheme]:
        return name.encode("ascii")
    return b"%b:%d" % (name.encode("ascii"), port)
