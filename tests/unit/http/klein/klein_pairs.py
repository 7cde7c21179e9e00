"""The same requests to Klein's own resource and to clusterapp's, side by side."""

import re
from collections.abc import Callable
from typing import Any

from klein import Klein
from klein.resource import KleinResource
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from clusterapp.http.klein.klein_resource import KleinRoutes
from tests.unit.http.klein.routable_requests import PlainRoutable

ResourceOf = Callable[[Klein], IResource]


class Pending:
    """The Deferreds that the handlers of an application wait for."""

    def __init__(self) -> None:
        self.all: list[Deferred[Any]] = []
        self.cancelled = 0

    def new(self) -> Deferred[Any]:
        """Make one more."""
        self.all.append(Deferred(self._count))
        return self.all[-1]

    def fire(self, result: object) -> None:
        """Fire those that are still waited for."""
        for each in self.all:
            if not each.called:
                each.callback(result)

    def _count(self, _: object) -> None:
        self.cancelled += 1


#: What makes an application, with what makes resources of Kleins within it.
MakeApp = Callable[[Pending, ResourceOf], Klein]


class Conversation:
    """
    What a client says to a site with an application of its own, and hears.

    :param make_app: makes the application.
    :param resource_of: the resource that is tried.
    :param request_factory: the class of its requests.
    """

    def __init__(
        self,
        make_app: MakeApp,
        resource_of: ResourceOf,
        request_factory: type[Request],
    ) -> None:
        self.pending = Pending()
        resource: Any = resource_of(make_app(self.pending, resource_of))
        self._site = Site(resource, requestFactory=request_factory, reactor=Clock())
        self.connect()

    def connect(self) -> None:
        """Open a new connection."""
        self.transport = StringTransport()
        self.channel: Any = self._site.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def ask(self, method: str, target: str, body: bytes = b"") -> None:
        """Send a request."""
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: shop.example:12345\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.channel.dataReceived(head.encode() + body)

    def leave(self) -> None:
        """End the connection from the client's side."""
        self.channel.connectionLost(Failure(ConnectionDone()))

    @property
    def heard(self) -> bytes:
        """All that has been answered on the last connection, without the time."""
        return re.sub(rb"Date: [^\r]*\r\n", b"", self.transport.value())


def pair(make_app: MakeApp) -> tuple[Conversation, Conversation]:
    """Start a conversation with Klein's own resource, and one with clusterapp's."""
    return (
        Conversation(make_app, KleinResource, Request),
        Conversation(make_app, KleinRoutes, PlainRoutable),
    )
