"""Keys: where a client's key is looked for, and what is found."""

import time
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.dispatch.keys import AffinityKey
from clusterapp.interfaces import Fields

NAMES = st.text("abcXYZ019!#$%&'*+.^_`|~-", min_size=1, max_size=8)
#: Cookie octets (RFC 6265, section 4.1.1).
VALUES = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='",;\\'),
    min_size=1,
    max_size=12,
)


def find(key: str, target: bytes = b"/", fields: Fields = ()) -> bytes | None:
    """Look for a key, as the setting has it, in a request."""
    return AffinityKey.parse(key).find(target, fields)


class ParsingTests(SynchronousTestCase):
    """What the setting means."""

    def test_sources(self) -> None:
        self.assertEqual(AffinityKey.parse("client-ip"), AffinityKey("client-ip"))
        self.assertEqual(
            AffinityKey.parse("cookie"), AffinityKey("cookie", "clusterapp_slot")
        )
        self.assertEqual(AffinityKey.parse("cookie:sid"), AffinityKey("cookie", "sid"))
        self.assertEqual(
            AffinityKey.parse("header:X-Session"), AffinityKey("header", "X-Session")
        )
        self.assertEqual(AffinityKey.parse("query:sid"), AffinityKey("query", "sid"))

    def test_unknown_source(self) -> None:
        with self.assertRaisesRegex(ValueError, "'path' is none of client-ip, cookie"):
            AffinityKey.parse("path:sid")


class HeaderTests(SynchronousTestCase):
    """Keys in a field of their own."""

    def test_name_in_any_case(self) -> None:
        fields = [(b"Host", b"shop"), (b"x-SESSION", b"seven")]
        self.assertEqual(find("header:X-Session", fields=fields), b"seven")

    def test_first_one_counts(self) -> None:
        fields = [(b"Sid", b"1"), (b"sid", b"2")]
        self.assertEqual(find("header:sid", fields=fields), b"1")

    def test_none(self) -> None:
        """A field that is missing or empty tells clients from each other as little."""
        self.assertIsNone(find("header:sid"))
        self.assertIsNone(find("header:sid", fields=[(b"sid", b""), (b"sid", b"2")]))

    def test_address_is_not_in_a_request(self) -> None:
        self.assertIsNone(find("client-ip", b"/?client-ip=1", [(b"client-ip", b"1")]))


class QueryTests(SynchronousTestCase):
    """Keys in the query of the target."""

    def test_anywhere_in_the_query(self) -> None:
        for target in (b"/?sid=7", b"/a?b=c&sid=7", b"/?sid=7&b", b"http://h/?sid=7"):
            self.assertEqual(find("query:sid", target), b"7", target)

    def test_first_one_counts(self) -> None:
        self.assertEqual(find("query:sid", b"/?sid=1&sid=2"), b"1")

    def test_decoded(self) -> None:
        """Two ways to write a key are one key."""
        self.assertEqual(find("query:sid", b"/?s%69d=a%20b+c%zz"), b"a b c%zz")

    def test_none(self) -> None:
        for target in (b"/", b"*", b"/sid=1", b"/?", b"/?sid", b"/?sid=", b"/?xsid=1"):
            self.assertIsNone(find("query:sid", target), target)

    def test_name_is_taken_literally(self) -> None:
        """Parameters are not fields: upper and lower case differ."""
        self.assertIsNone(find("query:sid", b"/?SID=1"))

    @given(NAMES, st.text(min_size=1))
    def test_whatever_is_encoded_is_found(self, name: str, value: str) -> None:
        target = f"/?other=b&{quote(name, safe='')}={quote(value, safe='')}&c".encode()
        self.assertEqual(find(f"query:{name}", target), value.encode())


class CookieTests(SynchronousTestCase):
    """Keys in the Cookie field."""

    def cookie(self, *values: bytes) -> bytes | None:
        return find("cookie:sid", fields=[(b"cookie", value) for value in values])

    def test_anywhere_in_the_field(self) -> None:
        for value in (b"sid=7", b"a=b; sid=7", b"sid=7; a=b", b"a; sid=7; c"):
            self.assertEqual(self.cookie(value), b"7", value)

    def test_tolerant(self) -> None:
        """Clients write more than RFC 6265 would have them."""
        for value in (b"a=b;sid=7", b";; ;sid=7;", b"\t sid = 7 ;a=b", b"a=b=c;sid=7"):
            self.assertEqual(self.cookie(value), b"7", value)

    def test_value_is_as_it_was_sent(self) -> None:
        self.assertEqual(self.cookie(b'sid="a b%20=c"; x'), b'"a b%20=c"')

    def test_first_one_counts(self) -> None:
        """Browsers send the one of the longest path first."""
        self.assertEqual(self.cookie(b"sid=1; sid=2"), b"1")
        self.assertEqual(self.cookie(b"a=b", b"sid=1", b"sid=2"), b"1")

    def test_none(self) -> None:
        for value in (b"", b"sid", b"sid=", b"xsid=1", b"sidx=1", b"a=sid=1", b"SID=1"):
            self.assertIsNone(self.cookie(value), value)

    def test_names_mean_nothing_to_patterns(self) -> None:
        """Characters of tokens stand for themselves."""
        self.assertIsNone(find("cookie:s.d", fields=[(b"Cookie", b"sid=1")]))
        self.assertEqual(find("cookie:$|*", fields=[(b"Cookie", b"a=1;$|*=2")]), b"2")

    @given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=6))
    def test_each_of_several_is_found(self, jar: dict[str, str]) -> None:
        line = "; ".join(f"{name}={value}" for name, value in jar.items()).encode()
        for name, value in jar.items():
            found = find(f"cookie:{name}", fields=[(b"Cookie", line)])
            self.assertEqual(found, value.encode())

    def test_megabytes(self) -> None:
        """No field is so made that looking through it takes long."""
        size = 4_000_000
        for piece in (b";", b" ", b"; ", b"sid", b";sid", b"; sid ", b"sid ;", b"a=b;"):
            value = (piece * size)[:size]
            for whole in (value, b";" + value, b";sid" + value):
                began = time.process_time()
                self.assertIsNone(self.cookie(whole), piece)
                # Generous: it takes a twentieth of that. Squares would take hours.
                self.assertLess(time.process_time() - began, 5.0, piece)
