"""Request heads, one after the other by one reader."""

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.connection_limits import Limits
from clusterapp.http.syntax.request_head import BadMessageError, HeadReader

GET = b"GET /%d?q=1 HTTP/1.1\r\nHost: h\r\n\r\n"


class ReaderTests(SynchronousTestCase):
    """Nothing of a head is left for the next one."""

    def setUp(self) -> None:
        self.reader = HeadReader(Limits())

    def test_same_bytes(self) -> None:
        """They are parsed again: what one request changes, the next does not see."""
        first, second = self.reader.read(GET % 1), self.reader.read(GET % 1)
        self.assertIsNot(first, second)
        self.assertIsNot(first.fields, second.fields)
        self.assertEqual((second.path, second.path_text), (b"/1", "/1"))

    def test_absolute_form(self) -> None:
        """The path is that of the target in origin-form."""
        head = self.reader.read(GET.replace(b"/%d", b"http://h/%d") % 1)
        self.assertEqual((head.target, head.path), (b"/1?q=1", b"/1"))

    def test_bad_message(self) -> None:
        """A rejected head stays rejected, and affects no other."""
        for _ in range(3):
            with self.assertRaises(BadMessageError):
                self.reader.read(b"GET / HTTP/1.1\r\n\r\n")
            self.assertEqual(self.reader.read(GET % 1).method, b"GET")

    def test_close(self) -> None:
        """So does a ``Connection: close``."""
        close = GET[:-2] % 1 + b"Connection: close\r\n\r\n"
        self.assertFalse(self.reader.read(close).keeps)
        self.assertTrue(self.reader.read(GET % 1).keeps)

    def test_bodies(self) -> None:
        """And a length."""
        for framing in (b"Content-Length: 2", b"Transfer-Encoding: chunked"):
            put = b"PUT / HTTP/1.1\r\nHost: h\r\n" + framing + b"\r\n\r\n"
            self.assertNotEqual(self.reader.read(put).length, 0)
            self.assertEqual(self.reader.read(GET % 1).length, 0)
