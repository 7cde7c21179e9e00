"""Requests that Klein's dispatch in clusterapp takes for the engine's."""

from clusterapp.http.application.routable import Routable
from clusterapp.http.syntax.target_path import routed_path


class PlainRoutable(Routable):
    """
    It does in the plainest way, on Twisted's own request, what the engine's does.

    :cvar dispatched: how many of them were dispatched without Klein's own code.
    """

    dispatched = 0

    def path_text(self) -> str | None:
        if self.prepath or self.routed is not None:
            return None
        return routed_path(b"/" + b"/".join(self.postpath or ()).replace(b"%", b"%25"))

    def consume(self, segments: int) -> None:
        PlainRoutable.dispatched += 1
        assert self.prepath is not None
        assert self.postpath is not None
        self.prepath.extend(self.postpath[:segments])
        self.postpath = self.postpath[segments:]

    def has_response_header(self, name: bytes) -> bool:
        return bool(self.responseHeaders.hasHeader(name))

    def respond(self, body: bytes) -> None:
        self.write(body)
        if not self.ended:
            self.finish()


class Body(Routable):
    """A request with a body, of which method and path are known."""

    def __init__(self, method: bytes, path: str) -> None:
        self.method = method
        self._path = path

    def path_text(self) -> str | None:
        return self._path
