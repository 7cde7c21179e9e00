"""
Arguments, forms and bodies, by twisted.web and by the engine.

They are the same, but for these, on purpose:

- A form of more than a thousand fields is a 413, and one that is broken off, or has
  line feeds for line ends, is none.
- A form is read when an application asks for `args`. One that cannot be read is
  a 400 then, on a connection that goes on; what never looks at it never knows.
  twisted.web refuses it before any resource is asked, and closes.
- For the same reason a form that nobody has looked at cannot be read any more once
  the response is finished.
"""

import io
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.web.server import NOT_DONE_YET

from tests.unit.http.side_by_side import (
    Calling,
    HttpClient,
    SideBySideTestCase,
    get,
    post,
)

URL_ENCODED = "Content-Type: application/x-www-form-urlencoded"
MULTIPART = 'Content-Type: multipart/form-data; boundary="b"'
FORM = (
    b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\none\r\n"
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n'
    b"Content-Type: image/png\r\n\r\n\x00\xff\r\nx\r\n"
    b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--b--\r\n"
)

_texts = st.lists(
    st.sampled_from(
        [b"a", b"b", b"=", b"&", b";", b"+", b"%", b"%20", b"%C3", b"%zz", b"?", b"/"]
    )
).map(b"".join)


def chunked(body: bytes, *lines: str) -> bytes:
    """Write a POST whose length is not known before."""
    head = get("/", "Transfer-Encoding: chunked", *lines, method="POST")
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def args(request: Any, seen: list[Any]) -> bytes:
    """Record the arguments, and the position and content of the body."""
    seen.append((request.args, list(request.args)))
    seen.append((request.content.tell(), request.content.read(), request.args))
    return b""


class ArgsTests(SideBySideTestCase):
    """The query's and the form's."""

    @given(_texts)
    @example(b"a=1;b=2")
    @example(b"a=%C3%B6&a=%FF&a=&=&a")
    def test_any_query(self, query: bytes) -> None:
        """As twisted.web reads it, whatever it is."""
        self.called(args, get(f"/?{query.decode()}"))

    @given(st.one_of(_texts, st.binary()))
    @example("a=\xf6".encode())
    def test_any_form(self, body: bytes) -> None:
        """Its fields come in the place of the query's."""
        self.called(args, post(body, URL_ENCODED, target="/?a=query&c=query"))

    def test_forms(self) -> None:
        """Of either type, however the type is written, and only of a POST."""
        self.called(
            args,
            post(FORM, MULTIPART, target="/?a=0&q=1"),
            post(FORM, "CONTENT-TYPE: Multipart/Form-Data; Boundary=b"),
            post(FORM, MULTIPART, method="PUT"),
            post(b"a=1", URL_ENCODED + "; charset=utf-8"),
            post(b"a=1", URL_ENCODED.upper()),
            post(b"a=1", URL_ENCODED, method="PUT"),
            post(b"a=1", URL_ENCODED, method="PATCH"),
            post(b"", URL_ENCODED),
            post(b"", MULTIPART),
            post(b"a=1", "Content-Type: text/plain"),
            post(b"a=1", "Content-Type:"),
            post(b"a=1", "Content-Type: ;;"),
            post(b"a=1"),
            chunked(b"a=1&b=%FF", URL_ENCODED),
            chunked(FORM, MULTIPART),
        )

    def test_first_type_counts(self) -> None:
        """Of several Content-Type lines, which no form has, the first."""
        other = "Content-Type: text/plain"
        self.called(
            args, post(b"a=1", URL_ENCODED, other), post(b"a=1", other, URL_ENCODED)
        )

    def test_form_is_read_beside_its_body(self) -> None:
        """What the application reads of the body stays where it is."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            seen.append(request.content.read(2))
            seen.append((request.args, request.content.read()))
            return b""

        self.called(handler, post(b"a=1&b=2", URL_ENCODED))

    def test_form_outlives_its_body(self) -> None:
        """One that was looked at is there after the response."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            seen.append(request.args)
            request.notifyFinish().addCallback(lambda _: seen.append(request.args))
            return b""

        self.called(handler, post(b"a=1", URL_ENCODED))

    def test_form_cannot_be_read_late(self) -> None:
        """After the response the body is gone; that is an error, not an empty form."""
        requests = []

        def handler(request: Any, seen: list[Any]) -> bytes:
            requests.append(request)
            return b""

        self.called(handler, post(b"a=1", URL_ENCODED))
        with self.assertRaises(ValueError):
            _ = requests[1].args

    def test_form_that_is_none(self) -> None:
        """A 400 from either; the engine's connection goes on."""
        broken = (
            post(b"x", "Content-Type: multipart/form-data"),
            post(b"no parts", MULTIPART),
        )
        theirs, ours = self.sides(
            lambda seen: Calling(lambda request, _: b"%d" % len(request.args), seen)
        )
        for raw in broken:
            answer = theirs.http_client().ask(raw)
            assert answer is not None
            self.assertEqual(answer.status, b"400 Bad Request")
            http_client = ours.http_client()
            answer = http_client.ask(raw)
            assert answer is not None
            self.assertEqual(answer.status, b"400 Bad Request")
            self.assertEqual(answer.body, b"The form cannot be read.\n")
            self.assertEqual(http_client.transport.ended, "")
            self.assert_goes_on(http_client)

    def test_form_that_is_too_large(self) -> None:
        """A 413 from the engine, whose connection goes on."""
        _, ours = self.sides(
            lambda seen: Calling(lambda request, _: b"%d" % len(request.args), seen)
        )
        http_client = ours.http_client()
        for body, kind in (
            (b"a=1&" * 1000, URL_ENCODED),
            (b"a=".ljust(2 * 1024**2 + 1, b"1"), URL_ENCODED),
            (FORM[: FORM.rindex(b"--b--")] * 334, MULTIPART),
        ):
            answer = http_client.ask(post(body, kind))
            assert answer is not None
            self.assertEqual(answer.status, b"413 Request Entity Too Large")
            self.assertEqual(
                answer.body, b"The form is too large, or has too many fields.\n"
            )
            self.assert_goes_on(http_client)

    def assert_goes_on(self, http_client: HttpClient) -> None:
        answer = http_client.ask(get())
        assert answer is not None
        self.assertEqual(answer.body, b"0")


class ContentTests(SideBySideTestCase):
    """The body as a file."""

    def test_file(self) -> None:
        """It can be read, sought and told of, in pieces, by lines and again."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            body = request.content
            seen.extend((body.tell(), body.read(2), body.tell(), body.readline()))
            seen.extend((list(body), body.read(), body.seek(0, 2), body.seek(1)))
            seen.extend((body.readlines(), body.seekable(), body.readable()))
            seen.append(request.content is body)
            return b""

        body = b"one\ntwo\n\nfour"
        big = body * 10_000
        self.called(handler, get(), post(body), post(big), chunked(body), chunked(big))

    def test_kind(self) -> None:
        """A small one is in memory, a big one in a file of the system's."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            seen.append(isinstance(request.content, io.BytesIO))
            if not seen[-1]:
                seen.append(request.content.fileno() > 2)
            return b""

        self.called(handler, get(), post(b"x" * 65_536), post(b"x" * 100_000))

    def test_is_closed_after_the_response(self) -> None:
        """And the application has it no more."""

        def handler(request: Any, seen: list[Any]) -> int:
            content = request.content
            request.notifyFinish().addCallback(
                lambda _: seen.extend((content.closed, request.content))
            )
            request.finish()
            return NOT_DONE_YET

        self.called(handler, get(), post(b"abc"), post(b"x" * 100_000))

    def test_another_may_be_put_in_its_place(self) -> None:
        """As some do that decode bodies; it is closed in the end."""

        def handler(request: Any, seen: list[Any]) -> bytes:
            request.content = other = io.BytesIO(b"other")
            seen.append(request.content.read())
            request.notifyFinish().addCallback(lambda _: seen.append(other.closed))
            return b""

        self.called(handler, get(), post(b"abc"))
