"""What Klein dispatch asks of a request of the engine."""

from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from twisted.web import server

if TYPE_CHECKING:
    # Not needed to run, and its import installs a reactor.
    from klein import Klein


class Routable(server.Request):
    """
    A request that need not divide its path for Klein to dispatch it.

    The engine's request is one. Any other request goes Klein's own way.
    """

    #: The Klein that found a route for this request, the path that it was found for,
    #: and the name of the handler, if there is one; None before. The mapper is made of
    #: it if a handler asks for one.
    routed: "tuple[Klein, str, str | None] | None" = None
    #: The name of the handler, where it was found by Klein's own means.
    endpoint: str | None = None

    @property
    def handler_name(self) -> str | None:
        """The name of the Klein's handler that the request was dispatched to."""
        return self.endpoint if self.routed is None else self.routed[2]

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
