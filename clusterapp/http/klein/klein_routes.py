"""
The routes that an application has found, remembered.

Werkzeug's own matcher finds them; what it found for a method and a path is then
remembered as long as the application has the same rules. That is sound where the
method and the path decide alone, which is nearly everywhere: in a plain map without
host matching, for rules whose converters are werkzeug's own. Other routes are looked
up each time. What is not found is never remembered, nor are redirects.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from klein import Klein
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map, MapAdapter, Rule
from werkzeug.routing.converters import DEFAULT_CONVERTERS

#: A handler that has this attribute, and it is true, takes its request's body as a
#: stream.
STREAMED: Final = "__clusterapp_streamed__"

#: Routes that are remembered, and the characters of a path above which its route
#: never is; together they bound the memory to a few MiB, whatever clients send.
_REMEMBERED_ROUTES = 1024
_LONGEST_REMEMBERED = 256

#: They make of the same text always the same value, and one that nobody can change.
_OWN_CONVERTERS = frozenset(DEFAULT_CONVERTERS.values())


class Route(NamedTuple):
    """
    What a request is dispatched to.

    :param endpoint: the name of the handler within its Klein.
    :param values: the keyword arguments that are taken from the path.
    :param segments: how many segments of the path the rule stands for; the others
        are for the handler.
    :param streamed: whether the handler takes the body as a stream.
    """

    endpoint: str
    values: Mapping[str, Any]
    segments: int
    streamed: bool


#: Why there is no route; the same whatever the host is, unlike a redirect.
NotRouted = NotFound | MethodNotAllowed


class _Mark:
    """
    Stands in a map's ``_remap`` for "not changed since"; false, as werkzeug expects.

    Werkzeug sets ``_remap`` true when a rule is added and false at the next use,
    whoever's that is. Only a mark of our own tells both from "nothing happened".
    """

    def __bool__(self) -> bool:
        return False


@dataclass
class RouteMemory:
    """
    Find the routes of an application, and remember them.

    Two memories of one application are equal, whatever each remembers, since Klein
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
        Find what a request is dispatched to.

        :param method: the request's method.
        :param path: its path as `routed_path` decodes it.
        :returns: the error if there is no such path, or not for this method; None
            if only Klein itself can tell: where werkzeug raises anything else
            (redirects, whatever a converter of the application raises), where the
            host decides as well, and in maps of the application's own class.
        """
        self._notice_changes()
        return self._remembered.get((method, path)) or self._match(method, path)

    def wants_stream(self, method: bytes, path: str) -> bool:
        """
        Whether the handler of a request takes the request's body as a stream.

        It costs nothing if no handler does. It is always false where `find` returns
        None.
        """
        self._notice_changes()
        if not self._streams:
            return False
        route = self.find(method, path)
        return isinstance(route, Route) and route.streamed

    def _notice_changes(self) -> None:
        """Forget everything if rules were added since the last time."""
        url_map: Any = self.app.url_map
        if url_map._remap is self._mark:  # noqa: SLF001  (nothing public tells)
            return
        url_map.update()
        if not isinstance(url_map._remap, _Mark):  # noqa: SLF001
            url_map._remap = _Mark()  # noqa: SLF001
        # A mark of another memory serves this one too.
        self._mark = url_map._remap  # noqa: SLF001
        self._remembered.clear()
        # Without host matching, nothing of a match depends on host and scheme.
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
        except Exception:  # noqa: BLE001  (Klein meets it again, and handles it)
            return None
        if len(path) <= _LONGEST_REMEMBERED and _is_constant(rule):
            self._remember(method, path, route)
        return route

    def _route(self, rule: Rule, values: Mapping[str, Any]) -> Route:
        handler: Any = self.app.endpoints[rule.endpoint]
        return Route(
            rule.endpoint, values, handler.segment_count, _is_streamed(handler)
        )

    def _remember(self, method: bytes, path: str, route: Route) -> None:
        if len(self._remembered) >= _REMEMBERED_ROUTES:
            self._remembered.clear()
        self._remembered[method, path] = route


def _is_streamed(handler: Any) -> bool:
    """Whether a handler, or what Klein has wrapped in it, takes a stream."""
    while handler is not None:
        if getattr(handler, STREAMED, False):
            return True
        handler = getattr(handler, "__original__", None)
    return False


def _is_constant(rule: Rule) -> bool:
    """Whether a rule makes of the same path always the same values."""
    converters = rule._converters.values()  # noqa: SLF001  (nothing public tells)
    return _OWN_CONVERTERS.issuperset(map(type, converters))
