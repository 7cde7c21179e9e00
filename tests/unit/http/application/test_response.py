"""
What an application writes, as clients get it from twisted.web and from the engine.

It is the same, but for these, on purpose:

- The status line always says HTTP/1.1: that is the version of the server (RFC 9110,
  section 6.2).
- What is finished without a write has ``Content-Length: 0`` and no Content-Type;
  twisted.web sends it in chunks. A 204 has no Content-Length, and a 304 only one that
  the application has set (RFC 9110, section 8.6).
- The framing is the engine's: Transfer-Encoding and Connection, if an application
  sets them, are not sent as they are. ``Connection: close`` closes, which twisted.web
  only announces.
- A Content-Length that is no number, or less than what is written, is an error, and
  more than what is written breaks the connection off.
- A line break or a NUL in a header field, in a cookie or in a reason phrase is an
  error. twisted.web makes spaces of line breaks, but sends those of reason phrases.
- A class that changes `defaultContentType` for all requests changes only those
  responses that are not written at once; a request may change its own.
"""

from collections.abc import Callable, Sequence
from operator import methodcaller
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.web.server import NOT_DONE_YET
from twisted.web.util import redirectTo

from tests.unit.http.side_by_side import (
    DEFAULT_TYPE,
    Handler,
    SideBySideTestCase,
    get,
    post,
)

OLD = b"GET / HTTP/1.0\r\n\r\n"
EVERY = (get(), get(method="HEAD"), post(b"x"), OLD)


#: What an application does with a request.
Step = Callable[[Any], object]


class FieldTests(SideBySideTestCase):
    """The fields of a response."""

    def every(self, *steps: Step) -> None:
        """Take the steps, and then answer in each way that there is."""
        for end in (_look, _hello, _empty, _write, _finish):
            self.called(_in_turn(steps, end), *EVERY)

    def test_none(self) -> None:
        self.every()

    def test_set(self) -> None:
        """As text or bytes, in any spelling, before and after it was looked at."""
        setting = (
            lambda r: r.setHeader(b"x-one", b"1"),
            lambda r: r.setHeader("X-TWO", "\xe9"),
            lambda r: r.setHeader("x-one", "3"),
            lambda r: r.setHeader("content-type", "text/plain"),
            lambda r: r.setHeader(b"ETAG", b'"x"'),
            lambda r: r.setHeader("x-empty", ""),
        )
        self.every(*setting)
        self.every(_touch, *setting)
        self.every(*setting, _touch)
        self.every(*setting[:2], _touch, *setting[2:])

    def test_own_time_and_product(self) -> None:
        """What every response has can be said otherwise, or not at all."""
        self.every(lambda r: r.setHeader(b"server", b"mine"))
        self.every(lambda r: r.setHeader("Date", "Mon, 01 Jan 2001 00:00:00 GMT"))
        self.every(lambda r: r.responseHeaders.removeHeader(b"Server"))
        self.every(
            lambda r: r.responseHeaders.removeHeader(b"date"),
            lambda r: r.setHeader("x", "y"),
        )

    def test_lines(self) -> None:
        """A field may have several lines, or be taken back."""
        self.every(
            lambda r: r.responseHeaders.addRawHeader("x", "1"),
            lambda r: r.responseHeaders.addRawHeader(b"X", b"2"),
            lambda r: r.responseHeaders.setRawHeaders("y", ["3", "4"]),
        )
        self.every(
            lambda r: r.setHeader("x", "1"),
            lambda r: r.responseHeaders.addRawHeader("x", "2"),
            lambda r: r.responseHeaders.removeHeader("x"),
        )

    def test_type(self) -> None:
        """It is HTML unless something else is said."""
        self.every(lambda r: setattr(r, "defaultContentType", None))
        self.every(lambda r: setattr(r, "defaultContentType", DEFAULT_TYPE))
        self.every(_touch, lambda r: setattr(r, "defaultContentType", DEFAULT_TYPE))
        self.every(
            lambda r: r.setHeader("content-type", "a/b"),
            lambda r: r.responseHeaders.removeHeader("content-type"),
        )
        self.every(lambda r: r.responseHeaders.setRawHeaders("content-type", []))

    def test_cookies(self) -> None:
        """They come after one another; a Set-Cookie field is no match for them."""
        self.every(lambda r: r.addCookie("a", "b"))
        self.every(
            lambda r: r.setHeader("set-cookie", "x=y"),
            lambda r: r.addCookie(
                b"a",
                "b;",
                expires="e",
                domain="d",
                path="/",
                max_age="1",
                comment="c",
                secure=True,
                httpOnly=True,
                sameSite="Lax",
            ),
            lambda r: r.addCookie(b"c", b"d"),
        )
        self.every(lambda r: r.setHeader("set-cookie", "x=y"))
        self.every(lambda r: r.cookies.append(b"raw=1"))

    def test_status(self) -> None:
        """With the reason phrase that belongs to it, or another one."""
        for code in (200, 201, 204, 206, 299, 304, 404, 418, 500, 599):
            self.every(methodcaller("setResponseCode", code))
            self.every(methodcaller("setResponseCode", code, b"Because"))
        self.every(
            lambda r: r.setResponseCode(404, b"x"), lambda r: r.setResponseCode(200)
        )

    def test_redirect(self) -> None:
        self.every(lambda r: r.redirect(b"/there"))
        self.every(lambda r: r.redirect("/\xfc"))
        self.called(lambda request, _: redirectTo(b"/there", request), *EVERY)

    def test_length(self) -> None:
        """One that the application knows is kept."""
        self.called(_lengthy(b"5", b"hello"), *EVERY)
        self.called(_lengthy("5", b"hel", b"lo"), *EVERY)
        self.called(_lengthy(b"0"), *EVERY)

    @given(
        st.lists(
            st.tuples(
                st.booleans(),
                st.text("abC-9_!", min_size=1, max_size=5),
                st.text("az \t\xe9,;", max_size=5),
            )
        )
    )
    def test_any_fields(self, fields: list[tuple[bool, str, str]]) -> None:
        """Whatever is set, in whichever way."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            for touched, name, value in fields:
                if touched:
                    request.responseHeaders.setRawHeaders(name.encode(), [value])
                else:
                    request.setHeader(name, value)
            for _, name, _ in fields:
                seen.append(request.responseHeaders.getRawHeaders(name))
            return b""

        self.called(handler, get())


class ConditionTests(SideBySideTestCase):
    """`setETag` and `setLastModified`."""

    CONDITIONS = (
        (),
        ('If-None-Match: "a"',),
        ('If-None-Match: "b" "a"',),
        ("If-None-Match: *",),
        ('If-None-Match: "b"',),
        ("If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT",),
        ("If-Modified-Since: Sun, 09 Sep 2001 01:46:39 GMT",),
        ("If-Modified-Since: Sun, 09 Sep 2001 01:46:41 GMT",),
        ("If-Modified-Since: yesterday",),
        ('If-None-Match: "b"', "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT"),
    )

    def conditions(self, handler: Handler) -> None:
        self.called(
            handler,
            *(
                get("/", *lines, method=method)
                for lines in self.CONDITIONS
                for method in ("GET", "HEAD", "PUT")
            ),
        )

    def test_answered_at_once(self) -> None:
        def handler(request: Any, seen: list[Any]) -> bytes:
            seen.append(request.setETag(b'"a"'))
            seen.append(request.setLastModified(1_000_000_000))
            seen.extend((request.etag, request.lastModified, request.code))
            return b"" if request.code == 304 else b"body"

        self.conditions(handler)

    def test_body_all_the_same(self) -> None:
        """One that is returned with a 304 is not sent."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            request.setLastModified(999_999_999.5)
            request.setLastModified(1)
            return b"body"

        self.conditions(handler)

    def test_fields_win(self) -> None:
        """A Last-Modified that was set stays, an ETag does not."""

        def handler(request: Any, seen: list[Any]) -> int:
            request.setHeader("Last-Modified", "then")
            request.setHeader("etag", "that")
            request.setLastModified(1_000_000_000)
            request.setETag(b"this")
            request.write(b"body")
            request.finish()
            return NOT_DONE_YET

        self.conditions(handler)


def _touch(request: Any) -> None:
    _ = request.responseHeaders


def _in_turn(steps: Sequence[Step], end: Handler) -> Handler:
    def handler(request: Any, seen: list[Any]) -> object:
        for step in steps:
            step(request)
        return end(request, seen)

    return handler


def _look(request: Any, seen: list[Any]) -> bytes:
    seen.append(
        [
            pair
            for pair in request.responseHeaders.getAllRawHeaders()
            if pair[0] not in (b"Date", b"Server")
        ]
    )
    return b"hello"


def _hello(request: Any, seen: list[Any]) -> bytes:
    return b"hello"


def _empty(request: Any, seen: list[Any]) -> bytes:
    return b""


def _write(request: Any, seen: list[Any]) -> int:
    request.write(b"hel")
    request.write(b"")
    request.write(b"lo")
    request.finish()
    return NOT_DONE_YET


def _finish(request: Any, seen: list[Any]) -> int:
    request.finish()
    return NOT_DONE_YET


def _lengthy(length: str | bytes, *pieces: bytes) -> Handler:
    def handler(request: Any, seen: list[Any]) -> int:
        request.setHeader("content-length", length)
        for piece in pieces:
            request.write(piece)
        request.finish()
        return NOT_DONE_YET

    return handler
