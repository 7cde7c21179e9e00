"""
A cache of an application's matched routes.

Werkzeug's own matcher finds a route; the result for a method and a path is cached as
long as the application has the same rules. That is correct if only the method and the
path decide, which is nearly always so: in a plain map without host matching, for rules
with werkzeug's own converters. Other routes are matched each time. Paths that are not
found are never cached, nor are redirects.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from klein import Klein
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map, MapAdapter, Rule
from werkzeug.routing.converters import DEFAULT_CONVERTERS

from clusterapp.private_names.web import (
    CONVERTERS_OF,
    REMAP_OF,
    SEGMENT_COUNT,
    set_remap,
)

#: A handler on which this attribute is true receives its request's body as a stream.
STREAMED: Final = "__clusterapp_streamed__"

#: The most cached routes, and the longest path of one, in characters; together they
#: bound the memory to a few MiB, whatever clients send.
_REMEMBERED_ROUTES = 1024
_LONGEST_REMEMBERED = 256

#: They convert the same text always to the same immutable value.
_OWN_CONVERTERS = frozenset(DEFAULT_CONVERTERS.values())


class Route(NamedTuple):
    """
    The route of a request.

    :param endpoint: the name of the handler within its Klein.
    :param values: the keyword arguments from the path.
    :param segments: the number of path segments that the rule matches; the rest is left
        to the handler.
    :param streamed: whether the handler receives the body as a stream.
    """

    endpoint: str
    values: Mapping[str, Any]
    segments: int
    streamed: bool


#: The error if there is no route; independent of the host, unlike a redirect.
NotRouted = NotFound | MethodNotAllowed


class _Mark:
    """
    A value of a map's ``_remap`` that means "unchanged"; false, as werkzeug expects.

    Werkzeug sets ``_remap`` true when a rule is added and false at the next use, by any
    user of the map. Only a mark of our own distinguishes both from "nothing happened".
    """

    def __bool__(self) -> bool:
        return False


#: The same object for the same number of rules.
_counts: dict[int, int] = {}


def _count_rules(url_map: Map) -> int:
    """Return the number of rules, which are never removed."""
    count = sum(1 for _ in url_map.iter_rules())
    return _counts.setdefault(count, count)


#: Returns an object that is another one after rules were added to a map.
_state_of: Callable[[Map], object] = REMAP_OF.value or _count_rules


def _mark(url_map: Map) -> object:
    """Update the map for added rules, and return its new value of `_state_of`."""
    url_map.update()
    # The mark of another cache of this map is valid for this one, too.
    if REMAP_OF.found and not isinstance(_state_of(url_map), _Mark):
        set_remap(url_map, _Mark())
    return _state_of(url_map)


@dataclass
class RouteMemory:
    """
    Finds and caches the routes of an application.

    Two caches of one application are equal, whatever their contents, since Klein
    compares resources by all their attributes.
    """

    app: Klein
    _remembered: dict[tuple[bytes, str], Route] = field(
        default_factory=dict, compare=False
    )
    _mark: object = field(default=None, compare=False)
    _streams: bool = field(default=False, compare=False)
    _mapper: MapAdapter = field(init=False, compare=False)

    def find(self, method: bytes, path: str) -> Route | NotRouted | None:
        """
        Return the route of a request.

        :param method: the request's method.
        :param path: its path, decoded as by `routed_path`.
        :returns: the error if there is no such path, or not for this method; None if
            only Klein itself can decide: if werkzeug raises another exception
            (redirects, exceptions of the application's converters), if the host decides
            as well, and in maps of the application's own class.
        """
        if _state_of(self.app.url_map) is not self._mark:
            self._update()
        return self._remembered.get((method, path)) or self._match(method, path)

    def wants_stream(self, method: bytes, path: str) -> bool:
        """
        Return whether the handler of a request receives the body as a stream.

        It costs nothing if no handler does. It is always false if `find` returns None.
        """
        if _state_of(self.app.url_map) is not self._mark:
            self._update()
        if not self._streams:
            return False
        route = self.find(method, path)
        return isinstance(route, Route) and route.streamed

    def _update(self) -> None:
        """Clear the cache: rules were added since the last call."""
        url_map = self.app.url_map
        self._mark = _mark(url_map)
        self._remembered.clear()
        # Without host matching, no match depends on host and scheme.
        self._mapper = url_map.bind("localhost")
        self._streams = any(map(_is_streamed, self.app.endpoints.values()))

    def _match(self, method: bytes, path: str) -> Route | NotRouted | None:
        url_map = self.app.url_map
        if type(url_map) is not Map or url_map.host_matching:
            return None
        try:
            rule, values = self._mapper.match(path, method.decode(), return_rule=True)
            route = self._route(rule, values)
        except (NotFound, MethodNotAllowed) as error:
            return error
        except Exception:  # noqa: BLE001  (Klein matches again, and handles it)
            return None
        if len(path) <= _LONGEST_REMEMBERED and _is_constant(rule):
            self._remember(method, path, route)
        return route

    def _route(self, rule: Rule, values: Mapping[str, Any]) -> Route:
        handler: Any = self.app.endpoints[rule.endpoint]
        return Route(rule.endpoint, values, segments_of(handler), _is_streamed(handler))

    def _remember(self, method: bytes, path: str, route: Route) -> None:
        if len(self._remembered) >= _REMEMBERED_ROUTES:
            self._remembered.clear()
        self._remembered[method, path] = route


#: Returns how many segments of the path the rule of a handler matches.
segments_of: Callable[[Any], int] = SEGMENT_COUNT.value or (lambda _handler: 0)


def _is_streamed(handler: Any) -> bool:
    """Return whether a handler, or one that Klein has wrapped in it, is streaming."""
    while handler is not None:
        if getattr(handler, STREAMED, False):
            return True
        handler = getattr(handler, "__original__", None)
    return False


def _is_constant(rule: Rule) -> bool:
    """Return whether a rule converts the same path always to the same values."""
    if CONVERTERS_OF.value is None:
        return not rule.arguments
    converters = CONVERTERS_OF.value(rule).values()
    return _OWN_CONVERTERS.issuperset(map(type, converters))
