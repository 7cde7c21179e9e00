"""
The routing of a request by its path: to the application, the core, or static files.

A worker must choose by the path alone, before the body has been received, and exactly
as one Klein with the routes of both sides would. So the rules of both sides are
compiled into one tree (`clusterapp.http.klein.route_tree`), which is asked once for
each request: it tells whose the request is, and the application's route.

What the tree leaves undecided, such as a path with a slash too many, is matched by
werkzeug: the rules of both sides are copied into one map, each with its side as the
endpoint. In both, the method does not decide the side: the core refuses a wrong method
on its path itself. The copies differ from the original rules in these points:

- Their converters match text but convert nothing. A value that the converter of
  the best rule refuses (``<int(max=9):n>`` and ``/12``) is a 404 in one Klein,
  which does not try the next rule; here the side that owns the rule answers.
- They have no redirects and no defaults: the side that owns the rule applies them.

Limits: a rule with a ``host`` (in a map with host matching) is matched by its path
alone, whatever the Host field is. Rules for another subdomain than the map's
default, for WebSockets (``websocket=True``) and for building only never match in
Klein, nor here. Of equally specific rules the application's wins.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

from klein import Klein
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter, Map, MapAdapter, RequestRedirect, Rule

from clusterapp.http.exchange.exchange import FoundRoute
from clusterapp.http.klein import route_tree
from clusterapp.http.klein.klein_routes import (
    RuleWatch,
    compile_routes,
    rules_in_order,
)
from clusterapp.http.syntax.request_head import Head
from clusterapp.http.syntax.target_path import routed_path
from clusterapp.web.request_paths import is_below, segments_of, static_prefix

Side = Literal["app", "core", "static"]

#: The most redirects of a werkzeug rule: to merge slashes, and to add the last slash.
_REDIRECTS = 2

_VARIABLE = re.compile(
    r"<(?:(?P<converter>[a-zA-Z_]\w*)(?:\((?P<arguments>.*?)\))?:)?[a-zA-Z_]\w*>"
)


#: The side that responds to a request, and the application's route or the error if
#: there is none; None if the application has to find it.
Routed = tuple[Side, FoundRoute | None]

_APP: Final[Routed] = "app", None
_CORE: Final[Routed] = "core", None
_STATIC: Final[Routed] = "static", None


class Routes:
    """
    The routes of an application in its workers and in its core.

    Rules that are added later count as well.

    :param app: the application in the workers; None if its routes are not known (WSGI,
        a resource tree).
    :param core: the core; None without one.
    :param static_url: the prefix of the paths of static files, such as ``"/static/"``;
        None if there are none. It takes precedence over all rules.
    """

    def __init__(
        self, app: Klein | None, core: Klein | None, static_url: str | None
    ) -> None:
        self._app = app
        self._core = core
        self._static_url = None if static_url is None else static_url.encode()
        self._static = () if static_url is None else static_prefix(static_url)
        kleins = [each for each in (app, core) if each is not None]
        self._watch = RuleWatch(*kleins)
        self._tree: route_tree.RouteTree | None = None
        self._sides: MapAdapter | None = None

    @property
    def has_core(self) -> bool:
        """Whether a request may be the core's."""
        return self._core is not None

    def find(self, head: Head) -> Routed:
        """
        Return the side that responds to a request, and the application's route.

        :param head: the request's head.
        :returns: ``"core"`` also if the core would redirect the request or refuse its
            method; ``"app"`` if no rule matches, for a path that is not UTF-8, and for
            ``*``.
        """
        path = head.path
        if self._is_static(path):
            return _STATIC
        text = head.path_text
        if text is None or path == b"*":
            return _APP
        if self._watch.has_news():
            self._update()
        found = None if self._tree is None else self._tree.find(head.method, text)
        if found is None:
            found = self._matching(text)
        if found == "core":
            return _CORE
        if found is None or found == "app":
            return _APP
        return "app", (self._app, found)

    def owns(self, path: bytes) -> bool:
        """
        Return whether a rule of either side, or the static prefix, matches a path.

        Methods are ignored. An application whose rules are not known matches nothing.

        :param path: a request target in origin-form, up to the ``?``.
        """
        if self._watch.has_news():
            self._update()
        text = routed_path(path)
        return self._is_static(path) or (
            text is not None and self._matching(text) is not None
        )

    def _update(self) -> None:
        """Compile the rules: some were added since the last call."""
        self._watch.note()
        self._tree = compile_routes(self._app, self._core)
        self._sides = None

    def _is_static(self, path: bytes) -> bool:
        if self._static_url is None:
            return False
        if path.startswith(self._static_url):
            return True
        if path.startswith(b"/") and b"%" not in path:
            return False  # there is nothing to decode
        segments = segments_of(path)
        return segments is not None and is_below(segments, self._static)

    def _matching(self, path: str) -> route_tree.Side | None:
        """Return the side whose rule matches a path, or redirects it to a match."""
        if self._sides is None:
            self._sides = self._merged()
        for _ in range(_REDIRECTS + 1):
            try:
                side: route_tree.Side = self._sides.match(path)[0]
            except RequestRedirect as redirect:
                path = unquote(urlsplit(redirect.new_url).path)
            except HTTPException:
                return None
            else:
                return side
        return None

    def _merged(self) -> MapAdapter:
        """Return a map with the rules of both sides."""
        copies: list[Rule] = []
        if self._app is not None:
            copies += _copies_of(self._app, "app")
        if self._core is not None:
            copies += _copies_of(self._core, "core")
        # Any host will do: redirects are followed here and are not sent to clients.
        return Map(copies).bind("localhost")


def clash(
    app_rules: Iterable[Rule], core_rules: Iterable[Rule]
) -> tuple[Rule, Rule] | None:
    """
    Return a rule of the application that the core has too.

    Rules are the same if they match the same paths with the same precedence: the names
    of their variables and their methods are ignored.

    :returns: the first such pair, the application's rule first; None without one.
    """
    of_app = {_pattern(rule): rule for rule in _matchable(app_rules)}
    for rule in _matchable(core_rules):
        if _pattern(rule) in of_app:
            return of_app[_pattern(rule)], rule
    return None


def _matchable(rules: Iterable[Rule]) -> Iterator[Rule]:
    """Return the rules that can match a request in Klein."""
    for rule in rules:
        in_domain = (
            rule.map.host_matching or rule.subdomain == rule.map.default_subdomain
        )
        if in_domain and not rule.build_only and not rule.websocket:
            yield rule


def _pattern(rule: Rule) -> str:
    """Return the text of a rule without the names of its variables."""
    return _VARIABLE.sub(_converter, re.sub("/{2,}", "/", rule.rule))


def _converter(variable: re.Match[str]) -> str:
    # Werkzeug's default converter has two names: "default" and "string".
    name = variable["converter"] or "default"
    return f"<{'default' if name == 'string' else name}({variable['arguments'] or ''})>"


class _Shape(BaseConverter):
    """A converter with the pattern and weight of another one, but no conversion."""

    def __init__(self, converter: BaseConverter) -> None:
        super().__init__(converter.map)
        self.regex = converter.regex
        self.weight = converter.weight
        self.part_isolating = converter.part_isolating


class _RuleCopy(Rule):
    """A copy of a rule, with its side as the endpoint."""

    def __init__(self, origin: Rule, side: Side) -> None:
        super().__init__(
            origin.rule,
            endpoint=side,
            strict_slashes=origin.strict_slashes,
            merge_slashes=origin.merge_slashes,
        )
        self._origin = origin

    def get_converter(
        self,
        variable_name: str,
        converter_name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> BaseConverter:
        """Return the converter of the original rule's map, which may have its own."""
        return _Shape(
            self._origin.get_converter(variable_name, converter_name, args, kwargs)
        )


def _copies_of(klein: Klein, side: Side) -> Iterator[Rule]:
    """Return copies of the rules of one side that a request can match."""
    for rule in _matchable(rules_in_order(klein.url_map)):
        yield _RuleCopy(rule, side)
