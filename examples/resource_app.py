"""
A tree of plain twisted.web resources.

Start it with ``twistd -n clusterapp --app resource_app:Site --workers 4``, then::

    curl http://127.0.0.1:8080/hello/you
"""

import os

from twisted.web.iweb import IRequest
from twisted.web.resource import Resource


class Hello(Resource):
    """Greets whomever the path names, from whichever worker took the connection."""

    isLeaf = True

    def render_GET(self, request: IRequest) -> bytes:
        """Greet in plain text, so that no name is taken for markup."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        name = b"/".join(request.postpath)
        return b"Hello, %s, from process %d\n" % (name, os.getpid())


class Site(Resource):
    """The root: each worker makes one of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.putChild(b"hello", Hello())
