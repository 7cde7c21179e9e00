"""Prepared answers with parts of files, on the event loop's own transports."""

import os
import tempfile
from typing import Any, BinaryIO

from twisted.logger import globalLogPublisher

from clusterapp.http.connection.file_response import SHORTER
from clusterapp.http.connection_limits import WRITE_STALL
from clusterapp.http.server.prepared_response import FilePart, OpenFile, Prepared
from clusterapp.http.transports.asyncio_adapter import AsyncioAdapter
from tests.unit.http.native_sites import NativeCase, Tls, chunk_of, on_each_loop

SIZE = 5 * 1024 * 1024 + 7
CONTENT = bytes(range(251)) * (SIZE // 251) + b"!" * (SIZE % 251)


class FileCase(NativeCase):
    """A file, and answers that are made of it."""

    def setUp(self) -> None:
        self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115
        self.addCleanup(self.file.close)
        self.file.write(CONTENT)
        self.file.flush()

    def prepare(self, path: str, *parts: bytes | tuple[int, int]) -> None:
        """Prepare an answer: of bytes, and of parts of the file."""
        file = OpenFile(os.dup(self.file.fileno()))
        made = [
            each if isinstance(each, bytes) else FilePart(file, *each) for each in parts
        ]
        self.prepared[path.encode()] = Prepared(200, [], made)


class SendingTests(FileCase):
    """Files to clients that read."""

    @on_each_loop
    async def test_whole_to_a_slow_client(self) -> None:
        """All of it arrives, byte for byte, and the connection is kept."""
        self.prepare("/file", (0, SIZE))
        client = await self.client(small=True)
        for _ in range(2):
            await client.get("/file", "/hi")
            await client.until(b"\r\n\r\n")
            while len(client.received) < SIZE:
                await client.some()
            self.assertEqual(client.received[:SIZE], CONTENT)
            client.received = client.received[SIZE:]
            await client.until(b"\r\n\r\nhi")

    @on_each_loop
    async def test_parts(self) -> None:
        """Ranges, with bytes between them."""
        self.prepare("/parts", b"<", (100, 1000), b"|", (SIZE - 9, 9), b">")
        client = await self.client()
        await client.get("/parts", also=b"Connection: close\r\n")
        expected = b"<" + CONTENT[100:1100] + b"|" + CONTENT[-9:] + b">"
        self.assertEqual(chunk_of(await client.rest()), expected)

    @on_each_loop
    async def test_among_others(self) -> None:
        """Answers keep their order: small ones, files and slow ones."""
        self.prepare("/part", (10, 3_000_000))
        client = await self.client(small=True)
        await client.get("/hi", "/part", "/slow", "/part", "/hi")
        await client.until(b"\r\n\r\nhi")
        await client.until(b"\r\n\r\n" + CONTENT[10:3_000_010])
        (await self.request()).finish()
        await client.until(b"\r\n\r\n")
        await client.until(b"\r\n\r\n" + CONTENT[10:3_000_010])
        await client.until(b"\r\n\r\nhi")

    @on_each_loop
    async def test_head(self) -> None:
        """A HEAD gets the length, and none of the file."""
        self.prepare("/file", (0, SIZE))
        client = await self.client()
        await client.send(b"HEAD /file HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertIn(b"Content-Length: %d\r\n" % SIZE, await client.until(b"\r\n\r\n"))
        await client.get("/hi")
        self.assertTrue((await client.until(b"hi")).startswith(b"HTTP/1.1 200"))

    @on_each_loop
    async def test_old_clients(self) -> None:
        """HTTP/1.0 with and without keep-alive."""
        self.prepare("/part", (0, 100_000))
        client = await self.client()
        await client.send(b"GET /part HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        head = await client.until(b"\r\n\r\n")
        self.assertIn(b"\r\nConnection: keep-alive\r\n", head)
        await client.until(CONTENT[:100_000])
        await client.send(b"GET /part HTTP/1.0\r\n\r\n")
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        self.assertIn(b"\r\nConnection: close", head)
        self.assertEqual(body, CONTENT[:100_000])

    @on_each_loop
    async def test_tls(self) -> None:
        """Over TLS it is encrypted, and arrives as well."""
        self.prepare("/file", b"<", (0, SIZE), b">")
        writer = await Tls().connect(self)
        writer.write(b"GET /file HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        received = await self.reader.read()
        self.assertEqual(chunk_of(received), b"<" + CONTENT + b">")
        writer.close()
        await writer.wait_closed()


class MoreTests(FileCase):
    """
    What is held back with MSG_MORE is always followed by a piece of a file.

    Otherwise the end of a response would be 200 ms late: see tcp(7), TCP_CORK.
    """

    def setUp(self) -> None:
        super().setUp()
        self.steps: list[str] = []
        hold_back, sendfile = AsyncioAdapter.write_before_file, os.sendfile
        use = AsyncioAdapter._use

        def used(adapter: Any, native: Any) -> None:
            use(adapter, native)
            connection = adapter.connection
            write = connection.write

            def written(data: bytes) -> None:
                self.steps.append("write")
                write(data)

            connection.write = written

        def held_back(adapter: AsyncioAdapter, data: bytes) -> None:
            self.steps.append("more")
            hold_back(adapter, data)

        def sent(*args: Any) -> int:
            self.steps.append("file")
            return sendfile(*args)

        self.patch(AsyncioAdapter, "write_before_file", held_back)
        self.patch(os, "sendfile", sent)
        self.patch(AsyncioAdapter, "_use", used)

    @on_each_loop
    async def test_every_kind(self) -> None:
        """Several ranges, one, none, a HEAD, and what is no file at all."""
        self.prepare("/ranges", b"<", (0, 9), b"|", (20, 5), b">")
        self.prepare("/range", (5, 1000))
        self.prepare("/empty", (0, 0))
        self.prepare("/around", b"<", (0, 0), b">")
        self.prepare("/small", b"small")
        for path, body in (
            ("/ranges", b"<" + CONTENT[:9] + b"|" + CONTENT[20:25] + b">"),
            ("/range", CONTENT[5:1005]),
            ("/empty", b""),
            ("/around", b"<>"),
            ("/small", b"small"),
            ("/hi", b"hi"),
        ):
            for method in ("GET", "HEAD"):
                self.steps.clear()
                client = await self.client()
                await client.send(
                    f"{method} {path} HTTP/1.1\r\nHost: h\r\n"
                    "Connection: close\r\n\r\n".encode()
                )
                received = chunk_of(await client.rest())
                self.assertEqual(received, body if method == "GET" else b"", path)
                self.assertNotEqual(self.steps[-1:], ["more"], (path, self.steps))


class BrokenTests(FileCase):
    """Files and clients that do not stay as they were."""

    @on_each_loop
    async def test_file_that_became_shorter(self) -> None:
        """The client sees a broken connection, whenever the file is cut."""
        self.file.truncate(SIZE - 1)
        self.prepare("/file", (0, SIZE))
        client = await self.client()
        await client.get("/file")
        logged: list[Any] = []
        observer: Any = logged.append
        globalLogPublisher.addObserver(observer)
        try:
            with self.assertRaises(ConnectionResetError):
                await client.rest()
            await self.so(lambda: not self.site._connections)
        finally:
            globalLogPublisher.removeObserver(observer)
        said = [event["why"] for event in logged if event.get("path") == "/file"]
        self.assertEqual(said, [SHORTER])

    @on_each_loop
    async def test_file_that_became_shorter_over_tls(self) -> None:
        """There, too, it does not look like the end."""
        self.file.truncate(SIZE - 1)
        self.prepare("/file", (0, SIZE))
        writer = await Tls().connect(self)
        writer.write(b"GET /file HTTP/1.1\r\nHost: h\r\n\r\n")
        with self.assertRaises(ConnectionResetError):
            # With its head, the whole response would be longer than the file.
            await self.reader.readexactly(2 * SIZE)
        writer.close()
        await self.so(lambda: not self.site._connections)

    @on_each_loop
    async def test_client_that_leaves(self) -> None:
        """No descriptor outlives a client that leaves in the middle."""
        self.prepare("/file", (0, SIZE))
        for leave in ("goes", "resets"):
            client = await self.client(small=True)
            await client.get("/file")
            await client.until(b"\r\n\r\n")
            await self.so(lambda: self.connection().flow.paused)
            getattr(client, leave)()
            await self.so(lambda: not self.site._connections)

    @on_each_loop
    async def test_client_that_stalls(self) -> None:
        """A client that takes nothing for long is cut off."""
        self.prepare("/file", (0, SIZE))
        client = await self.client(small=True)
        await client.get("/file")
        await self.so(lambda: self.site._connections)
        await self.so(lambda: self.connection().flow.paused)
        began = self.clock.seconds()
        while self.site._connections:
            # The kernel may take a little more even then, when it comes to it.
            await self.later(1)
        self.assertGreaterEqual(self.clock.seconds() - began, WRITE_STALL)
        with self.assertRaises(ConnectionResetError):
            await client.rest()
