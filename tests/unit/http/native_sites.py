"""A site on asyncio's own transports, with real sockets and each kind of event loop."""

import asyncio
import functools
import gc
import itertools
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from struct import pack
from typing import TYPE_CHECKING, Any, TypeVar

import trustme
import uvloop
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from clusterapp.http.connection_limits import Limits
from clusterapp.http.site import ClusterSite
from clusterapp.http.transports.asyncio_server import AsyncioServer

if TYPE_CHECKING:
    from clusterapp.http.server.prepared_response import Prepared

#: Seconds that a test may take on one loop.
DEADLINE = 30.0

Case = TypeVar("Case", bound="NativeCase")


def on_each_loop(
    test: Callable[[Case], Coroutine[Any, Any, None]],
) -> Any:
    """
    Run a test with asyncio's event loop and with uvloop's.

    On each it runs twice: with connections that are accepted before the client has
    sent anything, and with such whose first bytes are there.
    """

    @functools.wraps(test)
    def run(self: Case) -> None:
        loops = (asyncio.new_event_loop, uvloop.new_event_loop)
        for make, self.asks_first in itertools.product(loops, (False, True)):
            try:
                self.run_on(make(), lambda: test(self))
            except BaseException as error:
                error.add_note(f"on a loop of {make.__module__}, {self.asks_first=}")
                raise

    return run


class Scripted(Resource):
    """Greets at /hi, and leaves everything else to the test."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []
        #: How each of the requests has ended: None, or why.
        self.ends: list[object] = []

    def render(self, request: Request) -> bytes | int:
        """Answer, or note the request."""
        if request.path == b"/hi":
            return b"hi"
        self.requests.append(request)
        request.notifyFinish().addCallbacks(self.ends.append, self._broken)
        return NOT_DONE_YET

    def _broken(self, why: Failure) -> None:
        self.ends.append(type(why.value).__name__)


class Client:
    """
    The other end of a connection.

    :param loop: the loop.
    :param end: the client's socket.
    :param accept: has the other end served.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        end: socket.socket,
        accept: Callable[[], None] | None = None,
    ) -> None:
        end.setblocking(False)
        self.socket = end
        self.received = b""
        self._loop = loop
        self._accept = accept

    def accepted(self) -> None:
        """Pass the connection to the site, if that has not been done."""
        accept, self._accept = self._accept, None
        if accept is not None:
            accept()

    async def send(self, data: bytes) -> None:
        """Send all of this."""
        if self._accept is not None:
            data = data[self.socket.send(data) :]
            self.accepted()
        await self._loop.sock_sendall(self.socket, data)

    async def get(self, *paths: str, also: bytes = b"") -> None:
        """Send requests, all at once."""
        await self.send(
            b"".join(
                b"GET %b HTTP/1.1\r\nHost: h\r\n%b\r\n" % (path.encode(), also)
                for path in paths
            )
        )

    async def some(self) -> bytes:
        """Receive what there is."""
        self.accepted()
        piece = await self._loop.sock_recv(self.socket, 262144)
        self.received += piece
        return piece

    async def until(self, marker: bytes) -> bytes:
        """Receive up to and with a marker; what is behind it is kept."""
        while marker not in self.received:
            if not await self.some():
                raise AssertionError(f"closed after {self.received!r}")
        before, _, self.received = self.received.partition(marker)
        return before + marker

    async def rest(self) -> bytes:
        """Receive until the end, which must be a proper one, and close as well."""
        while await self.some():
            pass
        self.goes()
        return self.received

    async def rest_of(self, length: int) -> None:
        """Receive a chunked response whose body has this many times an x."""
        await self.until(b"\r\n\r\n")
        count = (await self.until(b"\r\n0\r\n\r\n")).count(b"x")
        assert count == length, count

    def goes(self) -> None:
        """Close."""
        self.socket.close()

    def resets(self) -> None:
        """Close with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        self.socket.close()


class NativeCase(SynchronousTestCase):
    """A test on a site that a worker could have."""

    limits = Limits(requests=None)
    #: The name of the listener that clients come by.
    listener = ""
    #: Whether connections are accepted when the client has sent its first bytes.
    asks_first = False
    loop: asyncio.AbstractEventLoop
    reader: asyncio.StreamReader

    def run_on(
        self, loop: asyncio.AbstractEventLoop, test: Callable[[], Awaitable[None]]
    ) -> None:
        """Run a test on a loop, and see that nothing of it is left there."""
        self.loop = loop
        self.clock = Clock()
        self.resource = Scripted()
        self.prepared: dict[bytes, Prepared] = {}
        self.site = ClusterSite(
            self.clock,
            self.resource,
            answer=lambda _method, target, _fields: self.prepared.get(target),
            limits=self.limits,
        )
        self.clients: list[Client] = []
        self.unheard: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, what: self.unheard.append(what))
        try:
            loop.run_until_complete(asyncio.wait_for(self._whole(test), DEADLINE))
            self.assertEqual(asyncio.all_tasks(loop), set())
        finally:
            loop.close()
        gc.collect()
        self.assertEqual(self.unheard, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def _whole(self, test: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(0)
        before = open_files()
        try:
            await test()
        finally:
            for client in self.clients:
                client.goes()
            self.site.abort()
        self.resource.requests.clear()
        self.prepared.clear()
        await self.so(lambda: not self.site._connections)
        self.clock.advance(1)  # when the site finds that there are none
        gc.collect()
        self.assertEqual(open_files() - before, set())

    async def so(self, check: Callable[[], object]) -> None:
        """Wait until something is so; time stands still meanwhile."""
        self.accept_all()
        while not check():
            self.clock.advance(0)
            await asyncio.sleep(0)

    async def later(self, seconds: float) -> None:
        """Advance the clock second by second, with a turn of the loop after each."""
        self.accept_all()
        for _ in range(int(seconds) + 1):
            self.clock.advance(1)
            await asyncio.sleep(0)

    async def lingered(self) -> None:
        """Advance the clock until all are acknowledged by the kernel, and closed."""
        self.accept_all()
        while self.site.connections:
            self.clock.advance(1)
            await asyncio.sleep(0.005)

    async def turns(self, count: int = 50) -> None:
        """Run so many turns of the event loop."""
        self.accept_all()
        for _ in range(count):
            self.clock.advance(0)
            await asyncio.sleep(0)

    async def client(
        self, *, family: int = socket.AF_INET, small: bool = False
    ) -> Client:
        """
        Connect a client.

        :param family: the kind of socket.
        :param small: whether it takes only a little at a time.
        """
        near, far = pair(family, small=small)
        server = AsyncioServer(self.loop, self.site, listener=self.listener)
        accept = functools.partial(server.serve, far, near.getsockname())
        client = Client(self.loop, near, accept)
        self.clients.append(client)
        if not self.asks_first:
            client.accepted()
        return client

    def accept_all(self) -> None:
        """Pass all clients' connections to the site, with data or without."""
        for client in self.clients:
            client.accepted()

    async def asked(
        self, path: str = "/slow", *, small: bool = False
    ) -> tuple[Client, Any]:
        """Connect and ask; give the client, and the request that waits."""
        client = await self.client(small=small)
        await client.get(path)
        return client, await self.request()

    async def request(self, number: int = -1, count: int = 1) -> Any:
        """Return a request that waits, when there are so many."""
        await self.so(lambda: len(self.resource.requests) >= count)
        return self.resource.requests[number]

    def connections(self) -> list[Any]:
        """Return the server's connection objects."""
        return list(self.site._connections)

    def connection(self) -> Any:
        """Return the server's side of the only connection."""
        (connection,) = self.site._connections
        return connection


class Tls:
    """Both sides' contexts, for localhost."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self.server)
        self.server.set_alpn_protocols(["http/1.1"])
        self.server.verify_mode = ssl.CERT_OPTIONAL
        authority.configure_trust(self.server)
        self.client = ssl.create_default_context()
        self.client.set_alpn_protocols(["http/1.1"])
        authority.configure_trust(self.client)
        authority.issue_cert("client").configure_cert(self.client)

    async def connect(self, case: NativeCase) -> asyncio.StreamWriter:
        """Connect a client to a case's site, which gets its reader."""
        near, far = pair(socket.AF_INET)
        AsyncioServer(case.loop, case.site, lambda: self.server).serve(
            far, near.getsockname()
        )
        near.setblocking(False)
        case.reader, writer = await asyncio.open_connection(
            sock=near, ssl=self.client, server_hostname="localhost"
        )
        return writer


def pair(
    family: int = socket.AF_INET, *, small: bool = False
) -> tuple[socket.socket, socket.socket]:
    """Make two sockets that are connected: the client's and the server's."""
    if family == socket.AF_UNIX:
        near, far = socket.socketpair()
    else:
        host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        with socket.socket(family) as listening:
            if small:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
            listening.bind((host, 0))
            listening.listen()
            near = socket.socket(family)
            if small:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            near.connect(listening.getsockname())
            far, _ = listening.accept()
    far.setblocking(False)
    return near, far


def open_files() -> set[tuple[str, str]]:
    """Name this process's descriptors."""
    there = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            there.add((link.name, str(link.readlink())))
    # libuv keeps one of its own, to have it when there are no others.
    return {each for each in there if each[1] != "/dev/null"}


def chunk_of(head: bytes) -> bytes:
    """Return the body of a response with a length, whose end is the end."""
    return head.partition(b"\r\n\r\n")[2]
