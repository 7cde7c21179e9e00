"""The core's end of connections from workers, which bring many clients' requests."""

from typing import Any

from twisted.internet.interfaces import IAddress, ISSLTransport
from zope.interface import alsoProvides, directlyProvides, noLongerProvides, providedBy

from clusterapp.http.syntax.request_head import Head
from clusterapp.http.syntax.socket_addresses import as_ip
from clusterapp.http.tls.x509 import pyopenssl_certificate
from clusterapp.http.transports.twisted_connection import HostedConnection
from clusterapp.http.transports.twisted_transport import HostedTransport


class ForwardedConnection(HostedConnection):
    """
    A connection from a worker, whose requests are of the clients that they name.

    A request that names none is the worker's own, from ``app.cluster.core``.

    :param site: what is served.
    """

    def _begin(self, head: Head) -> None:
        self._origin = head.origin
        self._face = None  # it is that of the client before
        super()._begin(head)

    def _make_face(self) -> HostedTransport:
        return ForwardedTransport(self, self._native)

    def _take_away(self) -> None:
        if self.isSecure() and not self._taken:
            # autobahn takes an ISSLTransport for one of pyOpenSSL's, and fails.
            noLongerProvides(self.transport, ISSLTransport)
        super()._take_away()

    def getPeer(self) -> IAddress:
        """Return the address of the client, or of a proxy before the workers."""
        return super().getPeer() if self._origin is None else self._origin.peer

    def getHost(self) -> IAddress:
        """Return the address that the client has connected to."""
        return super().getHost() if self._origin is None else self._origin.host

    def isSecure(self) -> bool:
        """Return whether the client's connection is encrypted."""
        return super().isSecure() if self._origin is None else self._origin.secure

    def client_certificate(self) -> bytes | None:
        """Return the certificate that the client has shown to its worker, in DER."""
        # Without an origin the other end is a worker, and so is its certificate.
        return None if self._origin is None else self._origin.certificate


class ForwardedTransport(HostedTransport):
    """
    The transport of a request that a worker has passed on, with its client's addresses.

    It provides `ISSLTransport` if the client has come over TLS, whatever the connection
    between worker and core is.

    :param connection: the connection of the request, which knows its client.
    :param native: the transport to the worker.
    """

    def __init__(self, connection: ForwardedConnection, native: Any) -> None:
        super().__init__(connection, native)
        # Another client's request may come by the same connection.
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
        """Return the client's certificate, an X509 of pyOpenSSL; None if none came."""
        return pyopenssl_certificate(self._certificate)

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """None: what client and worker have agreed on by ALPN is not passed on."""
        return None
