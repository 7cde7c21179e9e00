"""Headers of the PROXY protocol: those of the specification, and all others."""

import struct
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.syntax.proxy_protocol import (
    LONGEST,
    ProxyHeader,
    ProxyHeaderError,
    read,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
SOURCE = bytes([192, 0, 2, 1])
INET = SOURCE + bytes([10, 0, 0, 1]) + struct.pack("!HH", 56324, 443)
INET6 = IPv6Address("2001:db8::1").packed * 2 + struct.pack("!HH", 56324, 443)
UNIX = b"/run/a".ljust(108, b"\0") * 2
CLIENT = ("192.0.2.1", 56324)
#: The answer to the connection's own proxy, and to what has no address.
NOBODY = None


def v2(kind: int, rest: bytes, command: int = 0x21) -> bytes:
    """Write a header of version 2."""
    return SIGNATURE + struct.pack("!BBH", command, kind, len(rest)) + rest


def tlv(kind: int, value: bytes) -> bytes:
    """Write an extension."""
    return struct.pack("!BH", kind, len(value)) + value


def ssl(client: int) -> bytes:
    """Write the extension that tells of TLS."""
    version = tlv(0x21, b"TLSv1.3")
    return tlv(0x20, bytes([client]) + struct.pack("!I", 0) + version)


def crc32c(data: bytes) -> int:
    """Make a CRC-32C bit by bit."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 * (value & 1))
    return value ^ 0xFFFFFFFF


class HeaderCase(SynchronousTestCase):
    """Headers that come whole, bit by bit, and with a request behind them."""

    def assert_read(
        self,
        header: bytes,
        source: object,
        *,
        secure: bool = False,
        versions: tuple[str, ...] = ("v1", "auto"),
    ) -> None:
        for allowed in versions:
            for end in range(len(header)):
                self.assertIsNone(read(header[:end], allowed), (header, end))
            for behind in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\0\xff"):
                found = read(header + behind, allowed)
                self.assertEqual(
                    found,
                    ProxyHeader(len(header), source, secure),  # type: ignore[arg-type]
                )

    def assert_refused(self, data: bytes, why: str, versions: str = "auto") -> None:
        with self.assertRaises(ProxyHeaderError, msg=repr(data)) as caught:
            read(data, versions)
        self.assertIn(why, str(caught.exception))


class LineTests(HeaderCase):
    """Version 1 (section 2.1)."""

    def test_example(self) -> None:
        """That of the specification."""
        self.assert_read(
            b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
            ("192.168.0.1", 56324),
        )

    def test_longest(self) -> None:
        """Those whose length the specification counts."""
        full = b":".join([b"ffff"] * 8)
        self.assert_read(
            b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            ("255.255.255.255", 65535),
        )
        self.assert_read(
            b"PROXY TCP6 %b %b 65535 65535\r\n" % (full, full),
            (full.decode(), 65535, 0, 0),
        )
        unknown = b"PROXY UNKNOWN %b %b 65535 65535\r\n" % (full, full)
        self.assertEqual(len(unknown), 107)
        self.assert_read(unknown, NOBODY)

    def test_ipv6(self) -> None:
        for text in (b"2001:DB8::1", b"2001:db8:0:0:0:0:0:1"):
            self.assert_read(
                b"PROXY TCP6 %b ::1 0 443\r\n" % text, ("2001:db8::1", 0, 0, 0)
            )

    def test_unknown(self) -> None:
        """Whatever follows is ignored."""
        for rest in (b"", b" ", b" nonsense", b" 1.2.3.4 \n \r \0 \xff"):
            self.assert_read(b"PROXY UNKNOWN%b\r\n" % rest, NOBODY)

    def test_malformed(self) -> None:
        good = b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n"
        for part, wrong in (
            (b"TCP4", b"tcp4"),
            (b"TCP4", b"TCP5"),
            (b"TCP4", b"TCP6"),
            (b"TCP4", b"UDP4"),
            (b"TCP4", b"UNKNOWNS"),
            (b"TCP4 ", b"TCP4  "),
            (b"192.0.2.1", b"192.0.2"),
            (b"192.0.2.1", b"192.0.2.01"),
            (b"192.0.2.1", b"192.0.2.256"),
            (b"192.0.2.1", b"::1"),
            (b"192.0.2.1", b"shop.example"),
            (b"192.0.2.1", b"192.0.2.\xb2"),
            (b"192.0.2.1", b""),
            (b"10.0.0.1", b"10.0.0.1/8"),
            (b" 1 ", b" 01 "),
            (b" 1 ", b" -1 "),
            (b" 1 ", b" 65536 "),
            (b" 1 ", b" 123456 "),
            (b" 2\r", b" 65536\r"),
            (b" 2\r", b"\r"),
            (b" 2\r", b" 2 \r"),
            (b" 2\r", b" 2 3\r"),
            (b" 2\r", b" 2\n\r"),
        ):
            self.assert_refused(good.replace(part, wrong, 1), "PROXY line")
        self.assert_refused(b"PROXY TCP6 fe80::1%lo ::1 1 2\r\n", "malformed")

    def test_without_an_end(self) -> None:
        """Neither half of CRLF is one."""
        for end in (b"\n", b"\r", b"\n\r", b""):
            line = b"PROXY UNKNOWN" + end
            self.assertIsNone(read(line, "v1"))
            self.assert_refused(line.ljust(107, b"x"), "more than 107 bytes")
            self.assert_refused(line.ljust(107, b"x") + b"\r\n", "107 bytes")


class BinaryTests(HeaderCase):
    """Version 2 (section 2.2)."""

    def assert_v2(self, header: bytes, source: object, *, secure: bool = False) -> None:
        versions = ("v2", "auto")
        self.assert_read(header, source, secure=secure, versions=versions)

    def test_clients(self) -> None:
        """Over TCP, and over UDP to a proxy that speaks QUIC."""
        for kind in (0x11, 0x12):
            self.assert_v2(v2(kind, INET), CLIENT)
        for kind in (0x21, 0x22):
            self.assert_v2(v2(kind, INET6), ("2001:db8::1", 56324, 0, 0))

    def test_nobody(self) -> None:
        """Unix sockets, what is unspecified, and the proxy's own connections."""
        self.assert_v2(v2(0x31, UNIX), NOBODY)
        self.assert_v2(v2(0x32, UNIX), NOBODY)
        for kind in (0x00, 0x01, 0x10, 0x20):
            self.assert_v2(v2(kind, b""), NOBODY)
            self.assert_v2(v2(kind, INET + b"whatever" + ssl(1)), NOBODY)
        for kind in (0x00, 0x11, 0x21, 0x31, 0xFF):
            self.assert_v2(v2(kind, b"", command=0x20), NOBODY)
            self.assert_v2(v2(kind, INET + ssl(1) + b"\x03", command=0x20), NOBODY)

    def test_tls(self) -> None:
        for extension, secure in (
            (ssl(1), True),
            (ssl(7), True),
            (ssl(0), False),
            (ssl(6), False),
            (tlv(0x20, bytes([1, 0, 0, 0, 0])), True),
            (tlv(0x01, b"h2") + ssl(1) + tlv(0xEA, b"x"), True),
            (tlv(0x04, ssl(1)), False),
        ):
            self.assert_v2(v2(0x11, INET + extension), CLIENT, secure=secure)
        self.assert_v2(v2(0x31, UNIX + ssl(1)), NOBODY, secure=True)

    def test_malformed_tls(self) -> None:
        """An SSL extension that is cut says nothing of the client, nor does another."""
        for value in (b"", b"\x01", bytes([1, 0, 0, 0])):
            self.assert_refused(v2(0x11, INET + tlv(0x20, value)), "too short")
        for within in (b"\x21", b"\x21\0", b"\x21\0\x01", tlv(0x21, b"") + b"x"):
            extension = tlv(0x20, bytes([1, 0, 0, 0, 0]) + within)
            self.assert_refused(v2(0x11, INET + extension), "within an extension")
            self.assert_refused(v2(0x31, UNIX + extension), "within an extension")

    def test_checksum(self) -> None:
        """It is checked over all of the header, itself as zeroes (section 2.2.3)."""
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        for before, after in ((b"", b""), (tlv(0x04, b"xyz"), ssl(1))):
            blank = v2(0x11, INET + before + tlv(0x03, bytes(4)) + after)
            value = struct.pack("!I", crc32c(blank))
            good = v2(0x11, INET + before + tlv(0x03, value) + after)
            self.assert_v2(good, CLIENT, secure=bool(after))
            place = good.index(value)
            for at in (*range(16, 16 + len(INET)), *range(place, place + 4)):
                broken = bytearray(good)
                broken[at] ^= 0x40
                self.assert_refused(bytes(broken), "checksum")
        self.assert_refused(v2(0x11, INET + tlv(0x03, b"")), "checksum")
        self.assert_refused(v2(0x11, INET + tlv(0x03, bytes(4))), "checksum")

    def test_second_checksum(self) -> None:
        """There is one: each takes a look at the whole header."""
        two = tlv(0x03, bytes(4)) + tlv(0x03, bytes(4))
        blank = v2(0x11, INET + two)
        value = struct.pack("!I", crc32c(blank))
        first = v2(0x11, INET + tlv(0x03, value) + tlv(0x03, bytes(4)))
        self.assert_refused(first, "two checksums")

    def test_unknown_commands_and_families(self) -> None:
        for command in (0x00, 0x01, 0x11, 0x22, 0x2F, 0x31, 0xFF):
            self.assert_refused(v2(0x11, INET, command=command), "of command")
        for kind in (0x13, 0x1F, 0x41, 0xF0, 0x40):
            self.assert_refused(v2(kind, INET), "unknown family")

    def test_too_short(self) -> None:
        for kind, rest in ((0x11, INET), (0x21, INET6), (0x31, UNIX)):
            self.assert_refused(v2(kind, rest[:-1]), "too short")
        for rest in (b"\x04", b"\x04\0", b"\x04\0\x01", b"\x20\xff\xff" + bytes(99)):
            self.assert_refused(v2(0x11, INET + rest), "within an extension")

    def test_longest(self) -> None:
        """It is refused when its length is known, not when it has come."""
        rest = LONGEST - 16 - len(INET) - 3
        self.assert_v2(v2(0x11, INET + tlv(0x04, bytes(rest))), CLIENT)
        longer = v2(0x11, INET + tlv(0x04, bytes(rest + 1)))
        self.assert_refused(longer[:16], "more than 4096 bytes")
        self.assert_refused(v2(0x00, bytes(65535), command=0x20)[:16], "4096 bytes")


class VersionTests(HeaderCase):
    """Which headers a listener takes."""

    def test_the_other_version(self) -> None:
        """It is known by its first byte."""
        self.assert_refused(b"PROXY UNKNOWN\r\n", "of v1, not v2", "v2")
        self.assert_refused(b"P", "of v1, not v2", "v2")
        self.assert_refused(v2(0x11, INET), "of v2, not v1", "v1")
        self.assert_refused(b"\r", "of v2, not v1", "v1")

    def test_none(self) -> None:
        """Requests, the first bytes of TLS, and what only begins like a header."""
        for data in (
            b"G",
            b"GET / HTTP/1.1\r\n",
            b"POST / HTTP/1.1\r\n",
            b"PROXYS",
            b"proxy TCP4",
            b"\r\n\r\n\r\n",
            b"\x16\x03\x01",
            b"\0",
        ):
            for versions in ("v1", "v2", "auto"):
                with self.assertRaises(ProxyHeaderError):
                    read(data, versions)

    def test_nothing_yet(self) -> None:
        for versions in ("v1", "v2", "auto"):
            self.assertIsNone(read(b"", versions))


HEADERS = st.one_of(
    st.binary(max_size=120),
    st.builds(bytes.__add__, st.just(b"PROXY "), st.binary(max_size=120)),
    st.from_regex(
        rb"PROXY (TCP4|TCP6|UNKNOWN) [0-9a-f.:]{0,20} [0-9a-f.:]{0,20} \d{0,5} \d+\r\n"
    ),
    st.builds(
        v2,
        st.integers(0, 255),
        st.binary(max_size=300),
        st.sampled_from([0x20, 0x21, 0x21, 0x21, 0x11]),
    ),
    st.builds(
        lambda rest: v2(0x11, INET + b"".join(rest)),
        st.lists(st.builds(tlv, st.integers(0, 255), st.binary(max_size=20))),
    ),
)


class FuzzTests(SynchronousTestCase):
    """Whatever comes is a header, the beginning of one, or refused."""

    @given(HEADERS, st.sampled_from(["v1", "v2", "auto"]), st.binary(max_size=9))
    def test_anything(self, data: bytes, versions: str, behind: bytes) -> None:
        """What is found does not depend on the pieces, nor on what is behind it."""
        try:
            found = read(data, versions)
        except ProxyHeaderError:
            found = None
            self.assertRaises(ProxyHeaderError, read, data + behind, versions)
        if found is None:
            return
        self.assertLessEqual(found.length, len(data))
        header = data[: found.length]
        self.assertEqual(read(header + behind, versions), found)
        for end in range(found.length):
            self.assertIsNone(read(header[:end], versions))

    @given(st.ip_addresses(), st.integers(0, 65535), st.ip_addresses(), st.booleans())
    def test_both_versions_say_the_same(
        self,
        source: IPv4Address | IPv6Address,
        port: int,
        target: IPv4Address | IPv6Address,
        secure: bool,
    ) -> None:
        kind = type(source)
        target = kind(int(target) % 2**32)
        four = kind is IPv4Address
        name = (str(source), port) if four else (str(source), port, 0, 0)
        line = f"PROXY {'TCP4' if four else 'TCP6'} {source} {target} {port} 443\r\n"
        self.assertEqual(read(line.encode(), "auto"), ProxyHeader(len(line), name))
        ports = struct.pack("!HH", port, 443)
        rest = source.packed + target.packed + ports + ssl(secure)
        header = v2(0x11 if four else 0x21, rest)
        self.assertEqual(read(header, "auto"), ProxyHeader(len(header), name, secure))
