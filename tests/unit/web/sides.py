"""The side that serves a request, by the routes of an application."""

from clusterapp.http.syntax.request_head import Head
from clusterapp.web.routing import Routes, Side


def side_of(routes: Routes, path: bytes, method: bytes = b"GET") -> Side:
    """Return the side that responds to a request for a path."""
    return routes.find(Head(method, path, b"HTTP/1.1", []))[0]
