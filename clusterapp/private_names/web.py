"""Private names of twisted.web, Klein, werkzeug and Jinja2."""

from collections.abc import Callable, MutableMapping
from inspect import signature
from operator import attrgetter
from typing import Any, Final

from clusterapp.private_names.check import PrivateName, sets, takes


def _find_name_cache() -> Any:
    from twisted.web import http_headers

    encoder: Any = http_headers._nameEncoder
    is_used = sets(type(encoder).encode, "_canonicalHeaderCache")
    is_cache = type(encoder._canonicalHeaderCache) is dict
    return encoder if is_used and is_cache else None


NAME_CACHE: Final = PrivateName(
    "Twisted",
    "twisted.web.http_headers._nameEncoder._canonicalHeaderCache",
    "the cache of field names may grow to 10,000 names of any length",
    _find_name_cache,
)


def replace_name_cache(names: MutableMapping[bytes | str, bytes]) -> None:
    """Replace Twisted's cache of the canonical case of field names."""
    encoder = NAME_CACHE.value
    if encoder is not None:
        encoder._canonicalHeaderCache = names


def _find_encoding_resource() -> Callable[[Any], bool] | None:
    from twisted.web.resource import EncodingResourceWrapper, _IEncodingResource

    is_implemented = _IEncodingResource.implementedBy(EncodingResourceWrapper)
    return _IEncodingResource.providedBy if is_implemented else None


ENCODING_RESOURCE: Final = PrivateName(
    "Twisted",
    "twisted.web.resource._IEncodingResource",
    "only responses of an EncodingResourceWrapper are encoded",
    _find_encoding_resource,
)


def encoding_check() -> Callable[[Any], bool]:
    """Return a function that tells whether a resource has an encoder of responses."""
    from twisted.web.resource import EncodingResourceWrapper

    return ENCODING_RESOURCE.value or (
        lambda resource: isinstance(resource, EncodingResourceWrapper)
    )


def _find_wsgi_response() -> Any:
    from twisted.web import wsgi

    kind: Any = wsgi._WSGIResponse
    is_as_expected = (
        takes(kind, "reactor", "threadpool", "application", "request")
        and takes(kind.startResponse, "self", "status", "headers", "excInfo")
        and takes(kind.write, "self", "data")
        and all(takes(each, "self") for each in (kind.start, kind.run))
        and takes(kind._sendResponseHeaders, "self")
        and kind._requestFinished is False
        and sets(kind.__init__, "started", "environ", "request", "reactor")
        and sets(kind.start, "run")
    )
    if not is_as_expected:
        return None

    class Response(kind):  # type: ignore[misc]
        @property
        def is_over(self) -> bool:
            over: bool = self._requestFinished
            return over

        def send_head(self) -> None:
            self._sendResponseHeaders()

    return Response


#: The class that runs a WSGI application for one request, with ``is_over``: whether the
#: response has ended; and ``send_head``, which sends status and fields.
WSGI_RESPONSE: Final = PrivateName(
    "Twisted",
    "twisted.web.wsgi._WSGIResponse",
    "WSGI applications run as by twisted.web: without checks of what they send, and"
    " their wsgi.errors is logged line by line",
    _find_wsgi_response,
)


# Klein and werkzeug.


def _find_app_of() -> Callable[[Any], Any] | None:
    from klein import Klein
    from klein.resource import KleinResource

    app = Klein()
    app_of: Callable[[Any], Any] = attrgetter("_app")
    return app_of if app_of(KleinResource(app)) is app else None


#: Returns the Klein that a KleinResource serves.
APP_OF: Final = PrivateName(
    "klein",
    "KleinResource._app",
    "a subclass of Klein with a method resource() is dispatched by Klein itself, which"
    " takes longer; its handlers cannot be marked with clusterapp.streamed",
    _find_app_of,
)


def _find_error_handlers() -> Callable[[Any], Any] | None:
    from klein import Klein

    app = Klein()
    handler: Any = print
    app.handle_errors(LookupError)(handler)
    handlers_of: Callable[[Any], Any] = attrgetter("_error_handlers")
    [[kinds, _]] = handlers_of(app)
    return handlers_of if list(kinds) == [LookupError] else None


#: Returns the error handlers of a Klein: pairs of exceptions and a function.
ERROR_HANDLERS: Final = PrivateName(
    "klein",
    "Klein._error_handlers",
    "requests are dispatched by Klein itself, which takes longer",
    _find_error_handlers,
)


def _find_segment_count() -> Callable[[Any], int] | None:
    from klein import Klein

    app = Klein()
    app.route("/a/b")(lambda _: None)
    [endpoint] = app.endpoints.values()
    count_of: Callable[[Any], int] = attrgetter("segment_count")
    return count_of if count_of(endpoint) == 2 else None  # noqa: PLR2004


#: Returns how many segments of the path the rule of a handler matches; undocumented.
SEGMENT_COUNT: Final = PrivateName(
    "klein",
    "segment_count of Klein.endpoints",
    "requests are dispatched by Klein itself, which takes longer",
    _find_segment_count,
)


def _find_remap() -> Callable[[Any], object] | None:
    from werkzeug.routing import Map

    remap_of: Callable[[Any], object] = attrgetter("_remap")
    url_map = Map()
    is_first_true = remap_of(url_map) is True
    url_map.update()
    is_as_expected = is_first_true and remap_of(url_map) is False
    return remap_of if is_as_expected and sets(Map.add, "_remap") else None


#: Returns whether a map has rules that are not sorted in yet.
REMAP_OF: Final = PrivateName(
    "Werkzeug",
    "werkzeug.routing.Map._remap",
    "the rules of an application are counted for each request",
    _find_remap,
)


def set_remap(url_map: Any, mark: object) -> None:
    """Set the value of `REMAP_OF`, to a false one: there is nothing to sort in."""
    url_map._remap = mark


def _find_converters() -> Callable[[Any], MutableMapping[str, Any]] | None:
    from werkzeug.routing import Map, Rule

    converters_of: Callable[[Any], MutableMapping[str, Any]] = attrgetter("_converters")
    rule = Rule("/<a>/<int:b>")
    Map([rule])
    return converters_of if set(converters_of(rule)) == {"a", "b"} else None


#: Returns the converters of a rule by the names of its variables.
CONVERTERS_OF: Final = PrivateName(
    "Werkzeug",
    "werkzeug.routing.Rule._converters",
    "routes with variables are matched by werkzeug, which takes ten times as long",
    _find_converters,
)


def _find_matcher_root() -> Callable[[Any], Any] | None:
    from werkzeug.routing import Map, Rule

    root_of: Callable[[Any], Any] = attrgetter("_matcher._root")
    rule = Rule("/a/<int:n>/<path:rest>/")
    beginning = root_of(Map([rule])).static[""].static[""].static["a"]
    [(number, middle)] = beginning.dynamic
    [(rest, end)] = middle.dynamic
    is_as_expected = (
        number.content == r"(?P<__werkzeug_0>\d+)\Z"
        and (number.final, number.suffixed) == (False, False)
        and (rest.final, rest.suffixed) == (True, True)
        and number.weight < rest.weight
        and end.static[""].rules == [rule]
    )
    return root_of if is_as_expected else None


#: Returns the first of the states in which a map keeps its rules, in their order.
MATCHER_ROOT: Final = PrivateName(
    "Werkzeug",
    "werkzeug.routing.Map._matcher",
    "routes are matched by werkzeug, which takes ten times as long",
    _find_matcher_root,
)


# Jinja2.


def _find_code_generator() -> Any:
    from jinja2 import Environment, compiler

    kind: Any = compiler.CodeGenerator
    is_as_expected = (
        Environment.code_generator_class is kind
        and takes(kind.visit_Template, "self", "node", "frame")
        and list(signature(kind.writeline).parameters)[:2] == ["self", "x"]
    )
    return kind if is_as_expected else None


#: The class that writes the code of templates.
CODE_GENERATOR: Final = PrivateName(
    "Jinja2",
    "jinja2.compiler.CodeGenerator",
    "pages with many values take up to twice as long to render",
    _find_code_generator,
)
