"""Serves accepted connections on an asyncio event loop (in a worker)."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from clusterapp.guards import guarded
from clusterapp.http.limits import WRITE_STALL
from clusterapp.http.tls.alerts import connecting
from clusterapp.http.transports.asyncio_connection import NativeConnection
from clusterapp.http.transports.inline_transport import Arrival, EarlyTransport
from clusterapp.http.transports.tls_handshakes import (
    HandshakeTurns,
    has_begun,
    readable,
)

if TYPE_CHECKING:
    from clusterapp.http.server.site import ClusterSite

#: How much is read of a connection when it is accepted: as much as by asyncio.
_FIRST_READ = 256 * 1024

#: Guards what is called when a transport is there, or cannot be made.
_ends_connection = guarded(
    "serve a connection",
    lambda failure, _server, connection, *_: connection.fail(failure),
)


class NativeServer:
    """
    Serves accepted connections on an event loop.

    :param loop: the loop.
    :param site: what is served.
    :param context: gives the TLS context for the next connection; None for a
        listener without TLS.
    :param door: the name of the listener that connections come by.
    :param kind: makes a `NativeConnection` of the same arguments.
    """

    _log = Logger()

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        site: "ClusterSite",
        context: Callable[[], ssl.SSLContext] | None = None,
        *,
        door: str = "",
        kind: Callable[..., NativeConnection] = NativeConnection,
    ) -> None:
        self._loop = loop
        self._site = site
        self._context = context
        self._door = door
        self._kind = kind
        self._turns = HandshakeTurns(loop)

    def serve(self, connection: socket.socket, peer: Any) -> None:
        """
        Serve a connection; its socket is the server's from now on.

        :param connection: the socket, which does not block.
        :param peer: the client's address, as accept(2) gives it.
        """
        self.begin(self.connection(peer), connection)

    def connection(self, peer: Any) -> NativeConnection:
        """
        Make what is to `begin` with a socket.

        :param peer: the client's address, as accept(2) gives it.
        """
        return self._kind(self._site, self._loop, peer, self._door)

    def begin(self, protocol: NativeConnection, connection: socket.socket) -> None:
        """
        Let a connection have its socket, which is the server's from now on.

        :param protocol: the connection.
        :param connection: the socket, which does not block.
        """
        if self._context is None:
            self._serve_early(protocol, connection)
            return
        try:
            has_come = has_begun(connection)
        except OSError:  # the client has gone
            connection.close()
            protocol.never_arrived()
            return
        task = self._loop.create_task(
            self._handshake(self._context, protocol, connection, has_come=has_come)
        )
        # From now on a drain waits for it.
        protocol.arrives(task)
        task.add_done_callback(partial(self._connected, protocol, connection))

    async def _handshake(
        self,
        context: Callable[[], ssl.SSLContext],
        protocol: NativeConnection,
        connection: socket.socket,
        *,
        has_come: bool,
    ) -> None:
        """Make the transport of a connection over TLS once it is worth a handshake."""
        try:
            if not has_come:
                await readable(self._loop, connection)
            await self._turns.wait(protocol.peer_host)
            has_begun(connection)  # or the client has gone meanwhile
            chosen = context()
            connecting.set(connection)
        except Exception:
            connection.close()
            raise
        await self._loop.connect_accepted_socket(
            lambda: protocol,
            connection,
            ssl=chosen,
            ssl_handshake_timeout=self._site.limits.header_timeout,
            # It breaks off what is not written. The connection has times of its own.
            ssl_shutdown_timeout=WRITE_STALL,
        )

    def seconds(self) -> float:
        """Tell the time of the site's clock."""
        return self._site.clock.seconds()

    def adopt(self, connection: socket.socket) -> None:
        """
        Serve a connection that another process has accepted.

        :param connection: the socket, which is the server's from now on.
        """
        connection.setblocking(False)
        try:
            peer = connection.getpeername()
        except OSError:  # the client is gone
            connection.close()
        else:
            self.serve(connection, peer)

    def _serve_early(
        self, protocol: NativeConnection, connection: socket.socket
    ) -> None:
        """Serve what has come already; the loop gets a connection that goes on."""
        try:
            data = connection.recv(_FIRST_READ)
        except BlockingIOError:
            self._bring(protocol, connection)
            return
        except OSError:
            data = b""
        if not data:  # it has been closed, or reset, without a word
            connection.close()
            protocol.never_arrived()
            return
        early = EarlyTransport(connection, protocol)
        protocol.connection_made(early)  # type: ignore[arg-type]  # a stand-in
        try:
            protocol.data_received(data)
        except BaseException:
            early.end()
            raise
        if early.settle():
            early.end()
        else:
            arrival = Arrival()
            making = self._loop.connect_accepted_socket(lambda: arrival, connection)
            task = self._loop.create_task(making)
            task.add_done_callback(partial(self._moved, protocol, early, arrival))

    @guarded(
        "serve a connection", lambda failure, _, protocol, *__: protocol.fail(failure)
    )
    def _moved(
        self,
        protocol: NativeConnection,
        early: EarlyTransport,
        arrival: Arrival,
        task: asyncio.Task[Any],
    ) -> None:
        if task.cancelled():
            early.end()
        elif task.exception() is None:
            protocol.move(early, arrival)
        else:
            early.end()
            self._tell(task.exception())

    def _bring(self, protocol: NativeConnection, connection: socket.socket) -> None:
        """Make the loop's transport for a connection."""
        task = self._loop.create_task(
            self._loop.connect_accepted_socket(lambda: protocol, connection)
        )
        # From now on a drain waits for it.
        protocol.arrives(task)
        task.add_done_callback(partial(self._connected, protocol, connection))

    @guarded(
        "serve a connection", lambda failure, _, protocol, *__: protocol.fail(failure)
    )
    def _connected(
        self,
        protocol: NativeConnection,
        connection: socket.socket,
        task: asyncio.Task[Any],
    ) -> None:
        if task.cancelled():
            # If it had not begun, nobody else does this.
            connection.close()
            protocol.never_arrived()
        elif task.exception() is None:
            protocol.arrived()
        else:
            protocol.never_arrived()
            self._tell(task.exception())

    def _tell(self, error: BaseException | None) -> None:
        # Clients that leave, or do not agree on TLS, are nothing to be told of.
        if error is not None and not isinstance(error, OSError):
            self._log.error("cannot serve a connection: {error!r}", error=error)
