"""The interface of the engine's request that Klein dispatch uses."""

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.web import server

from clusterapp.channel.log_pipe.log_events import RequestFacts
from clusterapp.future_note import add_future_note
from clusterapp.http.server.request_context import WithContext
from clusterapp.http.server.request_facts import client_of, request_facts
from clusterapp.http.syntax.authority import DEFAULT_PORTS, authority

if TYPE_CHECKING:
    # Only for annotations; importing it installs a reactor.
    from klein import Klein

    from clusterapp.http.syntax.request_head import Head

#: The host in URLs of a listener on a Unix socket, if the client sends no Host.
THIS_MACHINE = "localhost"


class Routable(WithContext, server.Request):
    """
    A request that Klein can dispatch without splitting its path.

    The engine's request is one. Any other request is dispatched by Klein itself.
    """

    #: The Klein that found a route for this request, and the path that was matched;
    #: None before. The mapper is created from it if a handler needs one.
    routed: "tuple[Klein, str] | None" = None
    #: The Klein that a route has been found in for this request before it is rendered,
    #: and that route; None if it has to be found yet.
    found_route: "tuple[Klein, Any] | None" = None
    #: Whether the client has gone; applications know it by this name.
    _disconnected = False
    _failures = Logger("twisted.web.server.Request")

    def authority(self) -> bytes:
        """Return the authority of the request's URL: that of its Host field, if any."""
        scheme = b"https" if self.isSecure() else b"http"
        address = self.getHost()
        host = getattr(address, "host", THIS_MACHINE)
        port = getattr(address, "port", DEFAULT_PORTS[scheme])
        return authority(self.getHeader(b"host"), scheme, host, port)

    def path_text(self) -> str | None:
        """
        Return the path that is to be routed, decoded as by `routed_path`.

        :returns: None if it is not UTF-8, or once ``prepath`` or ``postpath`` may have
            been changed, by a resource or by `consume`.
        """
        raise NotImplementedError

    def consume(self, segments: int) -> None:
        """
        Move segments from the start of ``postpath`` to the end of ``prepath``.

        :param segments: the number of segments; fewer are moved if there are no more.
        """
        raise NotImplementedError

    @property
    def has_nul(self) -> bool:
        """Whether the path has a NUL, which no file name can have."""
        return any(b"\0" in segment for segment in self.postpath or ())

    def respond(self, body: bytes) -> None:
        """
        Send a complete body, and finish.

        Like `write` and, unless the request has `ended` by then, `finish`: so it raises
        what `write` raises after the end, and does nothing if the client has gone. A
        Content-Length that the application has set is not changed.
        """
        raise NotImplementedError

    def has_response_header(self, name: bytes) -> bool:
        """
        Return whether a field of the response was set.

        :param name: the field's name in lower case.
        """
        raise NotImplementedError

    #: The request's connection, and its head.
    _connection: Any
    _head: "Head"

    @property
    def facts(self) -> RequestFacts:
        """The facts of this request for the log; computed when something has failed."""
        connection, head = self._connection, self._head
        client = client_of(connection.site.proxies, connection.getPeer(), head.fields)
        routed = self.routed
        return request_facts(head.method, head.target, head.fields, client, routed)

    @property
    def event_facts(self) -> RequestFacts | None:
        """The facts for log events about this request; None if disabled."""
        return self.facts if self._connection.site.names_requests else None

    def log_failure(self, reason: Failure, what: str = "unhandled") -> None:
        """
        Log an exception that has ended this request.

        :param what: the text before the name of the exception.
        """
        add_future_note(reason.value)
        self._failures.failure(
            "{what} {exception} in {request.facts}",
            reason,
            LogLevel.error,
            what=what,
            exception=getattr(reason.type, "__name__", reason.type),
            request=self,
        )

    @property
    def ended(self) -> bool:
        """Whether the response is finished or the client has gone."""
        return bool(self.finished or self._disconnected)


class Dispatcher:
    """A leaf resource that dispatches requests to handlers itself."""

    def wants_stream(self, request: Routable) -> bool:
        """
        Return whether the handler of a request receives the body as a stream.

        :param request: a request that has not been rendered yet.
        """
        raise NotImplementedError
