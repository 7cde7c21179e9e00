"""The field by which workers tell whose a request is."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.connection_limits import Limits
from clusterapp.http.syntax.client_origin import (
    LONGEST_CERTIFICATE,
    OWN_BYTES,
    Origin,
    read_origin,
)
from clusterapp.http.syntax.request_head import BadMessageError, HeadReader

PEER, HOST = IPv4Address("TCP", "192.0.2.1", 99), IPv6Address("TCP", "::1", 443)
_addresses = st.sampled_from([PEER, HOST, UNIXAddress(None)])


class FieldTests(SynchronousTestCase):
    """Its value."""

    @given(
        st.builds(
            Origin,
            _addresses,
            _addresses,
            st.booleans(),
            st.booleans(),
            st.none() | st.binary(min_size=1, max_size=300),
        )
    )
    def test_read_as_written(self, origin: Origin) -> None:
        """What one worker writes, the other one reads."""
        self.assertEqual(read_origin(origin.field[1]), origin)

    @given(st.binary(max_size=60) | st.text("01 .:-cert=no-hst", max_size=60))
    def test_anything(self, value: bytes | str) -> None:
        """Whatever comes is read or refused; nothing is raised."""
        if isinstance(value, str):
            value = value.encode()
        origin = read_origin(value)
        if origin is not None:
            self.assertEqual(read_origin(origin.field[1]), origin)

    def test_no_origins(self) -> None:
        for value in (
            b"0 192.0.2.1 99 ::1 443 cert=",
            b"0 192.0.2.1 99 ::1 443 cert=a",
            b"0 192.0.2.1 999999 ::1 443",
            b"0 \xff 9 ::1 443",
            b"0 192.0.2.1 99 ::1 443\n",
        ):
            self.assertIsNone(read_origin(value), value)

    def test_longest_certificate(self) -> None:
        """A longer one is not passed on, and what is fits into the room for it."""
        for length, passed in (
            (LONGEST_CERTIFICATE, True),
            (LONGEST_CERTIFICATE + 1, False),
        ):
            origin = Origin(PEER, HOST, secure=True, certificate=bytes(length))
            name, value = origin.field
            self.assertLess(len(name) + len(value) + 4, OWN_BYTES)
            read = read_origin(value)
            assert read is not None
            self.assertEqual(read.certificate is not None, passed)


class HeadTests(SynchronousTestCase):
    """Heads that have it."""

    LINE = b"Clusterapp-From: 1 192.0.2.1 99 ::1 443\r\n"

    def test_of_clients(self) -> None:
        """It is taken out, every line, and not believed."""
        reader = HeadReader(Limits())
        for line in (
            self.LINE,
            self.LINE.upper(),
            self.LINE * 2,
            b"CLUSTERAPP-from:\r\n",
        ):
            for _ in range(3):  # it may be remembered
                head = reader.read(
                    b"GET / HTTP/1.1\r\n%bHost: h\r\n%b\r\n" % (line, line)
                )
                self.assertEqual(list(head.fields), [(b"Host", b"h")])
                self.assertIsNone(head.origin)

    def test_of_workers(self) -> None:
        """It is believed if it is the first, and no other one is."""
        reader = HeadReader(Limits(), of_workers=True)
        other = b"Clusterapp-From: 0 192.0.2.9 9 ::1 80\r\n"
        for _ in range(3):
            head = reader.read(
                b"GET / HTTP/1.1\r\n%bHost: h\r\n%b\r\n" % (self.LINE, other)
            )
            self.assertEqual(head.origin, Origin(PEER, HOST, secure=True))
            self.assertEqual(list(head.fields), [(b"Host", b"h")])
        for lines in (b"Host: h\r\n" + self.LINE, b"Clusterapp-From: x\r\nHost: h\r\n"):
            with self.assertRaises(BadMessageError):
                reader.read(b"GET / HTTP/1.1\r\n%b\r\n" % lines)
        head = reader.read(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertIsNone(head.origin)  # the worker's own

    def test_no_host(self) -> None:
        """The Host that a worker has added is taken out again."""
        reader = HeadReader(Limits(), of_workers=True)
        line = self.LINE.replace(b"\r\n", b" no-host\r\n")
        head = reader.read(b"GET / HTTP/1.1\r\n%bA: b\r\nHost: \r\n\r\n" % line)
        self.assertEqual(list(head.fields), [(b"A", b"b")])
