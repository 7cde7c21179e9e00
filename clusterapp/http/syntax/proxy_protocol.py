"""
The header of the PROXY protocol, with which a load balancer sends a client's address.

It precedes everything else on a connection, TLS included. Versions 1 and 2 are parsed
strictly by HAProxy's proxy-protocol.txt: a malformed header is an error, as soon as it
is detectable. Sans-I/O.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

#: The longest line of version 1 (section 2.1).
_LONGEST_LINE: Final = 107

#: The longest header of version 2. The protocol allows up to 65551 bytes (section 2.2),
#: and calls headers that fit into one segment usual; of the extensions in use the
#: longest is a client's certificate, of some KiB. A process that peeks at a header
#: reads all of it again for each segment that arrives.
LONGEST: Final = 4096

_LINE_BEGINS: Final = b"PROXY "
_LINE: Final = re.compile(
    rb"PROXY (?:UNKNOWN(?: .*)?"
    rb"|(?P<kind>TCP4|TCP6) (?P<source>\S+) (?P<target>\S+)"
    rb" (?P<port>0|[1-9]\d{0,4}) (?P<target_port>0|[1-9]\d{0,4}))",
    re.DOTALL,
)
_MOST_PORTS: Final = 65535

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
#: Signature, version and command, family and transport, length of the rest.
_FIXED: Final = struct.Struct("!12sBBH")
_VERSION: Final = 2
_LOCAL, _PROXY = 0, 1
_UNSPECIFIED, _INET, _INET6, _UNIX = 0, 1, 2, 3
_DATAGRAM: Final = 2  # the last transport that is defined
#: The layout of a family's addresses: source, target, and their ports.
_ADDRESSES: Final = {
    _INET: struct.Struct("!4s4sHH"),
    _INET6: struct.Struct("!16s16sHH"),
    _UNIX: struct.Struct("!108s108s"),
}

_EXTENSION: Final = struct.Struct("!BH")
_CRC32C: Final = 0x03
_SSL: Final = 0x20
#: An SSL extension begins with flags about the client's TLS, and with the result of
#: verifying its certificate (section 2.2.6); further extensions follow.
_SSL_FIXED: Final = struct.Struct("!BI")
#: The flag that is set if the client uses TLS.
_CLIENT_SSL: Final = 0x01

Source = tuple[str, int] | tuple[str, int, int, int]


class ProxyHeaderError(ValueError):
    """The first bytes of a connection are not a PROXY header that is allowed there."""


@dataclass(frozen=True)
class ProxyHeader:
    """
    The contents of a header.

    :ivar length: the length of the header in bytes.
    :ivar source: the client's address as returned by accept(2); None if the connection
        is the proxy's own, or its client has no Internet address.
    :ivar secure: whether the client uses TLS.
    """

    length: int
    source: Source | None = None
    secure: bool = False


def read(data: bytes, versions: str) -> ProxyHeader | None:
    """
    Parse the header at the beginning of a connection.

    :param data: the bytes received so far; more may follow the header.
    :param versions: the allowed versions: ``v1``, ``v2``, or ``auto`` for both.
    :return: None if more bytes are needed: then all of `data` belongs to the header.
    :raises ProxyHeaderError: if it is malformed, too long, or of another version.
    """
    if not data:
        return None
    for version, begins, read_version in (
        ("v1", _LINE_BEGINS, _read_line),
        ("v2", _SIGNATURE, _read_binary),
    ):
        if data[: len(begins)] == begins[: len(data)]:
            if versions not in (version, "auto"):
                raise ProxyHeaderError(f"a PROXY header of {version}, not {versions}")
            return read_version(data)
    raise ProxyHeaderError("no PROXY header")


def _read_line(data: bytes) -> ProxyHeader | None:
    """Parse a header of version 1 (section 2.1)."""
    line, end, _ = data[:_LONGEST_LINE].partition(b"\r\n")
    if end:
        return ProxyHeader(len(line) + len(end), _source_of(line))
    if len(data) >= _LONGEST_LINE:
        raise ProxyHeaderError(f"a PROXY line of more than {_LONGEST_LINE} bytes")
    return None


def _source_of(line: bytes) -> Source | None:
    found = _LINE.fullmatch(line)
    if found is None:
        raise ProxyHeaderError("a malformed PROXY line")
    if found["kind"] is None:
        return None
    kind = IPv4Address if found["kind"] == b"TCP4" else IPv6Address
    ports = int(found["port"]), int(found["target_port"])
    try:
        # Neither class accepts leading zeros in IPv4; a zone in IPv6 is not allowed
        # here.
        source, _ = (kind(found[name].decode("ascii")) for name in ("source", "target"))
    except ValueError:
        raise ProxyHeaderError("an address in a PROXY line that is none") from None
    if max(ports) > _MOST_PORTS or b"%" in line:
        raise ProxyHeaderError("a malformed PROXY line")
    return _sockname(source, ports[0])


def _sockname(address: IPv4Address | IPv6Address, port: int) -> Source:
    if isinstance(address, IPv4Address):
        return str(address), port
    return str(address), port, 0, 0


def _read_binary(data: bytes) -> ProxyHeader | None:
    """Parse a header of version 2 (section 2.2)."""
    if len(data) < _FIXED.size:
        return None
    _, version_command, kind, rest = _FIXED.unpack_from(data)
    version, command = divmod(version_command, 16)
    if version != _VERSION or command not in (_LOCAL, _PROXY):
        raise ProxyHeaderError(f"a PROXY header of command {version_command:#04x}")
    length = _FIXED.size + rest
    if length > LONGEST:
        raise ProxyHeaderError(f"a PROXY header of more than {LONGEST} bytes")
    family, transport = divmod(kind, 16)
    if command == _LOCAL:
        # The rest of a LOCAL header must be ignored.
        family = _UNSPECIFIED
    elif family > _UNIX or transport > _DATAGRAM:
        raise ProxyHeaderError(f"a PROXY header of the unknown family {kind:#04x}")
    if len(data) < length:
        return None
    if _UNSPECIFIED in (family, transport):
        return ProxyHeader(length)
    return _read_body(data[:length], family)


def _read_body(header: bytes, family: int) -> ProxyHeader:
    addresses = _ADDRESSES[family]
    begin = _FIXED.size + addresses.size
    if len(header) < begin:
        raise ProxyHeaderError("a PROXY header too short for its addresses")
    secure = is_checked = False
    for kind, start, value in _extensions(header, begin):
        if kind == _CRC32C:
            # Hundreds of checksums fit into a header, and each is computed over all of
            # it.
            if is_checked:
                raise ProxyHeaderError("a PROXY header with two checksums")
            is_checked = True
            _check_sum(header, start, value)
        elif kind == _SSL:
            secure = _client_had_tls(value)
    source, _, *ports = addresses.unpack_from(header, _FIXED.size)
    if family == _UNIX:
        return ProxyHeader(len(header), None, secure)
    made = IPv4Address(source) if family == _INET else IPv6Address(source)
    return ProxyHeader(len(header), _sockname(made, ports[0]), secure)


def _client_had_tls(value: bytes) -> bool:
    """
    Return whether an SSL extension says that the client uses TLS.

    :raises ProxyHeaderError: if it, or an extension within it, is too short.
    """
    if len(value) < _SSL_FIXED.size:
        raise ProxyHeaderError("a PROXY header whose SSL extension is too short")
    client, _ = _SSL_FIXED.unpack_from(value)
    list(_extensions(value, _SSL_FIXED.size))  # raises for a truncated one
    return bool(client & _CLIENT_SSL)


def _extensions(header: bytes, begin: int) -> Iterator[tuple[int, int, bytes]]:
    """Return the kind of each extension, the offset of its value, and the value."""
    while begin < len(header):
        start = begin + _EXTENSION.size
        if start > len(header):
            raise ProxyHeaderError("a PROXY header that ends within an extension")
        kind, length = _EXTENSION.unpack_from(header, begin)
        begin = start + length
        if begin > len(header):
            raise ProxyHeaderError("a PROXY header that ends within an extension")
        yield kind, start, header[start:begin]


def _check_sum(header: bytes, start: int, value: bytes) -> None:
    """Verify a header's checksum, computed with zeros in its place (2.2.3)."""
    blank = header[:start] + bytes(len(value)) + header[start + len(value) :]
    if value != _crc32c(blank).to_bytes(4, "big"):
        raise ProxyHeaderError("a PROXY header whose checksum is wrong")


def _crc32c(data: bytes) -> int:
    """Return the CRC-32C of bytes (RFC 9260, appendix A)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC_TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def _crc_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC_TABLE: Final = tuple(map(_crc_of_byte, range(256)))
