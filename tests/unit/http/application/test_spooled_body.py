"""The body of a request, gathered: in memory, or in a file without a name."""

import os
from io import BytesIO
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET

from clusterapp.http.application import request as request_module
from clusterapp.http.application.spooled_body import Content
from clusterapp.http.connection_limits import BODY_IN_MEMORY, Limits
from clusterapp.http.site import ClusterSite
from tests.unit.http.clients import Client
from tests.unit.http.side_by_side import Calling, get, post


class ContentTests(SynchronousTestCase):
    """One body."""

    def content(self, length: int | None, *pieces: bytes) -> Content:
        content = Content(length)
        self.addCleanup(content.close)
        for piece in pieces:
            content.add(piece)
        return content

    def assert_in_memory(self, content: Content, expected: bool) -> None:
        self.assertEqual(isinstance(content.file(), BytesIO), expected)

    def test_threshold(self) -> None:
        """It is in memory up to 64 KiB, to the byte."""
        self.assertEqual(BODY_IN_MEMORY, 65_536)
        self.assert_in_memory(self.content(65_536), True)
        self.assert_in_memory(self.content(65_537), False)

    def test_threshold_of_unknown_length(self) -> None:
        """It moves to a file with the byte that is too many."""
        content = self.content(None, b"a" * 65_535, b"b")
        self.assert_in_memory(content, True)
        content.file().seek(0, os.SEEK_END)
        content.add(b"c")
        self.assert_in_memory(content, False)
        content.file().seek(0, os.SEEK_END)
        content.add(b"d")
        self.assertEqual(content.file().read(), b"a" * 65_535 + b"bcd")

    def test_one_piece_that_is_too_big(self) -> None:
        content = self.content(None, b"a" * 65_537)
        self.assert_in_memory(content, False)
        self.assertEqual(content.file().read(), b"a" * 65_537)

    def test_file_has_no_name(self) -> None:
        """So nothing of it is left, however the process ends."""
        file = self.content(65_537).file()
        self.assertEqual(os.fstat(file.fileno()).st_nlink, 0)

    def test_file_begins_at_the_beginning(self) -> None:
        for length in (6, 70_000):
            self.assertEqual(
                self.content(length, b"abc", b"def").file().read(), b"abcdef"
            )

    def test_whole_moves_nothing(self) -> None:
        """It can be read beside who reads it as a file."""
        content = self.content(6, b"abcdef")
        file = content.file()
        file.read(2)
        self.assertEqual(content.whole(), b"abcdef")
        self.assertEqual(file.read(), b"cdef")

    def test_closed(self) -> None:
        """It gives nothing but its file, which is closed."""
        content = self.content(3, b"abc")
        content.close()
        content.close()
        self.assertTrue(content.file().closed)
        self.assertRaises(ValueError, content.whole)


class EndTests(SynchronousTestCase):
    """The file of a request's body is closed when the request ends, in any way."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.requests: list[Any] = []
        root = Calling(lambda request, _: self.wait(request), [])
        self.site = ClusterSite(self.clock, root, limits=Limits(body=100_000))
        self.contents: list[Content] = []
        made = self.contents

        class Noted(Content):
            def __init__(self, length: int | None) -> None:
                super().__init__(length)
                made.append(self)

        self.patch(request_module, "Content", Noted)

    def wait(self, request: Any) -> int:
        self.requests.append(request)
        return NOT_DONE_YET

    def client(self, *pieces: bytes) -> Client:
        client = Client(self.site, self.clock)
        self.addCleanup(self.clock.advance, 0)
        self.addCleanup(client.goes)
        client.send(*pieces)
        return client

    def assert_closed(self, expected: bool = True) -> None:
        self.assertEqual([each.file().closed for each in self.contents], [expected])

    def test_response(self) -> None:
        """Whether or not anybody has looked at it."""
        for looked_at in (False, True):
            self.contents.clear()
            self.client(post(b"x" * 70_000))
            self.assert_closed(False)
            request = self.requests.pop()
            if looked_at:
                self.assertEqual(len(request.content.read()), 70_000)
            request.finish()
            self.assert_closed()

    def test_client_goes(self) -> None:
        """While the request is answered."""
        self.client(post(b"x" * 70_000)).goes()
        self.assert_closed()

    def test_client_goes_in_the_middle(self) -> None:
        """Before all of the body has come."""
        self.client(post(b"x" * 70_000)[:-1]).goes()
        self.assertEqual(self.requests, [])
        self.assert_closed()

    def test_too_long(self) -> None:
        """A body that turns out to be too long."""
        chunk = b"c350\r\n" + b"x" * 50_000 + b"\r\n"
        client = self.client(
            get("/", "Transfer-Encoding: chunked", method="POST"), chunk, chunk
        )
        self.assert_closed(False)
        client.send(chunk)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 413 "))
        self.assert_closed()

    def test_malformed(self) -> None:
        """A body that is none."""
        head = get("/", "Transfer-Encoding: chunked", method="POST")
        client = self.client(head, b"1\r\nx\r\n")
        client.send(b"zz\r\n")
        self.assertTrue(client.received.startswith(b"HTTP/1.1 400 "))
        self.assert_closed()

    def test_abort(self) -> None:
        """The server is stopped."""
        client = self.client(post(b"x" * 70_000))
        self.site.abort()
        client.goes()
        self.assert_closed()
