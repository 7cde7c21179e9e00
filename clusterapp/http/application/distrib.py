"""
Requests that `twisted.web.distrib` copies to another process.

`_addressToTuple` of twisted.web, which it does not promise, is used as it was in
Twisted 26.10.
"""

from io import BytesIO
from typing import Any, Final

from twisted.spread.pb import ViewPoint
from twisted.web import server

from clusterapp.http.application.request_failure import Failing

#: What is copied of a request as it is.
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


class Distributed(Failing):
    """How a `ClusterRequest` is copied to a `twisted.web.distrib.ResourcePublisher`."""

    def getTypeToCopyFor(self, perspective: Any) -> bytes:  # noqa: ARG002
        """Name the class that the other side knows."""
        return b"twisted.web.server.Request"

    def getStateToCopyFor(self, issuer: Any) -> dict[str, Any]:
        """Give what twisted.web's requests have when they are copied."""
        content = BytesIO() if self.content is None else self.content
        content.seek(0)
        return {name: getattr(self, name) for name in _COPIED} | {
            "client": server._addressToTuple(self.client),  # noqa: SLF001
            "content_data": content.read(),
            "host": server._addressToTuple(self.getHost()),  # noqa: SLF001
            "notifications": [],
            "remote": ViewPoint(issuer, self),
            "requestHeaders": list(self.requestHeaders.getAllRawHeaders()),
        }
