"""The form that a body may be."""

from time import perf_counter, process_time
from urllib.parse import unquote_to_bytes

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.application.form_parser import BadFormError, form_of
from clusterapp.http.connection_limits import Limits

#: The default of `--max-form-size`.
MOST_BYTES = 2 * 1024**2
MOST = 1000
URL_ENCODED = b"application/x-www-form-urlencoded"
MULTIPART = b"multipart/form-data; boundary=b"
_PART = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'


def url_encoded(body: bytes, most: int = MOST) -> dict[bytes, list[bytes]]:
    """Read a form of the one kind."""
    return form_of(URL_ENCODED, body, Limits(form_fields=most))


def multipart(
    body: bytes, kind: bytes = MULTIPART, most: int = MOST
) -> dict[bytes, list[bytes]]:
    """Read a form of the other kind."""
    return form_of(kind, body, Limits(form_fields=most))


def with_head(*lines: bytes, body: bytes = b"1") -> bytes:
    """Write a form of one part."""
    return b"\r\n".join([b"--b", *lines, b"", body, b"--b--", b""])


class FormTests(SynchronousTestCase):
    """Its fields, by the type of the body."""

    def test_url_encoded(self) -> None:
        """Blank and repeated values are kept, whatever bytes they are."""
        self.assertEqual(
            url_encoded(b"a=1&a=&b=%FF+\xf6;c=d&e"),
            {b"a": [b"1", b""], b"b": [b"\xff \xf6"], b"c": [b"d"]},
        )

    def test_multipart(self) -> None:
        """Files are fields like others; parts without a name are nothing."""
        body = (
            _PART % (b"a", b"1")
            + _PART % (b"a", b"\x00\xff")
            + b"--b\r\nX: y\r\n\r\nnameless\r\n--b--\r\n"
        )
        self.assertEqual(multipart(body), {b"a": [b"1", b"\x00\xff"]})

    def test_names_are_the_bytes_that_came(self) -> None:
        """In any encoding; browsers use that of the page."""
        for name in ("ä".encode(), "ä".encode("latin-1"), b"a[b]"):
            self.assertEqual(multipart(_PART % (name, b"1") + b"--b--"), {name: [b"1"]})

    def test_content_transfer_encoding(self) -> None:
        """RFC 7578, section 4.7: deprecated, and decoded as twisted.web does."""
        named = b"Content-Disposition: form-data; name=a"
        for coding, written, content in (
            (b"BASE64", b"aGVs\r\nbG8=", b"hello"),
            (b"base64", b"aGVsb", b"aGVsb"),
            (b"quoted-printable", b"h=65l=\r\nlo", b"hello"),
            (b"8bit", b"\xff\r\n", b"\xff\r\n"),
        ):
            line = b"Content-Transfer-Encoding: " + coding
            body = with_head(named, line, body=written)
            self.assertEqual(multipart(body), {b"a": [content]}, coding)

    def test_no_form(self) -> None:
        """Of any other type, or of none."""
        for kind in (
            b"",
            b"text/plain",
            b"application/json",
            b";;",
            b"multipart/mixed",
        ):
            self.assertEqual(form_of(kind, b"a=1", Limits()), {})

    def test_type_is_written_anyhow(self) -> None:
        kind = b"Application/X-WWW-Form-URLencoded ; charset=utf-8"
        self.assertEqual(form_of(kind, b"a=1", Limits()), {b"a": [b"1"]})

    def test_multipart_that_is_none(self) -> None:
        """The error says what is wrong."""
        part = _PART % (b"a", b"1")
        for kind, body in (
            (b"multipart/form-data", b"a=1"),
            (b"multipart/form-data; boundary=", part + b"--b--"),
            (b"multipart/form-data; boundary=" + b"b" * 257, part),
            (MULTIPART, b"a=1"),
            (MULTIPART, part),
            (MULTIPART, with_head(b"no field")),
            (MULTIPART, with_head(*[b"Content-Disposition: form-data; name=a"] * 2)),
        ):
            error = self.assertRaises(BadFormError, multipart, body, kind)
            self.assertIn("multipart", str(error))
            self.assertEqual(error.status, 400)


class EscapesTests(SynchronousTestCase):
    """What is decoded by C is what `unquote_to_bytes` decodes."""

    @given(st.lists(st.sampled_from(list(b"%=;\r\n \t._0a")) | st.integers(0, 255)))
    @example(list(b"%3D%25=%3d%0d%0A=\r\n \n_.\n"))
    @example(list(b"%%41"))
    @example(list(b"a%"))
    def test_alike(self, octets: list[int]) -> None:
        """Escapes that are broken stand for themselves."""
        text = bytes(octets).replace(b"&", b"").replace(b";", b"")
        read = url_encoded(b"a=" + text)[b"a"]
        self.assertEqual(read, [unquote_to_bytes(text.replace(b"+", b" "))])

    def test_many_among_broken_ones(self) -> None:
        """A thousand in all values with broken ones are decoded, no more."""
        value = b"a=" + b"%41" * 99 + b"%"
        fields = url_encoded(b"&".join([value] * 10 + [b"b=" + b"%42" * 5000]))
        self.assertEqual(fields, {b"a": [b"A" * 99 + b"%"] * 10, b"b": [b"B" * 5000]})
        for more in ([value] * 11, [value] * 10 + [b"%=1"], [b"a=" + b"%" * 1001]):
            error = self.assertRaises(BadFormError, url_encoded, b"&".join(more))
            self.assertEqual(error.status, 400)

    def test_time(self) -> None:
        """Many values of many escapes take no longer than one of as many."""
        half = b"%41" * 330
        body = b"&".join([b"a=" + half] * 990)
        begun = process_time()
        self.assertEqual(len(url_encoded(body)[b"a"]), 990)
        self.assertLess(process_time() - begun, 0.12)


class BoundsTests(SynchronousTestCase):
    """What a form may have at most."""

    def assert_too_large(self, body: bytes, kind: bytes, most: int = MOST) -> None:
        """Require a 413."""
        limits = Limits(form_fields=most)
        error = self.assertRaises(BadFormError, form_of, kind, body, limits)
        self.assertEqual(error.status, 413)

    def test_default(self) -> None:
        """A thousand fields, and one MiB."""
        self.assertEqual((Limits().form_fields, Limits().form_size), (MOST, MOST_BYTES))

    def test_fields(self) -> None:
        """Divided by either sign, and empty ones count."""
        for divider in (b"&", b";", b"&;", b";&&"):
            body = divider.join([b"a=1"] * 10)
            most = 9 * len(divider) + 1
            self.assertEqual(url_encoded(body, most), {b"a": [b"1"] * 10})
            self.assert_too_large(body, URL_ENCODED, most - 1)

    def test_parts(self) -> None:
        """Those without a name count."""
        for part in (_PART % (b"a", b"1"), b"--b\r\nA: b\r\n\r\n1\r\n"):
            multipart(part * 10 + b"--b--\r\n", most=10)
            self.assert_too_large(part * 11 + b"--b--\r\n", MULTIPART, 10)

    def test_size(self) -> None:
        """Of an urlencoded form all counts."""
        url_encoded(b"a=".ljust(MOST_BYTES, b"1"))
        self.assert_too_large(b"a=".ljust(MOST_BYTES + 1, b"1"), URL_ENCODED)

    def test_size_of_values(self) -> None:
        """Of a multipart form files do not count, other values do together."""
        name = b"Content-Disposition: form-data; name=a"
        file = with_head(name + b'; filename=""', body=b"1" * 2 * MOST_BYTES)
        self.assertEqual(len(multipart(file)[b"a"][0]), 2 * MOST_BYTES)
        multipart(with_head(name, body=b"1" * (MOST_BYTES - 100)))
        self.assert_too_large(with_head(name, body=b"1" * MOST_BYTES), MULTIPART)
        half = with_head(name, body=b"1" * (MOST_BYTES // 2)).removesuffix(b"--b--\r\n")
        self.assert_too_large(half + half + b"--b--\r\n", MULTIPART)
        self.assert_too_large(half + half + file, MULTIPART)
        nameless = with_head(b"X: y", body=b"1" * MOST_BYTES)
        self.assert_too_large(nameless, MULTIPART)

    def test_size_of_heads(self) -> None:
        """Heads count, those of files as well."""
        line = b'Content-Disposition: form-data; filename="f"; name="%b"'
        part = b"--b\r\n" + line % (b"a" * 1900) + b"\r\nX: "
        part += b"y" * 1900 + b"\r\n\r\n1\r\n"
        self.assertEqual(len(multipart(part * 500 + b"--b--\r\n")[b"a" * 1900]), 500)
        self.assert_too_large(part * 600 + b"--b--\r\n", MULTIPART)

    def test_part_heads(self) -> None:
        """A line has 2 KiB, and a head eight lines."""
        named = b'Content-Disposition: form-data; name="%b"'
        room = 2048 - len(named % b"")
        read = multipart(with_head(named % (b"a" * room)))
        self.assertEqual(read, {b"a" * room: [b"1"]})
        self.assert_too_large(with_head(named % (b"a" * (room + 1))), MULTIPART)
        multipart(with_head(named % b"a", *[b"X%d: 1" % n for n in range(7)]))
        self.assert_too_large(
            with_head(named % b"a", *[b"X%d: 1" % n for n in range(8)]), MULTIPART
        )
        self.assert_too_large(b"--b\r\n" + b"X" * 5000, MULTIPART)

    def test_parameters_of_a_type(self) -> None:
        """They are looked through once, however many there are."""
        for kind in (URL_ENCODED, b"multipart/form-data"):
            many = kind + b"; a=b" * 6000 + b'; a="' * 500
            begun = perf_counter()
            try:
                form_of(many, b"a=1", Limits())
            except BadFormError as error:
                self.assertEqual(error.status, 400)
            self.assertLess(perf_counter() - begun, 0.5)
