"""The listeners of a worker: connections it accepts, and those the master sends it."""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from clusterapp.channel.bootstrap import PORT, PRIVATE
from clusterapp.http.connection.peer_kind import PeerKind
from clusterapp.http.site import ClusterSite
from clusterapp.http.syntax.request_head import HeadReader
from clusterapp.http.tls.certificates import Certificates
from clusterapp.http.transports.asyncio_adapter import AsyncioAdapter
from clusterapp.http.transports.asyncio_server import AsyncioServer
from clusterapp.http.transports.proxy_protocol_listener import ProxyProtocolServer
from clusterapp.interfaces import RECEIVED, Row
from clusterapp.listening.accept import Acceptor
from clusterapp.listening.descriptor_pressure import SPARE, Descriptors
from clusterapp.listening.handoff import MOST_AT_ONCE, Receiver
from clusterapp.settings.listen import parse
from clusterapp.worker.loop_readers import LoopReaders
from clusterapp.worker.proxy.relay_limits import relayed_limits

#: The most descriptors that a client takes: its own connection, and one to the core or
#: to another worker; the idle ones of these are counted by `SPARE`.
_FOR_EACH_CLIENT = 2


class WorkerListeners:
    """
    All listeners of one worker, and the queue of connections from the master.

    :param readers: registers descriptors with the event loop.
    :param site: the HTTP site that serves the connections.
    :param row: the worker's row on the scoreboard.
    :param portion: returns how many connections may be accepted for one wake-up on a
        socket that workers share.
    :param trusts: returns whether a peer may send a PROXY protocol header.
    :ivar keeps_private: whether relayed requests are accepted even after `stop`.
    """

    def __init__(
        self,
        readers: LoopReaders,
        site: ClusterSite,
        row: Row,
        portion: Callable[[], int],
        trusts: Callable[[Any], bool],
    ) -> None:
        self.keeps_private = False
        self._readers = readers
        self._site = site
        self._row = row
        self._portion = portion
        self._trusts = trusts
        self._loop = asyncio.get_event_loop()
        self._servers: dict[str, AsyncioServer] = {"": AsyncioServer(self._loop, site)}
        #: By listener: serves a connection from which nothing has been read yet.
        self._serve: dict[str, Callable[[socket.socket, Any], None]] = {}
        self._names: Sequence[str] = ()
        self._acceptors: dict[str, Acceptor] = {}
        self._receiver: Receiver | None = None
        self._is_open = False
        self._room = Descriptors(site.clock, site.close_idle)

    def name(
        self, listeners: Sequence[str], certificates: Mapping[str, Certificates]
    ) -> None:
        """
        Set the listeners and create the server of each.

        :param listeners: their names, in the order of their numbers.
        :param certificates: the certificates of TLS listeners, by their endpoint
            specification.
        """
        self._names = (*listeners, PORT, PRIVATE)
        for name in (*listeners, PORT):
            # The name of a listener is its number, a space and its specification.
            spec = name.partition(" ")[2]
            own = certificates.get(spec)
            context = None if own is None else own.context
            server = AsyncioServer(self._loop, self._site, context, listener=name)
            self._add(name, server, parse(spec).proxy if spec else None)
        heads = HeadReader(relayed_limits(self._site.limits), of_workers=True)
        relayed = partial(AsyncioAdapter, peer_kind=PeerKind.RELAY, heads=heads)
        private = AsyncioServer(self._loop, self._site, listener=PRIVATE, kind=relayed)
        self._add(PRIVATE, private, None)

    def _add(self, name: str, server: AsyncioServer, versions: str | None) -> None:
        self._servers[name] = server
        self._serve[name] = server.serve
        if versions is not None:
            self._serve[name] = ProxyProtocolServer(
                self._loop, server, versions, self._trusts, name.partition(" ")[2]
            ).serve

    def receive(self, queue: socket.socket) -> None:
        """
        Serve the connections that the master accepts, after `start`.

        :param queue: the receiving end of the slot's queue.
        """
        self._receiver = Receiver(
            self._readers,
            queue,
            self._received,
            self._count_received,
            self._has_room,
            self._room.make,
        )

    def accept(self, listener: str, listening: socket.socket, *, shared: bool) -> None:
        """
        Accept a listener's connections on this socket, instead of any earlier one.

        :param listener: the name of the listener.
        :param listening: the listening socket, owned by this object from now on.
        :param shared: whether other workers accept on the same socket.
        """
        self.refuse(listener)
        serve = self._serve[listener]
        portion = self._portion if shared else None
        acceptor = Acceptor(self._readers, listening, serve, portion, self._room)
        self._acceptors[listener] = acceptor
        if self._is_open:
            acceptor.start()

    def refuse(self, listener: str) -> None:
        """Stop accepting connections of a listener, and close its socket here."""
        acceptor = self._acceptors.pop(listener, None)
        if acceptor is not None:
            acceptor.stop()

    def adopt(self, connection: socket.socket, listener: str) -> None:
        """
        Serve a connection that another process has accepted.

        :param connection: the socket, owned by this object from now on.
        :param listener: the name of the listener that accepted the connection.
        """
        # After an upgrade that listener may no longer exist.
        self._servers.get(listener, self._servers[""]).adopt(connection)

    def start(self) -> None:
        """Start accepting on all listeners and receiving from the queue."""
        self._is_open = True
        self._site.counters.serve()
        for acceptor in self._acceptors.values():
            acceptor.start()
        if self._receiver is not None:
            self._receiver.start()

    def stop(self) -> None:
        """
        Stop accepting and receiving connections.

        Connections in the backlog stay there for other processes; connections that the
        master has sent by now are served.
        """
        self._is_open = False
        self._site.counters.leave()
        for listener in tuple(self._acceptors):
            if not (listener == PRIVATE and self.keeps_private):
                self.refuse(listener)
        if self._receiver is not None:
            self._receiver.stop()

    def _count_received(self, count: int) -> None:
        self._row[RECEIVED] += count

    def _received(self, listener: int, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            peer = connection.getpeername()
        except OSError:  # the client has closed the connection
            connection.close()
        else:
            self._serve[self._names[listener]](connection, peer)

    def _has_room(self) -> bool:
        clients, reserved = self._site.counters.clients, MOST_AT_ONCE + SPARE
        if clients + reserved >= self._room.most:
            return False
        # The kernel is asked only if connections to the core may have taken the rest.
        most = _FOR_EACH_CLIENT * clients + reserved
        return most < self._room.most or self._room.has_free(MOST_AT_ONCE)
