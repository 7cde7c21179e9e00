"""Files and pages from the future (RFC 9110, section 8.8.2.1)."""

import time
from collections.abc import Callable
from typing import Any

from klein import Klein
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import datetimeToString, stringToDatetime
from twisted.web.server import NOT_DONE_YET

from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.status_line import common_lines, date_in
from tests.unit.http.clients import Client
from tests.unit.http.side_by_side import Calling
from tests.unit.web.static.static_files import LARGE, StaticCase

FAR = 3_976_214_400  # in 2096


def fields_of(head: bytes) -> dict[bytes, bytes]:
    """Read the fields of a response; each must be there once."""
    lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    pairs = [line.lower().split(b": ", 1) for line in lines]
    assert len({name for name, _ in pairs}) == len(pairs), head
    return {pair[0]: pair[1] for pair in pairs}


def common_header_lines(seconds: int) -> bytes:
    """Write what every response has, at a time."""
    return b"Server: s\r\nDate: %b\r\n" % datetimeToString(seconds)


def calling(handler: Callable[[Any], Any]) -> Calling:
    """Make a leaf of a handler."""
    return Calling(lambda request, _: handler(request), [])


class FileTests(StaticCase):
    """A file whose time is in the future."""

    def head(self, prepared: Any, seconds: int) -> dict[bytes, bytes]:
        fields = fields_of(prepared.opening(common_header_lines(seconds)))
        if not prepared.has_files:
            self.assertEqual(
                fields_of(prepared.whole(common_header_lines(seconds))), fields
            )
        return fields

    def test_has_the_date_of_its_message(self) -> None:
        """Whole and in parts, from memory and from the disk, 304 and HEAD alike."""
        now = int(time.time())
        for name, size in (("a.txt", 20), ("large.bin", LARGE)):
            self.write(name, b"x" * size, FAR)
            target = b"/static/" + name.encode()
            tag = self.get(name.encode()).fields[b"etag"]
            for lines in (
                [],
                [b"Range: bytes=0-1"],
                [b"Range: bytes=0-1,9-9", b"If-Range: " + tag],
                [b"If-None-Match: " + tag],
            ):
                prepared = self.prepared(target, *lines)
                for then in (now, now + 100):
                    fields = self.head(prepared, then)
                    self.assertEqual(fields[b"last-modified"], fields[b"date"])

    def test_time_that_has_come(self) -> None:
        """From then on it is the file's own, although the answer was kept."""
        soon = int(time.time()) + 60
        self.write("soon.txt", b"x", soon)
        prepared = self.prepared(b"/static/soon.txt")
        for then, expected in ((soon - 9, soon - 9), (soon, soon), (soon + 9, soon)):
            date = self.head(prepared, then)[b"last-modified"]
            self.assertEqual(stringToDatetime(date), expected)

    def test_date_that_lags(self) -> None:
        """A file that was written a moment ago is not newer than an older Date."""
        now = int(time.time())
        self.write("new.txt", b"x", now)
        fields = self.head(self.prepared(b"/static/new.txt"), now - 1)
        self.assertEqual(fields[b"last-modified"], fields[b"date"])

    def test_conditions(self) -> None:
        """What a client was told lately is older than the file is said to be."""
        self.write("a.txt", b"x", FAR)
        now = time.time()
        for since, status in ((now - 9, 200), (FAR, 304), (FAR + 9, 304)):
            line = b"If-Modified-Since: " + datetimeToString(since)
            self.assertEqual(self.get(b"a.txt", line).status, status, line)
        self.write("old.txt", b"x", 1000)
        line = b"If-Modified-Since: " + datetimeToString(FAR)
        self.assertEqual(self.get(b"old.txt", line).status, 304)


class ApplicationTests(SynchronousTestCase):
    """What applications say of the future."""

    def ask(self, resource: Any, also: bytes = b"") -> bytes:
        clock = Clock()
        client = Client(ClusterSite(clock, resource), clock)
        self.addCleanup(client.goes)
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n%b\r\n" % also)
        return client.received

    def handlers(self) -> Any:
        far = datetimeToString(FAR)
        yield lambda request: request.setLastModified(FAR)
        yield lambda request: request.setHeader(b"last-modified", far)
        yield lambda request: request.setHeader("Last-Modified", far.decode())
        yield lambda request: request.responseHeaders.addRawHeader("last-modified", far)

    def test_date(self) -> None:
        """By each way to say it, and to send it."""
        for act in self.handlers():

            def at_once(request: Any, act: Any = act) -> bytes:
                act(request)
                return b"body"

            def in_pieces(request: Any, act: Any = act) -> int:
                act(request)
                request.write(b"body")
                request.finish()
                return NOT_DONE_YET

            app = Klein()
            app.route("/", endpoint="x")(at_once)
            for resource in (
                klein_resource(app),
                calling(at_once),
                calling(in_pieces),
            ):
                fields = fields_of(self.ask(resource))
                self.assertEqual(fields[b"last-modified"], fields[b"date"])

    def test_past(self) -> None:
        """It stays as it is, and so does what is no date."""
        for value in (datetimeToString(1000), b"yesterday", b"", b"Sun, 1 Foo 2"):

            def handler(request: Any, _: Any, value: bytes = value) -> bytes:
                request.setHeader(b"last-modified", value)
                return b"body"

            received = self.ask(Calling(handler, []))
            self.assertIn(b"Last-Modified: %b\r\n" % value, received)

    def test_conditions(self) -> None:
        """What is no date in a request does not count, and is no error."""
        for value, status in (
            (datetimeToString(2000), b"304"),
            (datetimeToString(FAR), b"304"),
            (datetimeToString(999), b"200"),
            (b";", b"200"),
            (b"x", b"200"),
            (b"Sun, 99 Xyz 9999 99:99:99 GMT", b"200"),
            (b"Sun, 01 Jan %b 00:00:00 GMT" % (b"9" * 5000), b"200"),
        ):

            def handler(request: Any, _: Any) -> bytes:
                request.setLastModified(1000)
                return b"body"

            line = b"If-Modified-Since: %b\r\n" % value
            received = self.ask(Calling(handler, []), line)
            self.assertEqual(received.split(b" ")[1], status, value)

    def test_own_lines(self) -> None:
        """The Date of every response can be read."""
        self.assertLess(abs(stringToDatetime(date_in(common_lines())) - time.time()), 5)
