"""What Klein dispatch asks of a request of the engine."""

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from twisted.logger import LogLevel
from twisted.python.failure import Failure
from twisted.web import server

from clusterapp.channel.log_events import RequestFacts
from clusterapp.future_note import add_future_note
from clusterapp.http.application.request_context import WithContext
from clusterapp.http.application.request_facts import client_of, request_facts
from clusterapp.http.syntax.authority import DEFAULT_PORTS, authority

if TYPE_CHECKING:
    # Not needed to run, and its import installs a reactor.
    from klein import Klein

    from clusterapp.http.syntax.request_head import Head

#: What a listener on a Unix socket is called in URLs, where the client names no host.
THIS_MACHINE = "localhost"


class Routable(WithContext, server.Request):
    """
    A request that need not divide its path for Klein to dispatch it.

    The engine's request is one. Any other request goes Klein's own way.
    """

    #: The Klein that found a route for this request, and the path that it was found
    #: for; None before. The mapper is made of it if a handler asks for one.
    routed: "tuple[Klein, str] | None" = None

    def authority(self) -> bytes:
        """Return the authority of the request's URL: that of its Host, if any."""
        scheme = b"https" if self.isSecure() else b"http"
        address = self.getHost()
        host = getattr(address, "host", THIS_MACHINE)
        port = getattr(address, "port", DEFAULT_PORTS[scheme])
        return authority(self.getHeader(b"host"), scheme, host, port)

    def path_text(self) -> str | None:
        """
        Return the path that is to be routed, as `routed_path` decodes it.

        :returns: None if it is not UTF-8, or once ``prepath`` or ``postpath`` may
            have been changed, be it by a resource on the way or by `consume`.
        """
        raise NotImplementedError

    def consume(self, segments: int) -> None:
        """
        Move segments from the start of ``postpath`` to the end of ``prepath``.

        :param segments: how many; fewer where there are no more.
        """
        raise NotImplementedError

    @property
    def has_nul(self) -> bool:
        """Whether the path has a NUL, which no file or folder can have."""
        return any(b"\0" in segment for segment in self.postpath or ())

    def respond(self, body: bytes) -> None:
        """
        Write an answer that is whole, and finish.

        As `write` and, unless the request has `ended` by then, `finish`: so it
        raises what `write` raises after the end, and does nothing if the client has
        gone. A Content-Length that the application has set stays as it is.
        """
        raise NotImplementedError

    #: What the request came by, and its head.
    _connection: Any
    _head: "Head"

    @property
    def facts(self) -> RequestFacts:
        """What the log says of this request; made when something has failed."""
        connection, head = self._connection, self._head
        client = client_of(connection.site.proxies, connection.getPeer(), head.fields)
        routed = self.routed
        return request_facts(head.method, head.target, head.fields, client, routed)

    @property
    def event_facts(self) -> RequestFacts | None:
        """What log events of code that works for this request name; None if nothing."""
        return self.facts if self._connection.site.names_requests else None

    def log_failure(self, reason: Failure, what: str = "unhandled") -> None:
        """
        Log an exception that has ended this request.

        :param what: stands before the name of the exception.
        """
        add_future_note(reason.value)
        self._log.failure(
            "{what} {exception} in {request.facts}",
            reason,
            LogLevel.error,
            what=what,
            exception=getattr(reason.type, "__name__", reason.type),
            request=self,
        )

    @property
    def ended(self) -> bool:
        """Whether the answer is finished or nobody is there any more to get it."""
        return bool(self.finished or self._disconnected)


class Dispatcher:
    """A leaf resource that finds out by itself who answers a request."""

    def wants_stream(self, method: bytes, path_text: str) -> bool:
        """
        Tell whether who answers takes the request's body as a stream.

        :param method: the request's method.
        :param path_text: its path as `routed_path` decodes it.
        """
        raise NotImplementedError


def routed_path(path: bytes) -> str | None:
    """
    Decode a path to the text that Klein matches its rules with.

    :param path: a request's path as it came, without the query, in origin-form.
    :returns: None if it is not UTF-8. Of several slashes at the start one is lost,
        since Klein joins the segments of ``postpath`` by slashes and adds one only
        where there is none.
    """
    rest = path[1:]
    try:
        text = (unquote_to_bytes(rest) if b"%" in rest else rest).decode()
    except UnicodeDecodeError:
        return None
    return text if text.startswith("/") else f"/{text}"
