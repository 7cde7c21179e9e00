"""Certificates on real connections, with asyncio's event loop and with uvloop's."""

import asyncio
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvloop

from clusterapp.http.tls.certificates import Certificates
from clusterapp.settings.listen import TlsFolderListen
from tests.unit.http.tls.pem_files import CertificatesCase, shown_serial

#: Seconds that a handshake may take.
DEADLINE = 20.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo(asyncio.Protocol):
    """Sends back what it receives, after the protocol that was agreed on."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        agreed = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        transport.write(f"{agreed}\n".encode())

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class LoopTests(CertificatesCase):
    """What `connect_accepted_socket` makes of the contexts."""

    def setUp(self) -> None:
        super().setUp()
        self.first = self.papers.pair("a")
        self.second = self.papers.pair("b")
        self.unheard: list[dict[str, Any]] = []
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listening.close)
        self.listening.setblocking(False)

    def serve(self, ca: str | None = None) -> Certificates:
        spec = TlsFolderListen(port=443, certificates=str(self.folder), ca=ca)
        return Certificates(spec, self.clock.seconds)

    def on_each_loop(self, test: Callable[[], Awaitable[None]]) -> None:
        """Run a test with each kind of event loop; nothing may go wrong unheard."""
        for make in (asyncio.new_event_loop, uvloop.new_event_loop):
            with closing_loop(make()) as loop:
                loop.set_exception_handler(self.hear)
                loop.run_until_complete(asyncio.wait_for(test(), DEADLINE))
            self.assertEqual(self.unheard, [])

    def hear(self, _: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
        self.unheard.append(what)

    async def connect(self, certificates: Certificates, name: str | None) -> Streams:
        """Connect over loopback, and wait until both sides have agreed."""
        loop = asyncio.get_running_loop()
        near = asyncio.ensure_future(
            asyncio.open_connection(
                *self.listening.getsockname(),
                ssl=self.client,
                server_hostname=name or "",
            )
        )
        accepted, _ = await loop.sock_accept(self.listening)
        far = loop.connect_accepted_socket(
            Echo, accepted, ssl=certificates.context(), ssl_handshake_timeout=DEADLINE
        )
        client, server = await asyncio.gather(near, far, return_exceptions=True)
        if not isinstance(server, BaseException):
            return near.result()
        if not isinstance(client, BaseException):
            client[1].close()  # with TLS 1.3 it cannot know yet
        raise server

    async def seen(self, certificates: Certificates, name: str | None) -> int:
        streams = await self.connect(certificates, name)
        try:
            return serial_of(streams)
        finally:
            await close(streams)

    def test_names(self) -> None:
        """The certificate is switched by SNI."""

        async def test() -> None:
            served = self.serve()
            self.assertEqual(await self.seen(served, "b.example.org"), self.second)
            self.assertEqual(await self.seen(served, "a.example.org"), self.first)
            self.assertEqual(await self.seen(served, None), self.first)

        self.on_each_loop(test)

    def test_protocol(self) -> None:
        """HTTP/1.1 is agreed on, with the default and with one that was switched to."""
        self.client.set_alpn_protocols(["h2", "http/1.1"])

        async def test() -> None:
            for name in ("a.example.org", "b.example.org"):
                streams = await self.connect(self.serve(), name)
                self.assertEqual(await streams[0].readline(), b"http/1.1\n")
                await close(streams)

        self.on_each_loop(test)

    def test_renewal(self) -> None:
        """The connection that is open goes on, the next one gets the new."""

        async def test() -> None:
            served = self.serve()
            streams = await self.connect(served, "b.example.org")
            old = serial_of(streams)
            new = self.papers.pair("b")
            self.clock.advance(1)
            self.assertEqual(await self.seen(served, "b.example.org"), new)
            await streams[0].readline()
            streams[1].write(b"still here\n")
            self.assertEqual(await streams[0].readline(), b"still here\n")
            self.assertEqual(serial_of(streams), old)
            await close(streams)

        self.on_each_loop(test)

    def test_client_certificates(self) -> None:
        """Clients without one are refused before the application gets a request."""
        mine = self.papers.authority.issue_cert("client")

        async def test() -> None:
            served = self.serve(str(self.ca))
            self.client = self.papers.client(mine)
            self.assertEqual(await self.seen(served, "b.example.org"), self.second)
            self.client = self.papers.client()
            with self.assertRaises(ssl.SSLError) as raised:
                await self.connect(served, "b.example.org")
            self.assertIn("did not return a certificate", str(raised.exception))

        self.on_each_loop(test)

    def test_old_versions(self) -> None:
        """TLS 1.1 is refused."""
        self.client = self.papers.old_client()

        async def test() -> None:
            with self.assertRaises(ssl.SSLError) as raised:
                await self.connect(self.serve(), "b.example.org")
            self.assertEqual(raised.exception.reason, "UNSUPPORTED_PROTOCOL")

        self.on_each_loop(test)

    def test_name_that_is_none(self) -> None:
        """A name of other bytes than ASCII ends the handshake, and nothing else."""
        heard: list[str] = []
        self.patch(
            sys, "unraisablehook", lambda what: heard.append(str(what.exc_value))
        )

        async def test() -> None:
            served = self.serve()
            with self.assertRaises(ssl.SSLError):
                await self.talk(served, hello(b"b\xff.example.org"))
            self.assertEqual(await self.seen(served, "b.example.org"), self.second)

        self.on_each_loop(test)
        self.assertEqual(len(heard), 2)

    async def talk(self, certificates: Certificates, words: bytes) -> None:
        """Connect and say something, whatever it is."""
        loop = asyncio.get_running_loop()
        with socket.create_connection(self.listening.getsockname()) as client:
            client.sendall(words)
            accepted, _ = await loop.sock_accept(self.listening)
            await loop.connect_accepted_socket(
                Echo, accepted, ssl=certificates.context()
            )


@contextmanager
def closing_loop(
    loop: asyncio.AbstractEventLoop,
) -> Iterator[asyncio.AbstractEventLoop]:
    """Close a loop when it is no longer needed."""
    try:
        yield loop
    finally:
        loop.close()


def hello(name: bytes) -> bytes:
    """Make a client's first words, with a name in them that no client would send."""
    up = ssl.MemoryBIO()
    context = ssl.create_default_context()
    stand_in = "x" * len(name)
    near = context.wrap_bio(ssl.MemoryBIO(), up, server_hostname=stand_in)
    try:
        near.do_handshake()
    except ssl.SSLWantReadError:
        return up.read().replace(stand_in.encode(), name)
    raise AssertionError("nobody has answered yet")


def serial_of(streams: Streams) -> int:
    """Return which certificate the server showed."""
    return shown_serial(streams[1].get_extra_info("ssl_object"))


async def close(streams: Streams) -> None:
    """Close a connection, and wait until that is done."""
    streams[1].close()
    await streams[1].wait_closed()
