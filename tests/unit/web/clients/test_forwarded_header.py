"""The syntax of Forwarded and X-Forwarded-For."""

from collections.abc import Callable, Iterator

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.web.clients.forwarded_header import (
    MOST_HOPS,
    Hop,
    address_of,
    format_forwarded,
    format_x_forwarded_for,
    is_whole,
    parse_forwarded,
    parse_x_forwarded_for,
    plain,
)


def hops_of(read: Callable[[str], Iterator[Hop]], value: str) -> list[Hop]:
    """Read a value; return the nearest hop last, as it is written."""
    return list(read(value))[::-1]


ADDRESSES = st.ip_addresses().map(lambda address: str(plain(str(address))))
HOPS = st.lists(
    st.builds(
        Hop,
        st.none() | ADDRESSES,
        st.none() | st.text(st.characters(max_codepoint=255), min_size=1),
        st.none() | st.sampled_from(["http", "https"]),
    ),
    max_size=4,
)


class AddressTests(SynchronousTestCase):
    """A node is an address with or without a port."""

    def test_addresses(self) -> None:
        for node, address in (
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:8080", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:_port", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("fe80::1%eth0", "fe80::1"),
        ):
            self.assertEqual(address_of(node), address, node)

    def test_zones(self) -> None:
        """Only a link-local address of IPv6 may have one (RFC 4007, section 11)."""
        for node in (
            "192.0.2.1%0d",
            "192.0.2.1%0d:80",
            "192.0.2.1%",
            "2001:db8::1%eth0",
            "[2001:db8::1%eth0]",
            "::ffff:169.254.0.1%eth0",
            "169.254.0.1%eth0",
            "fe80::1%",
        ):
            self.assertIsNone(address_of(node), node)
        for node in ("fe80::1%eth0", "[fe80::1%25eth0]:80", "febf::1%1"):
            address = node.strip("[").partition("%")[0]
            self.assertEqual(address_of(node), address, node)

    def test_what_is_no_address(self) -> None:
        for node in ("", "unknown", "_hidden", "example.com", "1.2.3", "[", "a:b", "٣"):
            self.assertIsNone(address_of(node), node)


class ForwardedTests(SynchronousTestCase):
    """RFC 7239."""

    def test_examples_of_the_rfc(self) -> None:
        """Those of section 4."""
        self.assertEqual(hops_of(parse_forwarded, 'for="_gazonk"'), [Hop(None)])
        self.assertEqual(
            hops_of(parse_forwarded, 'For="[2001:db8:cafe::17]:4711"'),
            [Hop("2001:db8:cafe::17")],
        )
        self.assertEqual(
            hops_of(parse_forwarded, "for=192.0.2.60;proto=http;by=203.0.113.43"),
            [Hop("192.0.2.60", None, "http")],
        )
        self.assertEqual(
            hops_of(parse_forwarded, "for=192.0.2.43, for=198.51.100.17"),
            [Hop("192.0.2.43"), Hop("198.51.100.17")],
        )

    def test_separators_inside_quotes(self) -> None:
        self.assertEqual(
            hops_of(
                parse_forwarded, r'host="a,b;c\"d\\";for=192.0.2.1 , for=192.0.2.2'
            ),
            [Hop("192.0.2.1", 'a,b;c"d\\'), Hop("192.0.2.2")],
        )

    def test_the_first_of_a_repeated_parameter(self) -> None:
        """It must not be repeated; what is written last may be appended by anyone."""
        self.assertEqual(
            hops_of(parse_forwarded, "for=192.0.2.1;for=192.0.2.2"), [Hop("192.0.2.1")]
        )

    def test_written(self) -> None:
        self.assertEqual(
            format_forwarded(
                [
                    Hop("2001:db8::1"),
                    Hop("192.0.2.1", "a.example:80", "http"),
                    Hop(None),
                ]
            ),
            'for="[2001:db8::1]", '
            'for=192.0.2.1;host="a.example:80";proto=http, for=unknown',
        )

    @given(HOPS)
    def test_what_is_written_is_read(self, hops: list[Hop]) -> None:
        """Any host, whatever it consists of, survives quoting."""
        value = format_forwarded(hops)
        self.assertEqual(hops_of(parse_forwarded, value), hops)
        self.assertTrue(is_whole(value))

    @given(st.text(st.sampled_from('for=";,\\ 1.2[:]')))
    def test_nothing_is_an_error(self, value: str) -> None:
        """And text is whole exactly if an element can be appended to it."""
        hops = hops_of(parse_forwarded, value)
        appended = hops_of(parse_forwarded, f"{value}, for=192.0.2.9")
        self.assertEqual(is_whole(value), appended == [*hops, Hop("192.0.2.9")])


class BoundTests(SynchronousTestCase):
    """Of lists and elements that are too long, a part is read."""

    def test_the_nearest_hops(self) -> None:
        """What is farther away than they are is one unknown hop."""
        for read, form in (
            (parse_x_forwarded_for, "10.0.0.{}"),
            (parse_forwarded, "for=10.0.0.{}"),
            (parse_forwarded, 'for="10.0.0.{}"'),
            (parse_forwarded, 'for=10.0.0.{};host="a,b;c"'),
        ):
            for number in (99, 100, 101, 3000):
                nodes = [form.format(each % 200) for each in range(number, 0, -1)]
                found = [hop.address for hop in read(", ".join(nodes))]
                nearest = [f"10.0.0.{each}" for each in range(1, number + 1)]
                expected = nearest if number <= MOST_HOPS else [*nearest[:99], None]
                self.assertEqual(found, expected, (form, number))

    def test_empty_elements_count(self) -> None:
        """A few are passed over (RFC 9110, section 5.6.1)."""
        for read in (parse_x_forwarded_for, parse_forwarded):
            self.assertEqual(list(read("," * 50)), [])
            self.assertEqual(list(read("," * 30_000)), [Hop(None)])

    def test_parameters(self) -> None:
        """Of an element the first sixteen are read."""
        for more in ("a=b", "", 'a="b"'):
            few, many = ";".join([more] * 15), ";".join([more] * 16)
            for said in (f"for=192.0.2.1;{many}", f"{few};for=192.0.2.1"):
                self.assertEqual(hops_of(parse_forwarded, said), [Hop("192.0.2.1")])
            said = f"{many};for=192.0.2.1"
            self.assertEqual(hops_of(parse_forwarded, said), [Hop(None)])

    @given(st.text(st.sampled_from('\\"a'), max_size=12))
    def test_escapes(self, text: str) -> None:
        """Each backslash makes a character of the next one."""
        value = "".join("\\" + each for each in text)
        [hop] = parse_forwarded(f'host="{value}"')
        self.assertEqual(hop.host, text)


class XForwardedForTests(SynchronousTestCase):
    """A list of addresses, for want of a standard."""

    def test_read(self) -> None:
        self.assertEqual(
            hops_of(
                parse_x_forwarded_for, "192.0.2.1,unknown , ,2001:db8::1, 192.0.2.2:80"
            ),
            [Hop("192.0.2.1"), Hop(None), Hop("2001:db8::1"), Hop("192.0.2.2")],
        )

    def test_written(self) -> None:
        hops = [Hop("192.0.2.1", "a", "http"), Hop(None), Hop("2001:db8::1")]
        self.assertEqual(
            format_x_forwarded_for(hops), "192.0.2.1, unknown, 2001:db8::1"
        )
