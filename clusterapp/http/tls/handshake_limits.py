"""Limit on unauthenticated TLS connections (in a core)."""

from typing import Any, cast

from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLServerConnectionCreator,
    ITCPTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure

from clusterapp.guards import guarded
from clusterapp.http.tls.pending_connections import PendingConnections, network_of
from clusterapp.system.descriptor_limit import part_of_descriptors

#: The maximum number of connections without a request yet, if the process may have
#: enough file descriptors.
MOST_PENDING = 1024

#: Seconds for which no further eviction is logged.
_QUIET = 60.0

#: Guards the callbacks of a connection: an exception closes that connection.
_ends_connection = guarded(
    "serve a connection to the core",
    lambda _failure, protocol, *_, **__: protocol.abortConnection(),
)


class _PendingTLSTransport(BufferingTLSTransport):
    """TLS transport that counts as pending in its factory until the first request."""

    factory: "BoundedTLSFactory"
    #: The adapter of the connection, which says whether it has received a request.
    wrappedProtocol: Any

    @_ends_connection
    def dataReceived(self, data: bytes) -> None:
        """Called with encrypted bytes from the peer."""
        super().dataReceived(data)
        if not self.wrappedProtocol.connection.is_new:
            self.factory.pending.discard(self)

    @guarded("end a connection to the core")
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Called when the connection is closed."""
        self.factory.pending.discard(self)
        super().connectionLost(reason)


class BoundedTLSFactory(TLSMemoryBIOFactory):
    """
    TLS factory of a site that bounds the number of connections without a request yet.

    Until its first request has arrived, a connection is unauthenticated: the client
    certificate is received at the end of the handshake, which may never come. The
    timeout is the site's `Limits.first_request_timeout`. At the maximum, a new
    connection evicts an old one, by `PendingConnections`: if it were refused, any
    client could keep the workers from the core with connections that send nothing.

    :param options: the creator of the server's end of each TLS connection.
    :param site: the factory of `TwistedAdapter`.
    :param clock: the reactor.
    """

    _log = Logger()
    protocol = _PendingTLSTransport

    def __init__(
        self, options: IOpenSSLServerConnectionCreator, site: Any, clock: Any
    ) -> None:
        super().__init__(options, isClient=False, wrappedFactory=site, clock=clock)
        self._time = clock
        #: The connections that have received no request yet.
        self.pending = PendingConnections[_PendingTLSTransport](
            part_of_descriptors(MOST_PENDING)
        )
        self._quiet_until = 0.0
        self._evicted = 0

    def buildProtocol(self, addr: IAddress | None) -> BufferingTLSTransport:
        """Return the protocol of a new connection; at the maximum, evict another."""
        protocol = cast("_PendingTLSTransport", super().buildProtocol(addr))
        network = network_of(getattr(addr, "host", ""))
        evicted = self.pending.add(protocol, network)
        if evicted is not None:
            self._evict(evicted.wrappedProtocol.connection)
        return protocol

    def _evict(self, connection: ITCPTransport) -> None:
        address = getattr(connection.getPeer(), "host", "a Unix peer")
        connection.abortConnection()
        self._evicted += 1
        now = self._time.seconds()
        if now < self._quiet_until:
            return
        self._log.warn(
            "closed a connection of {address} to the core to make room: {pending} have"
            " brought no request yet ({evicted} closed since the last such line)",
            address=address,
            pending=len(self.pending),
            evicted=self._evicted,
        )
        self._quiet_until, self._evicted = now + _QUIET, 0
