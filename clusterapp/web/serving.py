"""The root of what a worker serves: static files before the application."""

from pathlib import Path

from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

from clusterapp.web.routing import is_below, static_prefix
from clusterapp.web.static import StaticFolder


class Front(Resource):
    """
    Static files below one path, the application everywhere else.

    This is the root of a site, and the application sees each request as if it were
    the root itself: ``prepath`` empty and ``postpath`` whole. So it may be a leaf
    (Klein, WSGI) or a tree of resources.

    :param application: the resource of everything that is not static.
    :param folder: the folder of the static files.
    :param static_url: what their paths begin with, such as ``"/static/"``.
    """

    def __init__(self, application: IResource, folder: Path, static_url: str) -> None:
        super().__init__()
        self._application = application
        self._files = StaticFolder(folder)
        self._prefix = static_prefix(static_url)

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:  # noqa: ARG002
        """
        Choose by the path, as `clusterapp.web.routing.Routes.side` does.

        Twisted has moved the first segment, ``path``, from ``postpath`` to
        ``prepath`` before it asks.
        """
        segments = [*(request.prepath or ()), *(request.postpath or ())]
        depth = len(self._prefix) if is_below(segments, self._prefix) else 0
        request.prepath, request.postpath = segments[:depth], segments[depth:]
        return self._files if depth else self._application
