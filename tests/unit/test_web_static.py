"""Static files: what is sent, and above all what is not."""

import os
from pathlib import Path
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.http import datetimeToString, stringToDatetime
from twisted.web.resource import IResource
from twisted.web.server import Site

from clusterapp.web.static import StaticFolder, parse_ranges

LETTERS = b"abcdefghijklmnopqrstuvwxyz"


class Answer(NamedTuple):
    """A response, with the names of its fields in lower case."""

    status: int
    fields: dict[bytes, bytes]
    body: bytes


class ClosedTransport(StringTransport):
    """Tells when the server has closed the connection."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: Deferred[None] = Deferred()

    def loseConnection(self) -> None:
        super().loseConnection()
        if not self.closed.called:
            self.closed.callback(None)


async def ask(
    resource: IResource, target: bytes, *fields: bytes, method: bytes = b"GET"
) -> Answer:
    """Send one request as it stands, and return the whole answer."""
    channel = Site(resource, reactor=Clock()).buildProtocol(None)
    assert channel is not None
    transport = ClosedTransport()
    channel.makeConnection(transport)
    head = [method + b" " + target + b" HTTP/1.1", b"Host: a", b"Connection: close"]
    channel.dataReceived(b"\r\n".join([*head, *fields, b"", b""]))
    await transport.closed
    start, _, body = transport.value().partition(b"\r\n\r\n")
    status, *lines = start.split(b"\r\n")
    pairs = (line.split(b": ", 1) for line in lines)
    answer = {name.lower(): value for name, value in pairs}
    return Answer(int(status.split(b" ")[1]), answer, body)


def open_files() -> set[str]:
    """Return the paths that this process has open."""
    links = Path("/proc/self/fd").iterdir()
    return {str(link.readlink()) for link in links if link.is_symlink()}


class StaticFolderTests(TestCase):
    """One folder, with a file, a folder with an index and one without."""

    timeout = 20

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        for name in ("site/sub", "site/empty", "site/.git"):
            (self.root / name).mkdir(parents=True)
        (self.root / "secret.txt").write_bytes(b"secret")
        self.site = self.root / "site"
        (self.site / "letters.txt").write_bytes(LETTERS)
        (self.site / "sub" / "index.html").write_bytes(b"<p>index")
        (self.site / ".env").write_bytes(b"secret")
        (self.site / ".git" / "config").write_bytes(b"secret")
        self.resource = StaticFolder(self.site)

    def write(self, name: str) -> None:
        (self.site / name).write_bytes(b"x")

    async def get(self, target: bytes, *fields: bytes) -> Answer:
        return await ask(self.resource, target, *fields)

    async def assert_hidden(self, *targets: bytes) -> None:
        for target in targets:
            answer = await self.get(target)
            self.assertEqual(answer.status, 404, target)
            self.assertNotIn(b"secret", answer.body, target)

    async def test_file(self) -> None:
        answer = await self.get(b"/letters.txt")
        self.assertEqual((answer.status, answer.body), (200, LETTERS))
        self.assertEqual(answer.fields[b"content-length"], b"26")
        self.assertEqual(answer.fields[b"x-content-type-options"], b"nosniff")
        stringToDatetime(answer.fields[b"last-modified"])

    async def test_head(self) -> None:
        """HEAD tells what GET would, and sends nothing."""
        answer = await ask(self.resource, b"/letters.txt", method=b"HEAD")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(answer.fields[b"content-length"], b"26")
        self.assertEqual(answer.fields[b"content-type"], b"text/plain; charset=utf-8")

    async def test_head_of_nothing(self) -> None:
        answer = await ask(self.resource, b"/nothing", method=b"HEAD")
        self.assertEqual((answer.status, answer.body), (404, b""))

    async def test_other_methods(self) -> None:
        for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PROPFIND"):
            answer = await ask(self.resource, b"/letters.txt", method=method)
            self.assertEqual(answer.status, 405, method)
            self.assertEqual(answer.fields[b"allow"], b"GET, HEAD")

    async def test_types(self) -> None:
        for name, kind in (
            ("page.html", b"text/html; charset=utf-8"),
            ("style.CSS", b"text/css; charset=utf-8"),
            ("code.mjs", b"text/javascript; charset=utf-8"),
            ("picture.png", b"image/png"),
            ("font.woff2", b"font/woff2"),
            ("archive.tar.gz", b"application/gzip"),
            ("what.ever", b"application/octet-stream"),
            ("README", b"application/octet-stream"),
        ):
            self.write(name)
            answer = await self.get(b"/" + name.encode())
            self.assertEqual(answer.fields[b"content-type"], kind, name)
            self.assertNotIn(b"content-encoding", answer.fields, name)

    async def test_empty_file(self) -> None:
        (self.site / "empty.txt").write_bytes(b"")
        answer = await self.get(b"/empty.txt")
        self.assertEqual((answer.status, answer.body), (200, b""))
        answer = await self.get(b"/empty.txt", b"Range: bytes=0-")
        self.assertEqual(answer.status, 416)

    async def test_names_of_any_bytes(self) -> None:
        for name in ("grüß dich.txt".encode(), b"latin-\xe9.txt", b"a+b%c;d.txt"):
            self.write(os.fsdecode(name))
            target = b"/" + b"".join(b"%%%02x" % byte for byte in name)
            self.assertEqual((await self.get(target)).status, 200, name)

    async def test_missing_file(self) -> None:
        await self.assert_hidden(b"/nothing", b"/letters.txt/x", b"/letters.txt/")

    async def test_directory_with_an_index(self) -> None:
        answer = await self.get(b"/sub/")
        self.assertEqual((answer.status, answer.body), (200, b"<p>index"))

    async def test_directory_without_its_slash(self) -> None:
        """The redirect is relative, so no Host field can lead it elsewhere."""
        answer = await self.get(b"/sub?a=b")
        self.assertEqual(answer.status, 302)
        self.assertEqual(answer.fields[b"location"], b"sub/?a=b")
        self.assertEqual((await self.get(b"/s%75b")).fields[b"location"], b"sub/")

    async def test_directories_are_not_listed(self) -> None:
        await self.assert_hidden(b"/", b"/empty", b"/empty/")

    async def test_hidden_files(self) -> None:
        await self.assert_hidden(b"/.env", b"/%2eenv", b"/.git/config", b"/.git/")

    async def test_ways_out(self) -> None:
        await self.assert_hidden(
            b"/../secret.txt",
            b"/%2e%2e/secret.txt",
            b"/..%2fsecret.txt",
            b"/sub/../../secret.txt",
            b"/sub%2findex.html",
            b"/%2f" + bytes(self.root)[1:] + b"/secret.txt",
            b"//" + bytes(self.root)[1:] + b"/secret.txt",
            b"/sub//index.html",
            b"/./letters.txt",
        )

    async def test_names_that_no_file_has(self) -> None:
        await self.assert_hidden(
            b"/%00", b"/letters.txt%00", b"/sub%00/index.html", b"/" + b"x" * 300
        )

    async def test_links_out_of_the_folder(self) -> None:
        (self.site / "out.txt").symlink_to(self.root / "secret.txt")
        (self.site / "up").symlink_to(self.root)
        (self.site / "twin").symlink_to(self.root / "site-2")
        (self.root / "site-2").mkdir()
        (self.root / "site-2" / "x.txt").write_bytes(b"secret")
        (self.site / "loop").symlink_to(self.site / "loop")
        await self.assert_hidden(
            b"/out.txt", b"/up/secret.txt", b"/twin/x.txt", b"/loop", b"/loop/x"
        )

    async def test_links_within_the_folder(self) -> None:
        (self.site / "again.txt").symlink_to("letters.txt")
        self.assertEqual((await self.get(b"/again.txt")).body, LETTERS)

    async def test_the_folder_may_be_a_link(self) -> None:
        (self.root / "link").symlink_to(self.site)
        self.resource = StaticFolder(self.root / "link")
        self.assertEqual((await self.get(b"/letters.txt")).body, LETTERS)

    async def test_only_regular_files(self) -> None:
        """A pipe would block the worker for ever."""
        os.mkfifo(self.site / "pipe.txt")
        await self.assert_hidden(b"/pipe.txt")

    async def test_unchanged_file(self) -> None:
        first = await self.get(b"/letters.txt")
        seen = first.fields[b"last-modified"]
        answer = await self.get(b"/letters.txt", b"If-Modified-Since: " + seen)
        self.assertEqual((answer.status, answer.body), (304, b""))

    async def test_one_range(self) -> None:
        for wanted, body, stated in (
            (b"0-2", b"abc", b"bytes 0-2/26"),
            (b"23-", b"xyz", b"bytes 23-25/26"),
            (b"23-9999", b"xyz", b"bytes 23-25/26"),
            (b"-3", b"xyz", b"bytes 23-25/26"),
            (b"-9999", LETTERS, b"bytes 0-25/26"),
            (b"99-, 0-0", b"a", b"bytes 0-0/26"),
        ):
            answer = await self.get(b"/letters.txt", b"Range: bytes=" + wanted)
            self.assertEqual((answer.status, answer.body), (206, body), wanted)
            self.assertEqual(answer.fields[b"content-range"], stated, wanted)
            self.assertEqual(answer.fields[b"content-length"], b"%d" % len(body))

    async def test_a_range_beyond_the_end(self) -> None:
        for wanted in (b"26-", b"99-100", b"-0", b"99-,100-"):
            answer = await self.get(b"/letters.txt", b"Range: bytes=" + wanted)
            self.assertEqual((answer.status, answer.body), (416, b""), wanted)
            self.assertEqual(answer.fields[b"content-range"], b"bytes */26", wanted)

    async def test_ranges_that_are_ignored(self) -> None:
        """Malformed ones, other units, and several: the whole file, once."""
        for field in (
            b"bytes=",
            b"bytes=-",
            b"bytes=,",
            b"bytes=2-1",
            b"bytes=a-b",
            b"bytes=0-1,x",
            b"bytes=" + b"9" * 5000 + b"-",
            b"lines=0-1",
            b"nonsense",
            b"bytes=0-1,3-4",
            b"bytes=" + b",".join([b"0-"] * 100),
            b"bytes=" + b",".join([b"0-0"] * 800),
        ):
            answer = await self.get(b"/letters.txt", b"Range: " + field)
            self.assertEqual((answer.status, answer.body), (200, LETTERS), field)

    async def test_range_of_a_file_that_has_changed(self) -> None:
        """If-Range: a part of the old file must not meet one of the new."""
        seen = (await self.get(b"/letters.txt")).fields[b"last-modified"]
        wanted = b"Range: bytes=0-2"
        same = await self.get(b"/letters.txt", wanted, b"If-Range: " + seen)
        self.assertEqual((same.status, same.body), (206, b"abc"))
        for other in (datetimeToString(0), b'"etag"'):
            changed = await self.get(b"/letters.txt", wanted, b"If-Range: " + other)
            self.assertEqual((changed.status, changed.body), (200, LETTERS))

    async def test_a_large_file_comes_whole(self) -> None:
        """One that is longer than what is read at once."""
        content = bytes(range(256)) * 1024
        (self.site / "large.bin").write_bytes(content)
        self.assertEqual((await self.get(b"/large.bin")).body, content)
        part = await self.get(b"/large.bin", b"Range: bytes=100000-200000")
        self.assertEqual(part.body, content[100000:200001])

    def begin(self, target: bytes) -> tuple[IProtocol, ClosedTransport]:
        """Let a client that keeps its connection ask for a file."""
        channel = Site(self.resource, reactor=Clock()).buildProtocol(None)
        assert channel is not None
        transport = ClosedTransport()
        channel.makeConnection(transport)
        channel.dataReceived(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        return channel, transport

    async def test_a_file_that_shrinks_breaks_the_answer(self) -> None:
        """The connection ends, since the promised length cannot be kept."""
        path = self.site / "large.bin"
        path.write_bytes(bytes(1024 * 1024))
        _, transport = self.begin(b"/large.bin")
        os.truncate(path, 100_000)
        await transport.closed
        self.assertLess(len(transport.value()), 1024 * 1024)

    def test_a_client_that_goes_away(self) -> None:
        """Its file is closed."""
        path = self.site / "large.bin"
        path.write_bytes(bytes(1024 * 1024))
        channel, transport = self.begin(b"/large.bin")
        self.assertIn(str(path), open_files())
        # As the transports of a reactor do when a connection is lost.
        assert transport.producer is not None
        transport.producer.stopProducing()
        channel.connectionLost(Failure(ConnectionLost()))
        self.assertNotIn(str(path), open_files())


class ParseRangesTests(SynchronousTestCase):
    """A Range field is one or more ranges within the file, none, or ignored."""

    @given(st.integers(0, 30), st.integers(0, 40), st.integers(0, 40))
    def test_as_slices_of_the_file(self, size: int, first: int, last: int) -> None:
        """Every well-formed range is what slicing gives."""
        content = bytes(range(size))

        def parts(value: bytes) -> list[bytes] | None:
            found = parse_ranges(value, size)
            return (
                None
                if found is None
                else [content[start : end + 1] for start, end in found]
            )

        def expected(part: bytes) -> list[bytes]:
            return [part] if part else []

        self.assertEqual(parts(b"bytes=%d-" % first), expected(content[first:]))
        suffix = content[-last:] if last else b""
        self.assertEqual(parts(b"bytes=-%d" % last), expected(suffix))
        if first <= last:
            self.assertEqual(
                parts(b"Bytes=%d-%d" % (first, last)),
                expected(content[first : last + 1]),
            )
        else:
            self.assertIsNone(parts(b"bytes=%d-%d" % (first, last)))

    @given(st.binary(max_size=40), st.integers(0, 100))
    def test_anything_else_is_ignored(self, value: bytes, size: int) -> None:
        """Whatever a client sends, it is no error."""
        for each in (value, b"bytes=" + value):
            for first, last in parse_ranges(each, size) or ():
                self.assertTrue(0 <= first <= last < size)
