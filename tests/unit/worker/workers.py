"""Workers of one process that pass requests to each other, on real sockets."""

import asyncio
import gc
import socket
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import gatherResults
from twisted.web.resource import IResource

from clusterapp.channel.bootstrap import PRIVATE, private_name
from clusterapp.channel.stickiness import Stickiness
from clusterapp.http.access_log.access_record import AccessRecord
from clusterapp.http.server.load_counters import LoadCounters
from clusterapp.http.site import ClusterSite
from clusterapp.http.upstream.core_agent import CoreAgent
from clusterapp.http.upstream.unix_client import NativeUnixEndpoint
from clusterapp.interfaces import OPEN, private_row
from clusterapp.web.clients.trusted_proxies import TrustedProxies
from clusterapp.worker.loop_readers import LoopReaders
from clusterapp.worker.proxy import relay
from clusterapp.worker.proxy.relay import Relay
from clusterapp.worker.proxy.relay_affinity import SlotAffinity
from clusterapp.worker.worker_listeners import WorkerListeners
from tests.unit.http.native_sites import Client, NativeCase, Scripted, open_files, pair

#: The listener that clients come by.
FRONT = "0 tcp:80"

SECRET = "00ff"

#: What marks a request of a client that belongs to some worker.
MARK = b"X-Key: k\r\n"


class Worker:
    """
    A worker, as far as it distributes.

    :param case: the test.
    :param slot: its slot.
    :param resource: what it serves, if not what a test scripts.
    """

    def __init__(
        self, case: "WorkersCase", slot: int, resource: IResource | None = None
    ) -> None:
        self.scripted = Scripted()
        self.recorded: list[AccessRecord] = []
        self.row = private_row()
        trusted = TrustedProxies(case.trusted)
        own = f"{case.folder}/{private_name(slot)}.sock"
        self.relay = Relay(case.clock, own, trusted)
        self.affinity = SlotAffinity(slot, self.relay, trusted)
        self.site = ClusterSite(
            case.clock,
            resource or self.scripted,
            limits=case.limits,
            recorder=self,
            proxies=trusted,
            affinity=self.affinity,
            counters=LoadCounters(self.row),
        )
        readers = LoopReaders(case.loop, case.clock)
        self.listeners = WorkerListeners(
            readers, self.site, self.row, lambda: False, trusted.trusts_peer
        )
        self.listeners.name((FRONT,), {})
        self.listeners.accept(PRIVATE, case.private(slot), shared=False)
        self.listeners.start()

    def record(self, answered: AccessRecord) -> None:
        """Note what would be in the access log."""
        self.recorded.append(answered)

    def believe(self, *slots: int, key: str = "header:X-Key") -> None:
        """Configure the session affinity of both workers."""
        self.affinity.update_affinity(Stickiness((FRONT,), key, slots, SECRET))

    def connection(self) -> Any:
        """Return the only connection."""
        (connection,) = self.site._connections
        return connection

    async def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """Break all off, as the end of the process would."""
        self.listeners.stop()
        self.relay.close()
        self.site.abort()
        agents = [way.client.agent for way in self.relay._upstreams.values()]
        await gatherResults([agent.close() for agent in agents]).asFuture(loop)
        self.scripted.requests.clear()


class WorkersCase(NativeCase):
    """
    Two workers: clients come `here`, and those with a mark belong `there`.

    Each believes that they belong to the other.
    """

    trusted: tuple[str, ...] = ()

    async def _whole(self, test: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(0)
        before = open_files()
        self.patch(relay, "agent_beside", self._agent)
        with tempfile.TemporaryDirectory() as self.folder:
            self.listening: dict[int, socket.socket] = {}
            self.workers: list[Worker] = []
            self.here, self.there = self.worker(0), self.worker(1)
            self.here.believe(1)
            self.there.believe(0)
            try:
                await test()
            finally:
                await self._end()
        gc.collect()
        self.assertEqual(open_files() - before, set())
        self.assertEqual({worker.row[OPEN] for worker in self.workers}, {0})

    async def _end(self) -> None:
        for client in self.clients:
            client.goes()
        for worker in self.workers:
            await worker.close(self.loop)
        await self.so(lambda: not any(each.site.connections for each in self.workers))
        for listening in self.listening.values():
            listening.close()
        self.clock.advance(1)  # when the sites find that there are none

    def _agent(self, clock: Any, path: str) -> CoreAgent:
        return CoreAgent(clock, NativeUnixEndpoint(self.loop, path))

    def worker(self, slot: int, resource: IResource | None = None) -> Worker:
        """Start a worker; the slot's socket is there for its next one, too."""
        worker = Worker(self, slot, resource)
        self.workers.append(worker)
        return worker

    async def replaced(self, resource: IResource | None = None) -> None:
        """Replace the other worker by a new one."""
        self.workers.remove(self.there)
        await self.there.close(self.loop)
        self.there = self.worker(1, resource)

    def private(self, slot: int) -> socket.socket:
        """Return a slot's listening socket, as a worker inherits it."""
        if slot not in self.listening:
            made = self.listening[slot] = socket.socket(socket.AF_UNIX)
            made.bind(str(Path(self.folder, f"{private_name(slot)}.sock")))
            made.listen()
        return self.listening[slot].dup()

    async def client(
        self, *, family: int = socket.AF_INET, small: bool = False
    ) -> Client:
        """Connect a client to the worker here."""
        near, far = pair(family, small=small)
        client = Client(self.loop, near, partial(self.here.listeners.adopt, far, FRONT))
        self.clients.append(client)
        if not self.asks_first:
            client.accepted()
        return client

    async def asking(self, request: bytes, *, small: bool = False) -> Client:
        """Connect a client that sends something."""
        client = await self.client(small=small)
        await client.send(request)
        return client

    async def marked(self, path: str = "/slow", *, small: bool = False) -> Client:
        """Connect a client that belongs there, and asks for something."""
        client = await self.client(small=small)
        await client.get(path, also=MARK)
        return client

    async def relayed(self, number: int = -1, count: int = 1) -> Any:
        """Return a request that waits there, when there are so many."""
        await self.so(lambda: len(self.there.scripted.requests) >= count)
        return self.there.scripted.requests[number]
