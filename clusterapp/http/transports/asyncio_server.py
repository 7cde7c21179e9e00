"""Server of accepted connections on an asyncio event loop (in a worker)."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.logger import Logger

from clusterapp.guards import guarded
from clusterapp.http.connection_limits import WRITE_STALL
from clusterapp.http.server.server_interfaces import Server
from clusterapp.http.tls.alerts import connecting
from clusterapp.http.transports.asyncio_adapter import AsyncioAdapter
from clusterapp.http.transports.inline_transport import EarlyTransport, TransportEvents
from clusterapp.http.transports.tls_handshakes import (
    HandshakeTurns,
    has_begun,
    readable,
)

#: How many bytes are read when a connection is accepted: as many as asyncio reads.
_FIRST_READ = 256 * 1024

#: Guards the callbacks that run when a transport has been made, or cannot be made.
_ends_connection = guarded(
    "serve a connection",
    lambda failure, _server, adapter, *_: adapter.connection.fail(failure),
)


class AsyncioServer:
    """
    Server of the accepted connections of one listener.

    :param loop: the event loop.
    :param site: the site that is served.
    :param context: returns the TLS context for the next connection; None for a
        listener without TLS.
    :param listener: the name of the listener that accepts the connections.
    :param kind: the factory of adapters, with the arguments of `AsyncioAdapter`.
    """

    _log = Logger()

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        site: Server,
        context: Callable[[], ssl.SSLContext] | None = None,
        *,
        listener: str = "",
        kind: Callable[..., AsyncioAdapter] = AsyncioAdapter,
    ) -> None:
        self._loop = loop
        self._site = site
        self._context = context
        self._listener = listener
        self._kind = kind
        self._turns = HandshakeTurns(loop)

    def serve(self, connection: socket.socket, peer: Any) -> None:
        """
        Serve an accepted connection, and take ownership of its socket.

        :param connection: the non-blocking socket.
        :param peer: the client's address, as returned by accept(2).
        """
        self.begin(self.connection(peer), connection)

    def connection(self, peer: Any) -> AsyncioAdapter:
        """
        Return the adapter of a new connection, to be passed to `begin` with its socket.

        :param peer: the client's address, as returned by accept(2).
        """
        return self._kind(self._site, self._loop, peer, self._listener)

    def begin(self, protocol: AsyncioAdapter, connection: socket.socket) -> None:
        """
        Start a connection on its socket, and take ownership of the socket.

        :param protocol: the adapter of the connection.
        :param connection: the non-blocking socket.
        """
        if self._context is None:
            self._serve_early(protocol, connection)
            return
        try:
            has_come = has_begun(connection)
        except OSError:  # the client has disconnected
            connection.close()
            protocol.connecting_failed()
            return
        task = self._loop.create_task(
            self._handshake(self._context, protocol, connection, has_come=has_come)
        )
        # From now on a drain waits for this connection.
        protocol.connecting(task)
        task.add_done_callback(partial(self._connected, protocol, connection))

    async def _handshake(
        self,
        context: Callable[[], ssl.SSLContext],
        protocol: AsyncioAdapter,
        connection: socket.socket,
        *,
        has_come: bool,
    ) -> None:
        """Make the TLS transport of a connection once its client hello has arrived."""
        try:
            if not has_come:
                await readable(self._loop, connection)
            await self._turns.wait(protocol.peer_host)
            has_begun(connection)  # raises if the client has disconnected meanwhile
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
            # This timeout aborts what is not written. The connection has its own
            # timeouts.
            ssl_shutdown_timeout=WRITE_STALL,
        )

    def seconds(self) -> float:
        """Return the time of the site's clock, in seconds."""
        return self._site.clock.seconds()

    def adopt(self, connection: socket.socket) -> None:
        """
        Serve a connection that another process has accepted.

        :param connection: the socket, owned by this server from now on.
        """
        connection.setblocking(False)
        try:
            peer = connection.getpeername()
        except OSError:  # the client has disconnected
            connection.close()
        else:
            self.serve(connection, peer)

    def _serve_early(self, protocol: AsyncioAdapter, connection: socket.socket) -> None:
        """
        Serve the input that has arrived already, on an early transport.

        The event loop's transport is made only if the connection stays open after that.
        """
        try:
            data = connection.recv(_FIRST_READ)
        except BlockingIOError:
            self._bring(protocol, connection)
            return
        except OSError:
            data = b""
        if not data:  # the connection was closed, or reset, without any input
            connection.close()
            protocol.connecting_failed()
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
            events = TransportEvents()
            making = self._loop.connect_accepted_socket(lambda: events, connection)
            task = self._loop.create_task(making)
            task.add_done_callback(partial(self._moved, protocol, early, events))

    @_ends_connection
    def _moved(
        self,
        protocol: AsyncioAdapter,
        early: EarlyTransport,
        events: TransportEvents,
        task: asyncio.Task[Any],
    ) -> None:
        if task.cancelled():
            early.end()
        elif task.exception() is None:
            protocol.move(early, events)
        else:
            early.end()
            self._tell(task.exception())

    def _bring(self, protocol: AsyncioAdapter, connection: socket.socket) -> None:
        """Start to make the event loop's transport for a connection."""
        task = self._loop.create_task(
            self._loop.connect_accepted_socket(lambda: protocol, connection)
        )
        # From now on a drain waits for this connection.
        protocol.connecting(task)
        task.add_done_callback(partial(self._connected, protocol, connection))

    @_ends_connection
    def _connected(
        self,
        protocol: AsyncioAdapter,
        connection: socket.socket,
        task: asyncio.Task[Any],
    ) -> None:
        if task.cancelled():
            # A task that is cancelled before its first step has not closed the socket.
            connection.close()
            protocol.connecting_failed()
        elif task.exception() is None:
            protocol.connected()
        else:
            protocol.connecting_failed()
            self._tell(task.exception())

    def _tell(self, error: BaseException | None) -> None:
        # Clients that disconnect, or whose TLS handshake fails, are not logged.
        if error is not None and not isinstance(error, OSError):
            self._log.error("cannot serve a connection: {error!r}", error=error)
