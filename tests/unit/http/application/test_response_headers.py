"""The fields of requests and responses, by twisted.web and by the engine."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers, InvalidHeaderName

from clusterapp.http.application.request import ClusterRequest
from clusterapp.http.application.response_headers import (
    ResponseHeaders,
    as_value,
    canonical,
)
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.request_head import Head
from tests.unit.http.side_by_side import Calling, Side

_BREAKS = (b"a\nb", b"a\rb", b"a\r\nb: c", b"\n", b"a\0b", b"a\n")
_names = st.one_of(
    st.text("aZ-_09!", min_size=1, max_size=8),
    st.sampled_from(["etag", "DNT", "te", "WWW-authenticate", "content-md5", "x--y"]),
)
_any_names = st.one_of(_names, st.text(max_size=4), _names.map(str.encode), st.binary())


def outcome(call: Any, *args: Any) -> Any:
    """Return a result, or the kind of error."""
    try:
        return call(*args)
    except (ValueError, UnicodeError) as error:
        return type(error)


class CanonicalTests(SynchronousTestCase):
    """How a field's name is written."""

    def twisteds(self, name: str | bytes) -> tuple[bytes, bytes]:
        headers = Headers()
        headers.setRawHeaders(name, ["x"])
        ((written, _),) = headers.getAllRawHeaders()
        return written.lower(), written

    @given(_any_names)
    @example("")
    @example("a b")
    @example("a:")
    @example("\xe9")
    @example("\u20ac")
    def test_as_twisted_does(self, name: str | bytes) -> None:
        """The same names, and the same refusals, as text or bytes."""
        self.assertEqual(outcome(canonical, name), outcome(self.twisteds, name))

    def test_text_and_bytes(self) -> None:
        self.assertEqual(canonical("etag"), (b"etag", b"ETag"))
        self.assertEqual(canonical(b"X-fOo"), (b"x-foo", b"X-Foo"))
        self.assertRaises(InvalidHeaderName, canonical, b"a\r\nb")


class ValueTests(SynchronousTestCase):
    """How a field's value is written."""

    def test_text_is_utf8(self) -> None:
        self.assertEqual(as_value("\xe9"), b"\xc3\xa9")
        self.assertEqual(as_value(b"\xe9"), b"\xe9")
        self.assertEqual(as_value(""), b"")

    def test_breaks(self) -> None:
        """They are refused, as text and as bytes."""
        for value in _BREAKS:
            self.assertRaises(ValueError, as_value, value)
            self.assertRaises(ValueError, as_value, value.decode())

    def test_no_text(self) -> None:
        """The error shows what it was."""
        for value in (5, None, ["x"]):
            error = self.assertRaises(TypeError, as_value, value)
            self.assertIn(repr(value), str(error))


class ResponseHeadersTests(SynchronousTestCase):
    """`Headers` that refuse what would become a line of its own."""

    def test_breaks(self) -> None:
        """Whichever way they are added, and then nothing is changed."""
        headers = ResponseHeaders()
        headers.setRawHeaders("x", ["kept"])
        for value in _BREAKS:
            self.assertRaises(ValueError, headers.setRawHeaders, "x", ["a", value])
            self.assertRaises(ValueError, headers.addRawHeader, "x", value)
            self.assertRaises(ValueError, ResponseHeaders, {b"x": [value]})
        self.assertEqual(headers.getRawHeaders("x"), ["kept"])

    @given(st.lists(st.tuples(st.booleans(), _names, st.text("a \xe9"))))
    def test_otherwise_they_are_twisteds(
        self, steps: list[tuple[bool, str, str]]
    ) -> None:
        ours, theirs = ResponseHeaders(), Headers()
        for headers in (ours, theirs):
            for adds, name, value in steps:
                if adds:
                    headers.addRawHeader(name, value)
                else:
                    headers.setRawHeaders(name, [value, value])
        self.assertEqual(ours, theirs)
        self.assertEqual(ours.copy(), theirs)


class GetHeaderTests(SynchronousTestCase):
    """`getHeader`, which looks at the fields as they came."""

    @given(
        st.lists(st.tuples(_names, st.text("ab \xe9", max_size=3)), max_size=6),
        st.one_of(_names, _any_names),
    )
    @example([("A", "1"), ("a", "2")], "A")
    @example([], b"a b")
    @example([("a", "1")], b"")
    def test_as_twisted_does(
        self, fields: list[tuple[str, str]], name: str | bytes
    ) -> None:
        """The last line of any spelling; asked as text or as bytes."""
        theirs = Headers()
        for key, value in fields:
            theirs.addRawHeader(key, value)
        lines = outcome(theirs.getRawHeaders, name)
        last = lines[-1] if isinstance(lines, list) else lines
        encoded = [(key.encode(), value.encode()) for key, value in fields]
        for looked_at in (False, True):
            request = self.request(encoded)
            if looked_at:
                self.assertEqual(request.requestHeaders, theirs)
            self.assertEqual(outcome(request.getHeader, name), last)

    def request(self, fields: list[tuple[bytes, bytes]]) -> ClusterRequest:
        side = Side(ClusterSite, lambda seen: Calling(lambda *_: b"", seen))
        head = Head(b"GET", b"/", b"HTTP/1.1", fields)
        return ClusterRequest(side.http_client().channel.connection, head)
