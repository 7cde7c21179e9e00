"""The decorator of handlers that read the request body while it is received."""

from collections.abc import Callable
from typing import Any, TypeVar

from clusterapp.http.klein.klein_routes import STREAMED

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


def streamed(handler: HandlerT) -> HandlerT:
    """
    Mark a handler that reads the request body as a stream (a decorator).

    The handler is called as soon as the request head has been received, and
    ``request.body`` is a `clusterapp.http.application.streamed_body.StreamedBody`.
    ``request.content`` and form fields stay empty::

        @app.route("/upload", methods=["PUT"])
        @streamed
        async def upload(request):
            async for piece in request.body:
                ...
    """
    setattr(handler, STREAMED, True)
    return handler
