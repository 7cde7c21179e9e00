"""Connections that begin with the header of the PROXY protocol (in a worker)."""

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from clusterapp.guards import guarded
from clusterapp.http.syntax.proxy_protocol import (
    LONGEST,
    ProxyHeader,
    ProxyHeaderError,
    read,
)
from clusterapp.http.transports.asyncio_connection import NativeConnection
from clusterapp.http.transports.tls_handshakes import readable
from clusterapp.wording import counted

if TYPE_CHECKING:
    from clusterapp.http.transports.asyncio_server import NativeServer

#: Seconds for which no further refusal is told: a proxy that is not set up for its
#: listener would fill the log.
_QUIET = 60.0


class AnnouncedServer:
    """
    Serves connections whose clients are announced by the proxies that make them.

    A connection is served as any other when its header has been read; before that,
    it counts as a connection of the site. Who does not send a good one in time is
    closed without an answer: what stands there may be in any protocol.

    :param loop: the event loop.
    :param server: serves the connections.
    :param versions: which versions of the protocol, as `read` takes them.
    :param trusts: tells whether a peer may announce clients, given its address as
        accept(2) gives it.
    :param name: the listener's name, for the log.
    """

    _log = Logger()

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        server: "NativeServer",
        versions: str,
        trusts: Callable[[Any], bool],
        name: str,
    ) -> None:
        self._loop = loop
        self._server = server
        self._versions = versions
        self._trusts = trusts
        self._name = name
        self._quiet_until = 0.0
        self._untold = 0

    def serve(self, connection: socket.socket, peer: Any) -> None:
        """
        Serve a connection; its socket is the server's from now on.

        :param connection: the socket, which does not block.
        :param peer: the proxy's address, as accept(2) gives it.
        """
        if not self._trusts(peer):
            connection.close()
            self._tell(peer, "it is not one of trusted_proxies")
            return
        protocol = self._server.connection(peer)
        header = _Header(connection, self._versions)
        try:
            announced = header.read()
        except (ProxyHeaderError, OSError) as error:
            connection.close()
            self._tell_error(peer, error)
            return
        if announced is not None:
            self._begin(protocol, connection, announced)
            return
        task = self._loop.create_task(self._wait(protocol, connection, header))
        protocol.awaits_header(task)
        task.add_done_callback(partial(self._waited, protocol, connection, peer))

    async def _wait(
        self, protocol: NativeConnection, connection: socket.socket, header: "_Header"
    ) -> None:
        while (announced := header.read()) is None:
            await readable(self._loop, connection)
        # Not in another turn of the loop, before which the site may have ended.
        self._begin(protocol, connection, announced)

    def _begin(
        self,
        protocol: NativeConnection,
        connection: socket.socket,
        announced: ProxyHeader,
    ) -> None:
        protocol.announced(announced)
        self._server.begin(protocol, connection)

    @guarded("serve a connection")
    def _waited(
        self,
        protocol: NativeConnection,
        connection: socket.socket,
        peer: Any,
        task: asyncio.Task[None],
    ) -> None:
        if not task.cancelled() and task.exception() is None:
            return
        connection.close()
        protocol.never_arrived()
        if not task.cancelled():
            self._tell_error(peer, task.exception())
        elif not protocol.site.draining:
            self._tell(peer, "no PROXY header has come in time")

    def _tell_error(self, peer: Any, error: BaseException | None) -> None:
        # Balancers see whether a port is open by connecting and leaving.
        if isinstance(error, ProxyHeaderError):
            self._tell(peer, str(error))
        elif not isinstance(error, OSError):
            self._log.error("cannot serve a connection: {error!r}", error=error)

    def _tell(self, peer: Any, why: str) -> None:
        now = self._server.seconds()
        if now < self._quiet_until:
            self._untold += 1
            return
        self._log.warn(
            "refused a connection of {peer} to {listener}: {why}"
            " ({others} refused since the last such line)",
            peer=peer[0] if isinstance(peer, tuple) else "a Unix peer",
            listener=self._name,
            why=why,
            others=counted(self._untold, "other"),
        )
        self._quiet_until, self._untold = now + _QUIET, 0


class _Header:
    """
    Takes a header from a socket, and nothing of what is behind it.

    :param connection: the socket, which does not block.
    :param versions: which versions of the protocol.
    """

    def __init__(self, connection: socket.socket, versions: str) -> None:
        self._connection = connection
        self._versions = versions
        self._taken = b""

    def read(self) -> ProxyHeader | None:
        """
        Read on.

        :return: None if more of it must come.
        :raises ProxyHeaderError: it is no good.
        :raises OSError: the connection has ended.
        """
        while True:
            try:
                there = self._connection.recv(
                    LONGEST - len(self._taken), socket.MSG_PEEK
                )
            except BlockingIOError:
                return None
            if not there:
                raise ConnectionAbortedError
            announced = read(self._taken + there, self._versions)
            if announced is not None:
                self._connection.recv(announced.length - len(self._taken))
                return announced
            # Left where it is, it would wake the loop again and again.
            self._taken += self._connection.recv(len(there))
