"""Handlers that read their request's body while it comes."""

from collections.abc import Callable
from typing import Any, TypeVar

from clusterapp.http.klein.klein_routes import STREAMED

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


def streamed(handler: HandlerT) -> HandlerT:
    """
    Mark a handler that takes its request's body as a stream (a decorator).

    It is called as soon as the request's head has come, and ``request.body`` is a
    `clusterapp.http.application.streamed_body.StreamedBody`.
    ``request.content`` and the fields of a form stay empty::

        @app.route("/upload", methods=["PUT"])
        @streamed
        async def upload(request):
            async for piece in request.body:
                ...
    """
    setattr(handler, STREAMED, True)
    return handler
