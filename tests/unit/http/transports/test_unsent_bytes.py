"""What a client has not read when it resets its connection."""

import asyncio
import gc
import socket
import tracemalloc
import weakref
from collections.abc import Awaitable, Callable
from functools import partial
from struct import pack
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Request

from clusterapp.http.transports.asyncio_adapter import AsyncioAdapter
from tests.unit.http.native_sites import NativeCase, Tls, on_each_loop

LARGE = 4 << 20
#: How much a lost connection may leave until garbage is collected.
MOST_LEFT = 64 << 10
CLIENTS = 3

GET = b"GET /%b HTTP/1.1\r\nHost: h\r\n%b\r\n"


class LargeBody(Resource):
    """A large body, made anew for each request."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        """Return the body, or a short one."""
        return b"hi" if request.path == b"/hi" else b"%d" % id(request) * (LARGE // 15)


class ResetTests(NativeCase):
    """It is freed when the connection is lost, and waits for no garbage collection."""

    async def left(self, kept: bool, fields: bytes, turns: int) -> None:
        """
        Request the large body, read a little, and reset the connection.

        :param kept: whether another request came before on the connection.
        :param fields: header fields of the request.
        :param turns: how many turns the event loop has before the reset.
        """
        client = await self.client()
        if kept:
            await client.get("/hi")
            await client.until(b"\r\n\r\nhi")
        client.socket.send(GET % (b"large", fields))
        client.accepted()
        for _ in range(turns):
            await asyncio.sleep(0)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        client.socket.close()
        await self.so(lambda: not self.site._connections)

    async def over_tls(self, tls: Tls) -> None:
        """Request the large body over TLS, read a little, and reset the connection."""
        writer = await tls.connect(self)
        writer.write(GET % (b"large", b""))
        await self.reader.read(1000)
        there = writer.get_extra_info("socket")
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        writer.transport.abort()
        await self.so(lambda: not self.site._connections)

    async def left_by(self, lose: Callable[[], Awaitable[None]]) -> float:
        """Return how many bytes a lost connection leaves before garbage collection."""
        await lose()
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(CLIENTS):
                await lose()
            await asyncio.sleep(0)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.enable()
        return (after - before) / CLIENTS

    @on_each_loop
    async def test_unsent_bytes_are_freed(self) -> None:
        """Whether the event loop has a transport for the connection already or not."""
        self.site.resource = LargeBody()
        for kept in (False, True):
            for fields in (b"", b"Connection: close\r\n"):
                for turns in range(5):
                    lose = partial(self.left, kept, fields, turns)
                    left = await self.left_by(lose)
                    self.assertLess(left, MOST_LEFT, (kept, fields, turns))

    @on_each_loop
    async def test_tls_transports_are_freed(self) -> None:
        """Their buffers are OpenSSL's, which tracemalloc does not see."""
        self.site.resource = LargeBody()
        tls = Tls()
        made: list[weakref.ref[Any]] = []
        use = AsyncioAdapter._use

        def noted(adapter: AsyncioAdapter, native: Any) -> None:
            if adapter.native is None:
                made.append(weakref.ref(native.get_extra_info("ssl_object")))
            use(adapter, native)

        self.patch(AsyncioAdapter, "_use", noted)
        gc.collect()
        gc.disable()
        try:
            for _ in range(CLIENTS):
                await self.over_tls(tls)
            await self.turns()
            self.assertEqual([each() for each in made], [None] * CLIENTS)
        finally:
            gc.enable()
