"""
The routes of a Klein, compiled: see `clusterapp.http.klein.route_tree`.

They are compiled again when rules have been added. What the compiled routes leave
undecided is matched by werkzeug, as by Klein itself.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from klein import Klein
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map, MapAdapter, Rule
from werkzeug.routing.converters import DEFAULT_CONVERTERS, BaseConverter

from clusterapp.http.klein.route_tree import (
    Found,
    Route,
    RouteTree,
    RuleTarget,
    SidedRules,
    TargetOf,
    rules_below,
)
from clusterapp.private_names.web import (
    CONVERTERS_OF,
    MATCHER_ROOT,
    REMAP_OF,
    SEGMENT_COUNT,
    set_remap,
)

if TYPE_CHECKING:
    # Only for annotations: it is undocumented, see `MATCHER_ROOT`.
    from werkzeug.routing.matcher import State

#: A handler on which this attribute is true receives its request's body as a stream.
STREAMED: Final = "__clusterapp_streamed__"

#: They convert without side effects.
_OWN_CONVERTERS = frozenset(DEFAULT_CONVERTERS.values())

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


class RuleWatch:
    """
    Tells whether rules were added to the maps of Kleins.

    :param apps: the Kleins.
    """

    def __init__(self, *apps: Klein) -> None:
        self._apps = apps
        self._noted: Sequence[tuple[Map, object]] = ()

    def has_news(self) -> bool:
        """Return whether a rule was added since the last `note`, or there was none."""
        for url_map, state in self._noted:
            if _state_of(url_map) is not state:
                return True
        return not self._noted

    def note(self) -> None:
        """Update the maps for added rules, and note their states."""
        maps = [app.url_map for app in self._apps]
        for url_map in maps:
            url_map.update()
            # The mark of another watch of this map is valid for this one, too.
            if REMAP_OF.found and not isinstance(_state_of(url_map), _Mark):
                set_remap(url_map, _Mark())
        self._noted = [(url_map, _state_of(url_map)) for url_map in maps]


@dataclass
class RouteTable:
    """
    Finds the routes of an application.

    Two tables of one application are equal, whatever they have compiled, since Klein
    compares resources by all their attributes.
    """

    app: Klein
    _watch: RuleWatch = field(init=False, compare=False)
    _tree: RouteTree | None = field(default=None, compare=False)
    _streams: bool = field(default=False, compare=False)
    _mapper: MapAdapter = field(init=False, compare=False)

    def __post_init__(self) -> None:
        self._watch = RuleWatch(self.app)

    def find(self, method: bytes, path: str) -> Found | NotRouted | None:
        """
        Return the route of a request.

        :param method: the request's method.
        :param path: its path, decoded as by `routed_path`.
        :returns: the error if there is no such path, or not for this method; None if
            only Klein itself can decide: if werkzeug raises another exception
            (redirects, exceptions of the application's converters), if the host decides
            as well, and in maps of the application's own class.
        """
        if self._watch.has_news():
            self._update()
        found = None if self._tree is None else self._tree.find(method, path)
        if found is None or isinstance(found, str):
            return self._match(method, path)
        return found

    @property
    def streams(self) -> bool:
        """Whether any handler receives its request's body as a stream."""
        if self._watch.has_news():
            self._update()
        return self._streams

    def _update(self) -> None:
        """Compile the rules: some were added since the last call."""
        self._watch.note()
        self._tree = compile_routes(self.app)
        # Without host matching, no match depends on host and scheme.
        self._mapper = self.app.url_map.bind("localhost")
        self._streams = any(map(_is_streamed, self.app.endpoints.values()))

    def _match(self, method: bytes, path: str) -> Found | NotRouted | None:
        if not _is_plain(self.app.url_map):
            return None
        try:
            rule, values = self._mapper.match(path, method.decode(), return_rule=True)
            return _route(self.app, rule), values
        except (NotFound, MethodNotAllowed) as error:
            return error
        except Exception:  # noqa: BLE001  (Klein matches again, and handles it)
            return None


def compile_routes(app: Klein | None, core: Klein | None = None) -> RouteTree | None:
    """
    Compile the rules of an application, and those of its core.

    :param app: the application in the workers; None if its routes are not known.
    :param core: the core.
    :returns: None if only werkzeug can match them: maps of the application's own class,
        maps with host matching or with variables in subdomains.
    """
    maps = []
    has_websockets = False
    if app is not None:
        maps.append(SidedRules("app", _root_of(app.url_map), _targets_of(app)))
        has_websockets = any(rule.websocket for rule in app.url_map.iter_rules())
    if core is not None:
        maps.append(SidedRules("core", _root_of(core.url_map)))
    if any(each.root is None for each in maps):
        return None
    try:
        return RouteTree(maps, has_websockets=has_websockets)
    except re.error:
        # Of a converter; werkzeug raises it for the paths that need it.
        return None


def rules_in_order(url_map: Map) -> list[Rule]:
    """
    Return the rules of a map in an order that makes another map match alike.

    Of equally specific rules the one that was added first wins, while
    `Map.iter_rules` returns them by endpoint. Rules that a request may not match are
    left out, if the order is known.
    """
    root = _root_of(url_map)
    return list(url_map.iter_rules() if root is None else rules_below(root))


def _root_of(url_map: Map) -> "State | None":
    """Return the state of the map's own domain; None if the host decides as well."""
    if MATCHER_ROOT.value is None or not _is_plain(url_map):
        return None
    root: State = MATCHER_ROOT.value(url_map)
    if root.dynamic:
        return None
    empty = type(root)()
    return root.static.get(url_map.default_subdomain, empty)


def _is_plain(url_map: Map) -> bool:
    """Return whether only method and path decide, by werkzeug's own code."""
    return type(url_map) is Map and not url_map.host_matching


def _targets_of(app: Klein) -> TargetOf:
    """Return a function that tells what a rule of an application leads to."""
    # Of these, paths are redirected to the rule with the default values.
    with_defaults = {
        rule.endpoint for rule in app.url_map.iter_rules() if rule.defaults
    }

    def target_of(rule: Rule) -> RuleTarget | None:
        redirects = rule.alias or rule.redirect_to is not None
        if redirects or rule.endpoint in with_defaults or type(rule) is not Rule:
            return None
        try:
            return _target(rule, _route(app, rule))
        except (AttributeError, LookupError):
            return None  # it has no handler that Klein has made

    return target_of


def _target(rule: Rule, route: Route) -> RuleTarget | None:
    if not rule.arguments:
        return RuleTarget(route)
    if CONVERTERS_OF.value is None:
        return None
    converters = CONVERTERS_OF.value(rule)
    if not _OWN_CONVERTERS.issuperset(map(type, converters.values())):
        return None
    conversions = [
        (name, converter.to_python)
        for name, converter in converters.items()
        if type(converter).to_python is not BaseConverter.to_python
    ]
    return RuleTarget(route, list(converters), conversions)


def _route(app: Klein, rule: Rule) -> Route:
    handler: Any = app.endpoints[rule.endpoint]
    return Route(rule.endpoint, segments_of(handler), _is_streamed(handler))


#: Returns how many segments of the path the rule of a handler matches.
segments_of: Callable[[Any], int] = SEGMENT_COUNT.value or (lambda _handler: 0)


def _is_streamed(handler: Any) -> bool:
    """Return whether a handler, or one that Klein has wrapped in it, is streaming."""
    while handler is not None:
        if getattr(handler, STREAMED, False):
            return True
        handler = getattr(handler, "__original__", None)
    return False
