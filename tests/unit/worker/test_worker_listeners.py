"""The ways into a worker: what it accepts itself, and what the master passes on."""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from twisted.logger import capturedLogs

from clusterapp.channel.bootstrap import PORT, PRIVATE
from clusterapp.http.server.load_counters import LoadCounters
from clusterapp.http.site import ClusterSite
from clusterapp.interfaces import OPEN, RECEIVED, SERVING, private_row
from clusterapp.listening.handoff import MOST_AT_ONCE, HandoffQueue
from clusterapp.listening.socket_watching import PAUSE_WITHOUT_DESCRIPTORS
from clusterapp.worker.loop_readers import LoopReaders
from clusterapp.worker.worker_listeners import WorkerListeners
from tests.unit.http.native_sites import Client, NativeCase, Tls, on_each_loop, pair

FIRST, SECOND = "0 tcp:80", "1 tcp:81:proxy=v1"
TLS = "2 tls:443:certificate=/c:key=/k"


class DoorsCase(NativeCase):
    """A worker with three listeners, and a queue from the master."""

    async def _whole(self, test: Callable[[], Awaitable[None]]) -> None:
        async def wrapped() -> None:
            self.row = private_row()
            self.site = ClusterSite(
                self.clock,
                self.resource,
                limits=self.limits,
                counters=LoadCounters(self.row),
            )
            self.queue = HandoffQueue()
            self.looked: list[str] = []
            self.listeners = WorkerListeners(
                LoopReaders(self.loop, self.clock),
                self.site,
                self.row,
                self._portion,
                lambda _: True,
            )
            tls: Any = SimpleNamespace(context=lambda: self.tls.server)
            spec = TLS.partition(" ")[2]
            self.listeners.name((FIRST, SECOND, TLS), {spec: tls})
            self.listeners.receive(self.queue.receiving.dup())
            try:
                await test()
            finally:
                self.listeners.stop()
                self.queue.close()

        self.tls = Tls()
        await super()._whole(wrapped)
        self.assertEqual((self.row[OPEN], self.row[SERVING]), (0, 0))

    def _portion(self) -> int:
        self.looked.append("")
        return 1

    def listening(self) -> socket.socket:
        """Listen on a port."""
        made = socket.create_server(("127.0.0.1", 0))
        self.address = made.getsockname()
        return made

    async def connected(self) -> Client:
        """Connect to the port that was opened last, and ask."""
        near = socket.create_connection(self.address)
        client = Client(self.loop, near)
        self.clients.append(client)
        await client.get("/hi")
        return client

    async def passed(self, *listeners: int) -> list[Client]:
        """Pass connections of these listeners by the queue; return their clients."""
        pairs = [pair() for _ in listeners]
        clients = [Client(self.loop, near) for near, _ in pairs]
        self.clients += clients
        for client in clients:
            await client.get("/hi")
        sent = self.queue.send(bytes(listeners), [far.fileno() for _, far in pairs])
        self.assertTrue(sent)
        for _, far in pairs:
            far.close()
        return clients

    async def refused(self, client: Client) -> None:
        """Assert that a client's connection is closed without a response."""
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(await client.rest(), b"")


class AcceptingTests(DoorsCase):
    """Sockets that listen."""

    @on_each_loop
    async def test_start(self) -> None:
        """Nothing is accepted before; others see when it begins and ends."""
        self.listeners.accept(FIRST, self.listening(), shared=False)
        client = await self.connected()
        await self.turns()
        self.assertEqual((self.site.connections, self.row[SERVING]), (0, 0))
        self.listeners.start()
        await client.until(b"\r\n\r\nhi")
        self.assertEqual(self.connection().listener, FIRST)
        self.assertEqual((self.row[OPEN], self.row[SERVING]), (1, 1))
        self.listeners.stop()
        self.assertEqual(self.row[SERVING], 0)
        with self.assertRaises(ConnectionRefusedError):
            await self.connected()

    @on_each_loop
    async def test_open_already(self) -> None:
        """A listener that comes later is accepted from at once, until it is refused."""
        self.listeners.start()
        self.listeners.accept(FIRST, self.listening(), shared=False)
        await (await self.connected()).until(b"\r\n\r\nhi")
        self.listeners.refuse(FIRST)
        self.listeners.refuse(FIRST)
        with self.assertRaises(ConnectionRefusedError):
            await self.connected()

    @on_each_loop
    async def test_another_socket(self) -> None:
        """It takes the place of the one before, which is closed."""
        self.listeners.start()
        self.listeners.accept(FIRST, self.listening(), shared=False)
        former = self.address
        self.listeners.accept(FIRST, self.listening(), shared=False)
        await (await self.connected()).until(b"\r\n\r\nhi")
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(former)

    @on_each_loop
    async def test_shared(self) -> None:
        """Others may come first only where they can."""
        self.listeners.start()
        self.listeners.accept(FIRST, self.listening(), shared=False)
        await (await self.connected()).until(b"\r\n\r\nhi")
        self.assertEqual(self.looked, [])
        self.listeners.accept(FIRST, self.listening(), shared=True)
        await (await self.connected()).until(b"\r\n\r\nhi")
        self.assertNotEqual(self.looked, [])

    @on_each_loop
    async def test_private(self) -> None:
        """Its connections are of other workers."""
        self.listeners.start()
        self.listeners.accept(PRIVATE, self.listening(), shared=False)
        client = await self.connected()
        self.assertIn(b" 400 ", await client.rest())

    @on_each_loop
    async def test_private_to_the_end(self) -> None:
        """Where the whole cluster drains, what other workers have relayed is served."""
        self.listeners.start()
        self.listeners.accept(PRIVATE, self.listening(), shared=False)
        self.listeners.keeps_private = True
        self.listeners.stop()
        client = await self.connected()
        self.assertIn(b" 400 ", await client.rest())
        self.listeners.refuse(PRIVATE)

    @on_each_loop
    async def test_announced(self) -> None:
        """A listener with the PROXY protocol asks for its header."""
        self.listeners.start()
        self.listeners.accept(SECOND, self.listening(), shared=False)
        with capturedLogs() as told:
            await self.refused(await self.connected())
        self.assertEqual([event["listener"] for event in told], [SECOND[2:]])


class ReceivingTests(DoorsCase):
    """Connections that the master has accepted."""

    @on_each_loop
    async def test_listeners(self) -> None:
        """Each is of the listener whose number comes with it."""
        self.listeners.start()
        for number, name in ((0, FIRST), (3, PORT)):
            [client] = await self.passed(number)
            await client.until(b"\r\n\r\nhi")
            self.assertEqual(self.connection().listener, name)
            client.goes()
            await self.so(lambda: not self.site.connections)
        self.assertEqual(self.row[RECEIVED], 2)

    @on_each_loop
    async def test_blocking(self) -> None:
        """The worker does not rely on the master to have said that it must not."""
        self.listeners.start()
        near, far = pair()
        self.clients.append(Client(self.loop, near))
        far.setblocking(True)
        self.queue.send(b"\0", [far.fileno()])
        await self.so(lambda: self.row[OPEN])
        self.assertFalse(os.get_blocking(far.fileno()))
        far.close()

    @on_each_loop
    async def test_many(self) -> None:
        """Those of one message are served, and counted, one by one."""
        clients = await self.passed(*[0] * MOST_AT_ONCE)
        await self.turns()
        self.assertEqual(self.row[RECEIVED], 0)
        self.listeners.start()
        for client in clients:
            await client.until(b"\r\n\r\nhi")
        self.assertEqual(self.row[RECEIVED], MOST_AT_ONCE)
        self.assertEqual(self.row[OPEN], MOST_AT_ONCE)

    @on_each_loop
    async def test_tls(self) -> None:
        """The worker speaks TLS, with the listener's certificate."""
        self.listeners.start()
        near, far = pair()
        self.queue.send(b"\x02", [far.fileno()])
        far.close()
        near.setblocking(False)
        reader, writer = await asyncio.open_connection(
            sock=near, ssl=self.tls.client, server_hostname="localhost"
        )
        writer.write(b"GET /hi HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"\r\n\r\nhi")
        self.assertTrue(self.connection().isSecure())
        writer.close()
        await self.so(lambda: not self.site.connections)

    @on_each_loop
    async def test_client_that_is_gone(self) -> None:
        """It is counted as received, and closed."""
        self.listeners.start()
        near, far = pair()
        near.close()
        far.recv(1)
        far.send(b"x")
        self.queue.send(b"\0", [far.fileno()])
        far.close()
        await self.so(lambda: self.row[RECEIVED])
        await self.so(lambda: not self.site.connections)

    @on_each_loop
    async def test_unknown_listener(self) -> None:
        """One is closed, and the others are served."""
        self.listeners.start()
        lost, served = await self.passed(9, 0)
        await self.refused(lost)
        await served.until(b"\r\n\r\nhi")
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)

    @on_each_loop
    async def test_no_room(self) -> None:
        """What this process has no descriptors for stays in the queue for a while."""
        self.listeners.start()
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.site.counters.clients = limit - MOST_AT_ONCE
        with capturedLogs() as told:
            [client] = await self.passed(0)
            await self.so(lambda: told)
        self.assertEqual(self.row[RECEIVED], 0)
        self.site.counters.clients = 0
        self.clock.advance(PAUSE_WITHOUT_DESCRIPTORS)
        await client.until(b"\r\n\r\nhi")
        self.assertEqual(len(told), 1)

    @on_each_loop
    async def test_stop_without_room(self) -> None:
        """What waits then is left to the slot's next worker."""
        self.listeners.start()
        self.site.counters.clients, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        with capturedLogs() as told:
            [client] = await self.passed(0)
            await self.so(lambda: told)
        self.listeners.stop()
        self.site.counters.clients = 0
        [(listener, number)] = self.queue.reclaim_fds()
        self.assertEqual(listener, 0)
        self.listeners.adopt(socket.socket(fileno=number), FIRST)
        await client.until(b"\r\n\r\nhi")

    @on_each_loop
    async def test_stop(self) -> None:
        """What is in the queue by then is served."""
        self.listeners.start()
        [client] = await self.passed(0)
        self.listeners.stop()
        self.listeners.stop()
        await client.until(b"\r\n\r\nhi")
        [late] = await self.passed(0)
        await self.turns()
        self.assertEqual(late.received, b"")
        [(_, number)] = self.queue.reclaim_fds()
        os.close(number)


class AdoptingTests(DoorsCase):
    """Connections that another worker has lent."""

    async def adopted(self, listener: str) -> Client:
        near, far = pair()
        client = Client(self.loop, near)
        self.clients.append(client)
        await client.get("/slow" if listener != PRIVATE else "/hi")
        self.listeners.adopt(far, listener)
        return client

    @on_each_loop
    async def test_door(self) -> None:
        """They keep the name of the listener that they have come by."""
        await self.adopted(FIRST)
        self.assertEqual((await self.request())._connection.listener, FIRST)
        client = await self.adopted(PRIVATE)
        self.assertIn(b" 400 ", await client.rest())

    @on_each_loop
    async def test_announced(self) -> None:
        """The header of the PROXY protocol was read before."""
        await self.adopted(SECOND)
        self.assertEqual((await self.request())._connection.listener, SECOND)

    @on_each_loop
    async def test_unknown(self) -> None:
        """That of a listener that is no more belongs to nobody."""
        await self.adopted("7 tcp:8")
        connection = (await self.request())._connection
        self.assertEqual(connection.listener, "")
        self.assertFalse(connection.is_relay)
