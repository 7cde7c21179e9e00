"""The resource that serves a WSGI application (PEP 3333) in threads."""

from contextvars import copy_context
from functools import partial
from os import SEEK_END
from typing import Any

from twisted.internet.interfaces import IReactorThreads
from twisted.web.pages import notFound
from twisted.web.server import NOT_DONE_YET, Request
from twisted.web.wsgi import WSGIResource

from clusterapp.private_names.web import WSGI_RESPONSE
from clusterapp.web.wsgi.wsgi_response import ContainedResponse


class WSGIRoot(WSGIResource):
    """
    The root resource of a WSGI application, run in threads, with a context per request.

    Fields by which a client could forge other fields, or variables of the process's
    environment, are removed: see `_drop_ambiguous`.

    :param reactor: the reactor, whose thread pool is used.
    :param application: the application.
    """

    def __init__(self, reactor: IReactorThreads, application: Any) -> None:
        self._called = reactor, _Threads(reactor.getThreadPool()), application
        super().__init__(*self._called)

    def render(self, request: Request) -> Any:
        """Call the application in a thread; a path with a NUL is 404, as for files."""
        segments = [*(request.prepath or ()), *(request.postpath or ())]
        if any(b"\0" in segment for segment in segments):
            return notFound().render(request)
        _drop_ambiguous(request)
        _join_cookies(request)
        _tell_length(request)
        if not WSGI_RESPONSE.found:
            return super().render(request)
        ContainedResponse(*self._called, request).start()
        return NOT_DONE_YET


class _Threads:
    """
    A thread pool whose functions run in a copy of the caller's context.

    Otherwise a value that an application sets in a `contextvars.ContextVar` would be
    visible to the next request in the same thread.

    :param pool: the thread pool.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def callInThread(self, function: Any, *args: Any, **kwargs: Any) -> None:
        """Run a function in a thread; called by twisted.web."""
        call = partial(copy_context().run, function, *args, **kwargs)
        self._pool.callInThread(call)


def _tell_length(request: Request) -> None:
    """
    Set the Content-Length of a request whose body was received in chunks.

    The body has been received completely, and applications read nothing without a
    CONTENT_LENGTH.
    """
    headers, content = request.requestHeaders, request.content
    if headers.hasHeader(b"transfer-encoding") and content is not None:
        headers.removeHeader(b"transfer-encoding")
        length = content.seek(0, SEEK_END)
        content.seek(0)
        headers.setRawHeaders(b"content-length", [b"%d" % length])


def _join_cookies(request: Request) -> None:
    """
    Make one Cookie field of several, as RFC 9113, section 8.2.3, has it.

    Proxies of HTTP/2 clients may send several. In an environment they are one value,
    and the comma that joins other fields would become a part of a cookie's value.
    """
    headers = request.requestHeaders
    cookies = headers.getRawHeaders(b"cookie", [])
    if len(cookies) > 1:
        headers.setRawHeaders(b"cookie", [b"; ".join(cookies)])


def _drop_ambiguous(request: Request) -> None:
    """
    Remove the fields whose names in a WSGI environment collide with other names.

    ``X_Forwarded_Proto`` would become ``HTTP_X_FORWARDED_PROTO`` like the field that a
    proxy has written (nginx drops names with underscores as well), and ``Proxy`` would
    become ``HTTP_PROXY``, which libraries take for the process's environment variable
    (CVE-2016-5385 and others, "httpoxy").
    """
    headers = request.requestHeaders
    for name, _ in list(headers.getAllRawHeaders()):
        if b"_" in name or name.lower() == b"proxy":
            headers.removeHeader(name)
