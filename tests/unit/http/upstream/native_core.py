"""A core on a real Unix socket, and an agent on a loop of its own, for tests."""

import asyncio
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.syntax.message_head import RequestHead
from clusterapp.http.upstream.core_agent import CoreAgent
from clusterapp.http.upstream.unix_client import NativeUnixEndpoint
from clusterapp.http.upstream.upstream_response import WireResponse
from clusterapp.system.turn_end import TurnEnd
from tests.unit.http.upstream.core_wire import GET, OK

DEADLINE = 20.0
WEBSOCKET = RequestHead(
    b"GET", b"/", ((b"Host", b"c"), (b"Connection", b"Upgrade"), (b"Upgrade", b"x"))
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
)


class Peer:
    """The core's end of one connection: a socket, and the test's word."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._loop = asyncio.get_running_loop()

    async def until(self, end: bytes = b"\r\n\r\n") -> bytes:
        """Read until these bytes have come."""
        data = b""
        while end not in data:
            piece = await self._loop.sock_recv(self.sock, 65536)
            assert piece, f"it ended after {data!r}"
            data += piece
        return data

    async def exactly(self, size: int) -> None:
        """Read so many bytes."""
        while size > 0:
            size -= len(await self._loop.sock_recv(self.sock, min(size, 65536)))

    async def rest(self) -> bytes:
        """Read until the end; a reset is one."""
        data = b""
        while True:
            try:
                piece = await self._loop.sock_recv(self.sock, 65536)
            except ConnectionResetError:
                return data
            if not piece:
                return data
            data += piece

    async def send(self, data: bytes) -> None:
        """Write."""
        await self._loop.sock_sendall(self.sock, data)

    async def answered(self, sent: Deferred[WireResponse]) -> WireResponse:
        """Answer a request with two bytes."""
        await self.until()
        await self.send(OK)
        return await sent.asFuture(self._loop)


class NativeTestCase(SynchronousTestCase):
    """
    An agent on a loop's own transports, and a core that is scripted by the test.

    The cases of a test run on asyncio's loop; ``Uvloop`` runs them on the other.
    """

    new_loop: Callable[[], asyncio.AbstractEventLoop] = staticmethod(
        asyncio.new_event_loop
    )

    def setUp(self) -> None:
        self.loop = self.new_loop()
        self.addCleanup(self.loop.close)
        self.went_wrong: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, what: self.went_wrong.append(what))
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        self.path = f"{folder}/core"
        self.listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listening.close)
        self.listening.bind(self.path)
        self.listening.setblocking(False)
        self.listening.listen(16)
        self.clock = Clock()
        turn_end = TurnEnd(self.loop.call_soon)
        self.endpoint = NativeUnixEndpoint(self.loop, self.path, turn_end)
        self.agent = CoreAgent(self.clock, self.endpoint, turn_end=turn_end)
        self.peers: list[Peer] = []

    def run_to_end(self, test: Coroutine[Any, Any, None]) -> None:
        """Run a test on the loop, then close all there is."""
        self.loop.run_until_complete(asyncio.wait_for(self._whole(test), DEADLINE))

    async def _whole(self, test: Awaitable[None]) -> None:
        try:
            await test
            await self.agent.close().asFuture(self.loop)
        finally:
            for peer in self.peers:
                peer.sock.close()
        self.assertEqual(self.went_wrong, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def accept(self) -> Peer:
        """Wait for the next connection."""
        sock, _ = await self.loop.sock_accept(self.listening)
        sock.setblocking(False)
        self.peers.append(Peer(sock))
        return self.peers[-1]

    async def accept_at_once(self) -> Peer:
        """Accept the next connection before the agent's end of it is set up."""
        while True:
            try:
                sock, _ = self.listening.accept()
            except BlockingIOError:
                await self.turn(1)
            else:
                self.peers.append(Peer(sock))
                return self.peers[-1]

    async def asked(self, head: RequestHead = GET) -> tuple[Peer, WireResponse]:
        """Send a request on a new connection, and have it answered."""
        sent = self.agent.send(head)
        peer = await self.accept()
        return peer, await peer.answered(sent)

    async def fails(self, sent: Deferred[Any], *kinds: type[Exception]) -> Exception:
        """Wait for a failure of these kinds."""
        try:
            await sent.asFuture(self.loop)
        except kinds as error:
            return error
        raise AssertionError(f"none of {kinds}")

    async def turn(self, times: int = 3) -> None:
        """Run so many turns of the event loop."""
        for _ in range(times):
            await asyncio.sleep(0)

    async def until(self, so: Callable[[], object]) -> None:
        """Run the event loop until a condition holds."""
        while not so():
            await self.turn(1)


class Uvloop(NativeTestCase):
    """Puts uvloop's loop in the place of asyncio's."""

    new_loop = staticmethod(uvloop.new_event_loop)
