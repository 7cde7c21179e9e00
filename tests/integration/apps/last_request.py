"""A site on a reactor's own transports; the second request of a connection is its last.

It prints the ports of its listeners: of plain HTTP, and of HTTPS by the PEM file that
is the second argument. The first argument names the reactor.
"""

import sys

from twisted.application.reactors import installReactor

reactor = installReactor(sys.argv[1])

from typing import Any  # noqa: E402

from twisted.internet.defer import Deferred  # noqa: E402
from twisted.internet.endpoints import serverFromString  # noqa: E402
from twisted.web.resource import Resource  # noqa: E402

from clusterapp.http.connection_limits import Limits  # noqa: E402
from clusterapp.http.site import ClusterSite  # noqa: E402


class Root(Resource):
    """Answers with as many bytes as the path says."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"~" * int(request.path[1:])


async def listen() -> None:
    """Listen for both, and print the ports."""
    clock: Any = reactor
    ports = []
    for specification in (
        "tcp:0:interface=127.0.0.1",
        f"ssl:0:interface=127.0.0.1:privateKey={sys.argv[2]}:certKey={sys.argv[2]}",
    ):
        site = ClusterSite(clock, Root(), limits=Limits(requests=2))
        port = await serverFromString(reactor, specification).listen(site)
        ports.append(port.getHost().port)
    print("ports", *ports, flush=True)


listening = Deferred.fromCoroutine(listen())
reactor.run()
