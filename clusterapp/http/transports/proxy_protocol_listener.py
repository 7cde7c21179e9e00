"""PROXY protocol listener: connections that begin with a header (in a worker)."""

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
from clusterapp.http.transports.asyncio_adapter import AsyncioAdapter
from clusterapp.http.transports.tls_handshakes import readable
from clusterapp.wording import counted

if TYPE_CHECKING:
    from clusterapp.http.transports.asyncio_server import AsyncioServer

#: Seconds for which no further refusal is logged: a proxy that is misconfigured for its
#: listener would fill the log.
_QUIET = 60.0


class ProxyProtocolServer:
    """
    Server of connections that begin with a PROXY header, which names the client.

    A connection is served like any other once its header has been read; before that,
    it counts as a connection of the site. If no valid header arrives in time, the
    connection is closed without a response, since its protocol is not known.

    :param loop: the event loop.
    :param server: the server of the connections behind their headers.
    :param versions: the accepted versions of the protocol, as for `read`.
    :param trusts: returns whether a peer, given its address as returned by accept(2),
        may send PROXY headers.
    :param name: the listener's name, for the log.
    """

    _log = Logger()

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        server: "AsyncioServer",
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
        Serve an accepted connection, and take ownership of its socket.

        :param connection: the non-blocking socket.
        :param peer: the proxy's address, as returned by accept(2).
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
        protocol.await_proxy_header(task)
        task.add_done_callback(partial(self._waited, protocol, connection, peer))

    async def _wait(
        self, protocol: AsyncioAdapter, connection: socket.socket, header: "_Header"
    ) -> None:
        while (announced := header.read()) is None:
            await readable(self._loop, connection)
        # Not in a later turn of the event loop, since the site may have ended by then.
        self._begin(protocol, connection, announced)

    def _begin(
        self,
        protocol: AsyncioAdapter,
        connection: socket.socket,
        announced: ProxyHeader,
    ) -> None:
        protocol.use_proxy_header(announced)
        self._server.begin(protocol, connection)

    @guarded("serve a connection")
    def _waited(
        self,
        protocol: AsyncioAdapter,
        connection: socket.socket,
        peer: Any,
        task: asyncio.Task[None],
    ) -> None:
        if not task.cancelled() and task.exception() is None:
            return
        connection.close()
        protocol.connecting_failed()
        if not task.cancelled():
            self._tell_error(peer, task.exception())
        elif not protocol.connection.site.draining:
            self._tell(peer, "no PROXY header has come in time")

    def _tell_error(self, peer: Any, error: BaseException | None) -> None:
        # Not for a closed connection: load balancers check a port by connecting and
        # disconnecting.
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
    Reader of a PROXY header from a socket, which reads no bytes behind the header.

    :param connection: the non-blocking socket.
    :param versions: the accepted versions of the protocol.
    """

    def __init__(self, connection: socket.socket, versions: str) -> None:
        self._connection = connection
        self._versions = versions
        self._taken = b""

    def read(self) -> ProxyHeader | None:
        """
        Read the bytes that have arrived.

        :return: the header; None if it is incomplete.
        :raises ProxyHeaderError: if the header is invalid.
        :raises OSError: if the connection is closed.
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
            # Bytes left in the socket would wake the event loop again and again.
            self._taken += self._connection.recv(len(there))
