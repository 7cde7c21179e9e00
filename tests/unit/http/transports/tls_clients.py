"""Clients of TLS listeners that do only what a test has them do."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from clusterapp.http.transports.asyncio_server import AsyncioServer
from tests.unit.http.native_sites import NativeCase, Tls, pair

Result = TypeVar("Result")


class RawTls:
    """
    A TLS client that sends nothing by itself, such as an answer to a close_notify.

    :param case: its site serves the client.
    :param tls: the contexts of both sides.
    :param small: whether the client takes only a little at a time.
    """

    def __init__(self, case: NativeCase, tls: Tls, *, small: bool = False) -> None:
        self._loop = case.loop
        self._server = AsyncioServer(case.loop, case.site, self._context)
        self._served = tls.server
        self.socket, self._far = pair(socket.AF_INET, small=small)
        self._address = self.socket.getsockname()
        self.socket.setblocking(False)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = tls.client.wrap_bio(
            self._incoming, self._outgoing, server_hostname="localhost"
        )
        case.addCleanup(self.socket.close)
        #: How many handshakes the server has begun.
        self.begun = 0

    def serve(self) -> None:
        """Pass the server's end of the connection to the server."""
        self._server.serve(self._far, self._address)

    def hello(self) -> bytes:
        """Return the ClientHello, which is not sent."""
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return self._outgoing.read()
        raise AssertionError("the handshake is over")

    async def handshake(self) -> None:
        """Complete the handshake."""
        await self._do(self.object.do_handshake)
        await self.flush()

    async def ask(self, path: str, also: bytes = b"") -> None:
        """Send a request."""
        self.object.write(b"GET %b HTTP/1.1\r\nHost: h\r\n" % path.encode() + also)
        self.object.write(b"\r\n")
        await self.flush()

    async def rest(self) -> bytes:
        """Receive until the server's close_notify, which must come."""
        received = b""
        while piece := await self._do(self._read):
            received += piece
        return received

    def _context(self) -> ssl.SSLContext:
        self.begun += 1
        return self._served

    async def flush(self) -> None:
        """Send what is to be sent."""
        await self._loop.sock_sendall(self.socket, self._outgoing.read())

    def _read(self) -> bytes:
        try:
            return self.object.read(65536)
        except ssl.SSLZeroReturnError:
            return b""

    async def _do(self, step: Callable[[], Result]) -> Result:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                await self.flush()
                piece = await self._loop.sock_recv(self.socket, 65536)
                if piece:
                    self._incoming.write(piece)
                else:
                    self._incoming.write_eof()


async def soon(waiting: "asyncio.Future[Result]") -> Result:
    """Wait for what no timeout may be needed for."""
    return await asyncio.wait_for(waiting, 4.0)
