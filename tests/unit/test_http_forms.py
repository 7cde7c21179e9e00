"""The form that a body may be."""

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.forms import BadFormError, form_of

_PART = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'


class FormTests(SynchronousTestCase):
    """Its fields, by the type of the body."""

    def test_url_encoded(self) -> None:
        """Blank and repeated values are kept, whatever bytes they are."""
        self.assertEqual(
            form_of(b"application/x-www-form-urlencoded", b"a=1&a=&b=%FF+\xf6;c=d&e"),
            {b"a": [b"1", b""], b"b": [b"\xff \xf6"], b"c": [b"d"]},
        )

    def test_multipart(self) -> None:
        """Files are fields like others; parts without a name are nothing."""
        body = (
            _PART % (b"a", b"1")
            + _PART % (b"a", b"\x00\xff")
            + b"--b\r\nX: y\r\n\r\nnameless\r\n--b--\r\n"
        )
        self.assertEqual(
            form_of(b"multipart/form-data; boundary=b", body),
            {b"a": [b"1", b"\x00\xff"]},
        )

    def test_no_form(self) -> None:
        """Of any other type, or of none."""
        for kind in (
            b"",
            b"text/plain",
            b"application/json",
            b";;",
            b"multipart/mixed",
        ):
            self.assertEqual(form_of(kind, b"a=1"), {})

    def test_type_is_written_anyhow(self) -> None:
        kind = b"Application/X-WWW-Form-URLencoded ; charset=utf-8"
        self.assertEqual(form_of(kind, b"a=1"), {b"a": [b"1"]})

    def test_multipart_that_is_none(self) -> None:
        """The error says what is wrong."""
        for kind in (b"multipart/form-data", b"multipart/form-data; boundary=b"):
            error = self.assertRaises(BadFormError, form_of, kind, b"a=1")
            self.assertIn("multipart", str(error))
