"""The client's address and the request's own URL."""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from twisted.internet.interfaces import IAddress

from clusterapp.http.application.response_body import ResponseWriter
from clusterapp.http.application.routable import THIS_MACHINE
from clusterapp.http.lazy import Lazy
from clusterapp.http.syntax.authority import authority, port_of, split_host
from clusterapp.http.syntax.socket_addresses import as_ip, is_ip

if TYPE_CHECKING:
    from clusterapp.http.server.trusted_peers import Proxies
    from clusterapp.http.syntax.request_head import Head


class RequestAddresses(ResponseWriter):
    """The addresses and the URL of a `ClusterRequest`."""

    _head: "Head"
    #: Whether `setHost` was called for a request over TLS.
    _is_forced_secure = False

    @Lazy
    def client(self) -> IAddress:
        """
        The client's address: the peer's, or one reported by a trusted proxy.

        An address reported by a proxy has no port; it is 0 then. A peer on a Unix
        socket is 127.0.0.1 with port 0.
        """
        proxies: Proxies = self._connection.site.proxies
        return as_ip(proxies.address_of_client(self._peer(), self._head.fields))

    @Lazy
    def host(self) -> IAddress:
        """
        The address that the client has connected to.

        A Unix socket is 127.0.0.1, with the port in the client's Host field.
        """
        address = self._listener()
        if is_ip(address):
            return address
        return as_ip(address, port_of(self._named_host(), self._scheme()))

    def isSecure(self) -> bool:
        """Return whether the client uses TLS, be it only to a trusted proxy."""
        if self._is_forced_secure:
            return True
        connection = self.channel
        if connection is None:
            return False
        proxies: Proxies = connection.site.proxies
        origin = self._head.origin
        secure = connection.isSecure() if origin is None else origin.secure
        return proxies.is_secure(self._peer(), self._head.fields, secure=secure)

    def getRequestHostname(self) -> bytes:
        """Return the requested host, without port and brackets."""
        name = split_host(self._named_host() or b"")[0]
        if name:
            return name
        address: Any = self.getHost()
        host = address.host if is_ip(self._listener()) else THIS_MACHINE
        return host if isinstance(host, bytes) else host.encode("ascii")

    def authority(self) -> bytes:
        """Return the authority of the request's URL: that of its Host field, if any."""
        address: Any = self.getHost()
        host = address.host if is_ip(self._listener()) else THIS_MACHINE
        return authority(self._named_host(), self._scheme(), host, address.port)

    def setHost(self, host: bytes, port: int, ssl: bool = False) -> None:
        """
        Set the host that the client has connected to; see `twisted.web.http.Request`.

        :param ssl: whether `isSecure` returns true from now on.
        """
        self._is_forced_secure = bool(ssl)
        super().setHost(host, port, ssl)

    def prePathURL(self) -> bytes:
        """Return the URL up to the segments that have been traversed."""
        return self._url_of(self.prepath or [])

    def rememberRootURL(self) -> None:
        """Remember the URL before the last traversed segment."""
        self.appRootURL = self._url_of((self.prepath or [])[:-1])

    def _url_of(self, prepath: list[bytes]) -> bytes:
        path = "/".join(quote(segment, safe="") for segment in prepath)
        return b"%b://%b/%b" % (self._scheme(), self.authority(), path.encode("ascii"))

    def _scheme(self) -> bytes:
        return b"https" if self.isSecure() else b"http"

    def _named_host(self) -> bytes | None:
        return self.getHeader(b"host")

    def _peer(self) -> IAddress:
        origin = self._head.origin
        return self._connection.getPeer() if origin is None else origin.peer

    def _listener(self) -> IAddress:
        origin = self._head.origin
        return self._connection.getHost() if origin is None else origin.host
