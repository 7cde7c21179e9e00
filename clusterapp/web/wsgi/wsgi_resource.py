"""WSGI applications (PEP 3333), as requests of the engine are given to them."""

from contextvars import copy_context
from functools import partial
from os import SEEK_END
from typing import Any

from twisted.internet.interfaces import IReactorThreads
from twisted.web.pages import notFound
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.wsgi import WSGIResource

from clusterapp.web.wsgi.wsgi_response import ContainedResponse


class WSGIRoot(WSGIResource):
    """
    Serves a WSGI application in threads, each request in a context of its own.

    Fields that a client could write in the place of others, or of the process's
    environment, are left out: see `_drop_ambiguous`.

    :param reactor: runs the threads.
    :param application: the application.
    """

    def __init__(self, reactor: IReactorThreads, application: Any) -> None:
        super().__init__(reactor, _Threads(reactor.getThreadPool()), application)

    def render(self, request: Request) -> Any:
        """Call the application in a thread; as for files, no path has a NUL."""
        segments = [*(request.prepath or ()), *(request.postpath or ())]
        if any(b"\0" in segment for segment in segments):
            return notFound().render(request)
        _drop_ambiguous(request)
        _tell_length(request)
        response = ContainedResponse(
            self._reactor, self._threadpool, self._application, request
        )
        response.start()
        return NOT_DONE_YET


class _Threads:
    """
    Calls functions in threads, each in the context of who asks for it.

    Otherwise what an application sets in a `contextvars.ContextVar` would be seen by
    the next request that comes to the same thread.

    :param pool: the threads.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def callInThread(self, function: Any, *args: Any, **kwargs: Any) -> None:
        """Call a function in a thread; twisted.web calls this."""
        call = partial(copy_context().run, function, *args, **kwargs)
        self._pool.callInThread(call)


def _tell_length(request: Request) -> None:
    """
    Tell an application the length of a body that has come in chunks.

    It has been gathered whole, and without a CONTENT_LENGTH applications read nothing.
    """
    headers, content = request.requestHeaders, request.content
    if headers.hasHeader(b"transfer-encoding") and content is not None:
        headers.removeHeader(b"transfer-encoding")
        length = content.seek(0, SEEK_END)
        content.seek(0)
        headers.setRawHeaders(b"content-length", [b"%d" % length])


def _drop_ambiguous(request: Request) -> None:
    """
    Remove the fields whose names in a WSGI environment are those of others.

    ``X_Forwarded_Proto`` would be ``HTTP_X_FORWARDED_PROTO`` like the field that a
    proxy has written (nginx leaves names with underscores out as well), and ``Proxy``
    would be ``HTTP_PROXY``, which libraries take for the process's own setting
    (CVE-2016-5385 and others, "httpoxy").
    """
    headers = request.requestHeaders
    for name, _ in list(headers.getAllRawHeaders()):
        if b"_" in name or name.lower() == b"proxy":
            headers.removeHeader(name)
