"""Copying requests to another process with `twisted.web.distrib`."""

from io import BytesIO
from typing import Any, Final

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.spread.pb import ViewPoint

from clusterapp.http.application.request_failure import FailureResponses

#: The attributes of a request that are copied unchanged.
_COPIED: Final = (
    "args",
    "clientproto",
    "cookies",
    "method",
    "path",
    "postpath",
    "prepath",
    "queued",
    "received_cookies",
    "sitepath",
    "uri",
)


class Distributed(FailureResponses):
    """Copying of a `ClusterRequest` to a `twisted.web.distrib.ResourcePublisher`."""

    def getTypeToCopyFor(self, perspective: Any) -> bytes:  # noqa: ARG002
        """Return the name of the class that the other side has registered."""
        return b"twisted.web.server.Request"

    def getStateToCopyFor(self, issuer: Any) -> dict[str, Any]:
        """Return the state of twisted.web's requests when they are copied."""
        content = BytesIO() if self.content is None else self.content
        content.seek(0)
        return {name: getattr(self, name) for name in _COPIED} | {
            "client": _as_tuple(self.client),
            "content_data": content.read(),
            "host": _as_tuple(self.getHost()),
            "notifications": [],
            "remote": ViewPoint(issuer, self),
            "requestHeaders": list(self.requestHeaders.getAllRawHeaders()),
        }


def _as_tuple(address: Any) -> tuple[Any, ...]:
    """Return an address as twisted.web copies it."""
    if isinstance(address, IPv4Address):
        return ("INET", address.host, address.port)
    if isinstance(address, UNIXAddress):
        return ("UNIX", address.name)
    return tuple(address)
