"""
Klein's dispatch with less work per request.

`KleinRoutes` does the same as `klein.resource.KleinResource`. It differs in the
implementation:

- It has the rules compiled (see `clusterapp.http.klein.klein_routes`).
- It creates a mapper and its `IKleinRequest` only on first use.
- If a handler returns a body at once, or is a coroutine that does not have to wait, the
  response is sent at once: no Deferred is created here, and the client's disconnection
  is not watched.

If the compiled rules do not decide, a request is matched as by Klein: redirects, host
matching, a Klein below another resource. Requests that are not the engine's are handled
by Klein's own code.

The same requests get the same responses, with these intended exceptions:

- If a request fails after its response has begun, nothing more is sent: neither error
  handlers nor a failing `IRenderable` append anything to it, and the connection is
  closed (by `Request.processingFailed`). An `IRenderable` that fails earlier is passed
  to the error handlers, like every other failure.
- A path that is not UTF-8 is a 404. In Klein it is a 400, with a traceback in the log
  that any client can cause.

- The Host field is parsed only to create a mapper. An invalid name, such as ``a..b``,
  is an internal error in Klein for every route, and here a 400 if a mapper is needed to
  find the route. A handler that has called ``setHost`` before it accesses the mapper
  gets one for the new host.
- Redirects, and URLs that a handler builds, have the host and port of the client's Host
  field. Klein puts the listener's port there, and writes IPv6 without brackets.
- A response that cannot be encoded (a str with a lone surrogate) is an internal error;
  Klein would log it and leave the client waiting.
- A rule may have a variable named ``f``, with which Klein fails.
- A dict or a list that a handler returns is sent as JSON. Klein fails to write it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Final, cast

from klein import Klein, Response
from klein.app import KleinRequest
from klein.interfaces import IKleinRequest
from klein.resource import KleinResource
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred
from twisted.python.components import registerAdapter
from twisted.python.failure import Failure
from twisted.web.error import FlattenerError
from twisted.web.iweb import IRenderable, IRequest
from twisted.web.resource import IResource, getChildForRequest
from twisted.web.server import NOT_DONE_YET
from twisted.web.template import flatten
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import MapAdapter

from clusterapp.http.application.routable import Dispatcher, Routable
from clusterapp.http.klein.klein_routes import NotRouted, RouteTable, segments_of
from clusterapp.http.klein.route_tree import Found, Route
from clusterapp.private_names.web import APP_OF, ERROR_HANDLERS, SEGMENT_COUNT
from clusterapp.system import forks

#: What is sent as it is, as text, or as JSON.
_Body = bytes | str | dict[Any, Any] | list[Any]
#: The exact types: objects of their subclasses may be renderable.
_BODIES: Final = frozenset({bytes, str, dict, list})

_encode_json: Final = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False
).encode

#: The result of a handler whose response is written by other code.
_ANSWERED_ELSEWHERE = object()


class _NoRequest(Routable):
    """A class without instances."""


#: The requests that are dispatched here: the engine's, unless Klein's parts are not
#: where they are expected.
_DISPATCHED = Routable if ERROR_HANDLERS.found and SEGMENT_COUNT.found else _NoRequest
_error_handlers_of = ERROR_HANDLERS.value or (lambda _app: ())


def klein_resource(app: Klein) -> IResource:
    """
    Return the resource that serves an application, in place of ``app.resource()``.

    :returns: a `KleinRoutes`; the result of ``app.resource()`` if a subclass of Klein
        overrides it.
    """
    own = app.resource()
    if type(app).resource is Klein.resource:
        return KleinRoutes(app)
    if type(own) is KleinResource and APP_OF.value is not None:
        return KleinRoutes(APP_OF.value(own))
    return own


class KleinRoutes(KleinResource, Dispatcher):
    """
    A resource that serves a Klein: a leaf, the root of a site or a part of one.

    :param app: the application; routes may be added to it at any time.
    """

    def __init__(self, app: Klein) -> None:
        super().__init__(app)
        self._klein = app
        self._routes = RouteTable(app)

    def wants_stream(self, request: Routable) -> bool:
        """
        Return whether the handler of a request receives the body as a stream.

        Handlers are marked by `clusterapp.http.klein.klein_routes.STREAMED`. If no
        handler is, this costs nothing.

        :param request: a request of which nothing has been matched yet.
        :returns: False also if method and path alone do not determine the route, as
            with host matching.
        """
        path = request.path_text() if self._routes.streams else None
        if path is None:
            return False
        found = self._find(request, path)
        if found is None:
            return False
        request.found_route = self._klein, found  # for `render`
        return isinstance(found, tuple) and found[0].streamed

    def render(self, request: IRequest) -> Any:
        """Dispatch a request; the response may be sent later."""
        if not isinstance(request, _DISPATCHED):
            return super().render(request)
        app = self._klein
        path = request.path_text()
        found = None if path is None else self._find(request, path)
        if path is None or found is None:
            return self._render_as_klein(request)
        request.routed = app, path
        if not isinstance(found, tuple):
            _Dispatched(app, request).follow(fail(Failure(found)))
            return NOT_DONE_YET
        return self._execute(request, *found)

    def _find(self, request: Routable, path: str) -> Found | NotRouted | None:
        """Return the route of a request, which may have been found before."""
        before = request.found_route
        if before is not None:
            request.found_route = None  # it counts once: a path may be changed
            app, found = before
            if app is self._klein:
                return cast("Found | NotRouted", found)
        return self._routes.find(request.method, path)

    def _render_as_klein(self, request: Routable) -> Any:
        """Dispatch a request with a mapper of its host, like `KleinResource`."""
        app = self._klein
        try:
            IKleinRequest(request).mapper = mapper = _bind(app, request)
            rule, values = mapper.match(return_rule=True)
            handler: Any = app.endpoints[rule.endpoint]
            route = Route(rule.endpoint, segments_of(handler), streamed=False)
        except UndecodablePathError:
            _Dispatched(app, request).follow(fail(Failure(NotFound())))
            return NOT_DONE_YET
        except Exception:  # noqa: BLE001  (converters may raise anything)
            _Dispatched(app, request).follow(fail(Failure(captureVars=Deferred.debug)))
            return NOT_DONE_YET
        return self._execute(request, route, values)

    def _execute(
        self, request: Routable, route: Route, values: Mapping[str, Any]
    ) -> Any:
        app = self._klein
        request.consume(route.segments)
        try:
            result: Any = app.execute_endpoint(route.endpoint, request, **values)
        except BaseException:  # noqa: BLE001  (as maybeDeferred, which Klein calls)
            if forks.is_fork:
                forks.end_fork(Failure())
            called: Deferred[Any] = fail(Failure(captureVars=Deferred.debug))
        else:
            if forks.is_fork:
                forks.end_fork()
            if type(result) is Deferred and _has_body(result):
                result = result.result
            if type(result) in _BODIES:
                _respond(request, result)
                return NOT_DONE_YET
            called = maybeDeferred(lambda: result)
        _Dispatched(app, request).follow(called)
        return NOT_DONE_YET


class _Dispatched:
    """A request whose handler has not returned a body immediately."""

    def __init__(self, app: Klein, request: Routable) -> None:
        self._app = app
        self._request = request

    def follow(self, called: Deferred[Any]) -> None:
        """Send the result of the handler's Deferred when it fires."""
        run = self._request.in_context  # it may be fired by code of another request
        handlers = iter(_error_handlers_of(self._app))
        self._request.notifyFinish().addErrback(lambda _: called.cancel())
        called.addCallback(partial(run, self._render))
        called.addErrback(partial(run, self._handle), handlers)
        called.addCallback(partial(run, self._write))
        called.addErrback(_cannot_write, self._request)

    def _render(self, result: Any) -> Any:
        """Render a result that writes its own response; return any other one."""
        if forks.is_fork:
            forks.end_fork()
        request = self._request
        if isinstance(result, Response):
            result = _apply(result, request)
        if IResource.providedBy(result):
            if request.has_nul:
                raise NotFound
            request.render(getChildForRequest(result, request))
            return _ANSWERED_ELSEWHERE
        return self._flatten(result) if IRenderable.providedBy(result) else result

    def _flatten(self, element: IRenderable) -> Deferred[None]:
        """
        Render an element like `twisted.web.template.renderElement`.

        A failure before the first output can still be answered with an error;
        `renderElement` has begun the response by then, and ends it as if it were
        complete.
        """
        request = self._request
        doctype = [b"\n", b"<!DOCTYPE html>"]

        def write(piece: bytes) -> None:
            while doctype:
                request.write(doctype.pop())
            if piece:
                request.write(piece)

        return flatten(request, element, write).addCallback(lambda _: write(b""))

    def _handle(self, failure: Failure, handlers: Iterator[Any]) -> Any:
        """Call the first error handler that is registered for such a failure."""
        if forks.is_fork:
            forks.end_fork(failure)
        request = self._request
        if request.ended:
            if not _is_cancelled(failure):
                request.log_failure(failure, "after the response,")
            return None
        if request.startedWriting:
            request.processingFailed(failure)
            return _ANSWERED_ELSEWHERE
        for kinds, handler in handlers:
            if failure.check(*kinds):
                handled = maybeDeferred(
                    self._app.execute_error_handler, handler, request, failure
                )
                handled.addCallback(self._render)
                return handled.addErrback(self._handle, handlers)
        return self._unhandled(failure)

    def _unhandled(self, failure: Failure) -> bytes | None:
        error = failure.value
        if not isinstance(error, HTTPException):
            self._request.processingFailed(failure)
            return None
        response: Any = error.get_response({})
        self._request.setResponseCode(error.code)  # type: ignore[arg-type]
        for name, value in response.headers:
            self._request.setHeader(name.encode(), value.encode())
        return b"".join(response.iter_encoded())

    def _write(self, result: Any) -> None:
        if result is _ANSWERED_ELSEWHERE:
            return
        if isinstance(result, bytes | str | dict | list):
            _respond(self._request, result)
        elif not self._request.ended:
            self._request.finish()


def _apply(response: Response, request: Routable) -> Any:
    """Set the status and the fields of Klein's `Response`, and return its body."""
    request.setResponseCode(response.code)
    for name, said in response.headers.items():
        values = [said] if isinstance(said, str | bytes) else said
        request.responseHeaders.setRawHeaders(name, values)
    return response.body


def _is_cancelled(failure: Failure) -> bool:
    """Return whether a failure is only the cancellation for a client that left."""
    error = failure.value
    if isinstance(error, FlattenerError):
        error = error.args[0]
    return isinstance(error, CancelledError)


def _has_body(called: Deferred[Any]) -> bool:
    """Return whether a Deferred has a body: that of a coroutine which did not wait."""
    return called.called and not called.paused and type(called.result) in _BODIES


def _respond(request: Routable, body: _Body) -> None:
    try:
        if isinstance(body, dict | list):
            request.respond(_as_json(request, body))
        else:
            request.respond(body.encode() if isinstance(body, str) else body)
    except Exception:  # noqa: BLE001  (it is logged, whatever it is)
        _cannot_write(Failure(), request)


def _as_json(request: Routable, value: Any) -> bytes:
    """
    Return a value as JSON (RFC 8259), and set the Content-Type if it was not set.

    :raises TypeError: if a part of it has no equivalent in JSON.
    :raises ValueError: if it has a reference to itself, or a number that is not finite.
    """
    body = _encode_json(value).encode()
    if not request.has_response_header(b"content-type"):
        request.setHeader(b"content-type", b"application/json")
    return body


def _cannot_write(failure: Failure, request: Routable) -> None:
    if request.ended:
        request.log_failure(failure, "the response could not be written:")
    else:
        request.processingFailed(failure)


class UndecodablePathError(ValueError):
    """Raised for a path that is not UTF-8."""


class _LateKleinRequest(KleinRequest):
    """Klein's view of a request, with a mapper that is created on first use."""

    def __init__(self, request: Routable) -> None:
        super().__init__(request)
        self._request = request

    # It can also be set, which Klein's own resource does.
    @cached_property
    def mapper(self) -> MapAdapter:  # type: ignore[override]
        """The application's URL map, bound to this request like in Klein."""
        request = self._request
        if request.routed is None:
            raise AttributeError("mapper: no Klein has routed this request")
        del self._request  # breaks the reference cycle with the request
        app, path = request.routed
        return _bind(app, request, path)


def _bind(app: Klein, request: Routable, path: str | None = None) -> MapAdapter:
    """
    Bind an application's URL map to a request like Klein, but for the host.

    :param path: the path that is to be matched, if nothing precedes it; None for the
        remaining path of the request.
    :raises UndecodablePathError: if the path is not UTF-8.
    :raises werkzeug.routing.exceptions.BadHost: if the host is not a valid name.
    """
    return app.url_map.bind(
        request.authority().decode("ascii"),
        _joined(request.prepath) if path is None else "",
        path_info=_joined(request.postpath) if path is None else path,
        default_method=request.method.decode(),
        url_scheme="https" if request.isSecure() else "http",
    )


def _joined(segments: Sequence[bytes] | None) -> str:
    """Return the path of segments, which begins with a slash if there are any."""
    path = b"/".join(segments or ())
    try:
        text = path.decode()
    except UnicodeDecodeError:
        raise UndecodablePathError(repr(path)) from None
    return text if text.startswith("/") or not segments else f"/{text}"


registerAdapter(_LateKleinRequest, Routable, IKleinRequest)
