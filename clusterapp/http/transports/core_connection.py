"""Connections from workers to the core, which carry requests of many clients."""

from typing import Any

from twisted.internet.interfaces import IAddress, ISSLTransport
from zope.interface import alsoProvides, directlyProvides, noLongerProvides, providedBy

from clusterapp.http.connection_limits import CLOSE_NOTICE_SECONDS
from clusterapp.http.server.deadlines import Phase
from clusterapp.http.syntax.request_head import Head
from clusterapp.http.syntax.socket_addresses import as_ip
from clusterapp.http.tls.x509 import pyopenssl_certificate
from clusterapp.http.transports.twisted_connection import HostedConnection
from clusterapp.http.transports.twisted_transport import HostedTransport


class ForwardedConnection(HostedConnection):
    """
    Connection from a worker; each request has the addresses of its own client.

    A request that names no client is the worker's own, from ``app.cluster.core``.

    :param site: the site that is served.
    """

    @property
    def can_be_asked_to_close(self) -> bool:
        """Whether the connection is idle, and the worker was not asked to close it."""
        notice_ends = self.site.clock.seconds() + CLOSE_NOTICE_SECONDS
        # A connection without a request yet was opened for one.
        return (
            self.deadlines.phase == Phase.REQUEST
            and self._count > 0
            and self.deadlines.at > notice_ends
        )

    def ask_to_close(self) -> None:
        """Ask the worker to close the idle connection: no request crosses that."""
        self._ask_to_close()

    def _begin(self, head: Head) -> None:
        self._origin = head.origin
        self._face = None  # the transport has the previous client's addresses
        super()._begin(head)

    def _make_face(self) -> HostedTransport:
        return ForwardedTransport(self, self._native)

    def _take_away(self) -> None:
        if self.isSecure() and not self._taken:
            # autobahn expects an ISSLTransport to be based on pyOpenSSL, and fails.
            noLongerProvides(self.transport, ISSLTransport)
        super()._take_away()

    def getPeer(self) -> IAddress:
        """Return the address of the client, or of a proxy in front of the workers."""
        return super().getPeer() if self._origin is None else self._origin.peer

    def getHost(self) -> IAddress:
        """Return the address that the client has connected to."""
        return super().getHost() if self._origin is None else self._origin.host

    def isSecure(self) -> bool:
        """Return whether the client's connection is encrypted."""
        return super().isSecure() if self._origin is None else self._origin.secure

    def client_certificate(self) -> bytes | None:
        """Return the certificate that the client has sent to its worker, in DER."""
        # Without an origin the request is the worker's own, and so is the certificate.
        return None if self._origin is None else self._origin.certificate


class ForwardedTransport(HostedTransport):
    """
    Transport of a request that a worker has forwarded, with its client's addresses.

    It provides `ISSLTransport` if the client uses TLS, whether or not the connection
    between worker and core does.

    :param connection: the connection of the request, with its client's addresses.
    :param native: the transport to the worker.
    """

    def __init__(self, connection: ForwardedConnection, native: Any) -> None:
        super().__init__(connection, native)
        # Stored, since the next request on the connection may be of another client.
        self._peer = as_ip(connection.getPeer())
        self._host = as_ip(connection.getHost())
        self._certificate = connection.client_certificate()
        directlyProvides(self, providedBy(native) - ISSLTransport)
        if connection.isSecure():
            alsoProvides(self, ISSLTransport)

    def getPeer(self) -> IAddress:
        """Return the client's address; 127.0.0.1 and port 0 if it has no IP address."""
        return self._peer

    def getHost(self) -> IAddress:
        """Return the address that the client has connected to; as `getPeer` does."""
        return self._host

    def getPeerCertificate(self) -> Any:
        """Return the client certificate as an X509 of pyOpenSSL, or None."""
        return pyopenssl_certificate(self._certificate)

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """None: the protocol negotiated by ALPN with the worker is not forwarded."""
        return None
