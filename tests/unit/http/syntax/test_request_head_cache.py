"""Heads that come again and again."""

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.connection_limits import Limits
from clusterapp.http.syntax import request_head as heads
from clusterapp.http.syntax.request_head import BadMessageError, HeadReader

GET = b"GET /%d?q=1 HTTP/1.1\r\nHost: h\r\n\r\n"


class MemoryTests(SynchronousTestCase):
    """What is remembered of heads."""

    def setUp(self) -> None:
        self.reader = HeadReader(Limits())

    def test_same_bytes_are_read_once(self) -> None:
        """From the second time on, the head of the same bytes is the same object."""
        self.reader.read(GET % 1)
        second = self.reader.read(GET % 1)
        self.assertIs(self.reader.read(GET % 1), second)
        self.assertEqual((second.path, second.path_text), (b"/1", "/1"))
        self.assertIsNot(self.reader.read(GET % 2), second)

    def test_what_comes_once_is_not_kept(self) -> None:
        """Of heads that are all different, there is nothing to keep."""
        for number in range(100):
            self.reader.read(GET % number)
        self.assertEqual(self.reader._known, {})

    def test_memory_is_bounded(self) -> None:
        """However many different heads come, few are kept."""
        for number in range(3 * heads._REMEMBERED):
            self.reader.read(GET % number)
            self.reader.read(GET % number)
            self.assertLessEqual(len(self.reader._known), heads._REMEMBERED)
            self.assertLessEqual(len(self.reader._once), heads._REMEMBERED)
        self.assertTrue(self.reader._known)

    def test_long_ones_are_not_kept(self) -> None:
        """A head above the bound is read each time."""
        long = GET[:-2] % 1 + b"A: " + b"x" * heads._LONGEST_REMEMBERED + b"\r\n\r\n"
        for _ in range(3):
            self.reader.read(long)
        self.assertEqual(self.reader._known, {})

    def test_heads_before_bodies_are_not_kept(self) -> None:
        """Nor are uploads: each has a parser that waits for its body."""
        for framing in (b"Content-Length: 2", b"Transfer-Encoding: chunked"):
            for _ in range(3):
                self.reader.read(
                    b"PUT / HTTP/1.1\r\nHost: h\r\n" + framing + b"\r\n\r\n"
                )
        self.assertEqual(self.reader._known, {})
        self.assertEqual(self.reader.read(GET % 1).method, b"GET")

    def test_bad_ones_stay_bad(self) -> None:
        """A refusal is not remembered as anything else, and harms no other."""
        for _ in range(3):
            with self.assertRaises(BadMessageError):
                self.reader.read(b"GET / HTTP/1.1\r\n\r\n")
            self.reader.read(GET % 1)

    def test_last_ones_of_a_connection_are_kept_too(self) -> None:
        """`Connection: close` is a part of the head like any other."""
        close = GET[:-2] % 1 + b"Connection: close\r\n\r\n"
        for _ in range(3):
            self.assertFalse(self.reader.read(close).keeps)
        self.assertTrue(self.reader.read(GET % 1).keeps)
