"""
The routing of a request by its path: to the application, the core, or static files.

A worker must choose by the path alone, before the body has been received, and exactly
as one Klein with the routes of both sides would. So the rules of both sides are copied
into one werkzeug map, each with its side as the endpoint.

The copies differ from the original rules in these points:

- They match every method: the core refuses a wrong method on its path itself.
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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter, Map, RequestRedirect, Rule

from clusterapp.web.request_paths import is_below, segments_of, static_prefix

Side = Literal["app", "core", "static"]

#: The number of paths whose side is cached, and the greatest length of a cached path
#: in bytes; together they bound the memory to well below 1 MiB.
_REMEMBERED_PATHS = 1024
_LONGEST_REMEMBERED = 256

#: The most redirects of a werkzeug rule: to merge slashes, and to add the last slash.
_REDIRECTS = 2

_VARIABLE = re.compile(
    r"<(?:(?P<converter>[a-zA-Z_]\w*)(?:\((?P<arguments>.*?)\))?:)?[a-zA-Z_]\w*>"
)


class Routes:
    """
    The routes of an application in its workers and in its core.

    :param app_rules: the rules of the workers' side, bound to their map; none for an
        application whose routes are not known (WSGI, a resource tree).
    :param core_rules: the rules of the core.
    :param static_url: the prefix of the paths of static files, such as ``"/static/"``;
        None if there are none. It takes precedence over all rules.
    """

    def __init__(
        self,
        app_rules: Iterable[Rule],
        core_rules: Iterable[Rule],
        static_url: str | None,
    ) -> None:
        core = [_SidedRule(rule, "core") for rule in _matchable(core_rules)]
        app = [_SidedRule(rule, "app") for rule in _matchable(app_rules)]
        self._has_core = bool(core)
        self._static = None if static_url is None else static_prefix(static_url)
        # Any host will do: redirects are followed here and are not sent to clients.
        self._rules = Map([*app, *core]).bind("localhost")
        self._remembered = lru_cache(_REMEMBERED_PATHS)(self._find)

    def side(self, path: bytes) -> Side:
        """
        Return the side that serves a path.

        :param path: the request target as received, up to the ``?``: percent-encoded,
            in origin-form or in absolute-form (``http://host/path``).
        :returns: ``"core"`` also if the core would redirect the request or refuse its
            method; ``"app"`` if no rule matches, for a path that is not UTF-8, and
            for ``*``.
        """
        if not self._has_core and self._static is None:
            return "app"
        if len(path) > _LONGEST_REMEMBERED:
            return self._find(path)
        return self._remembered(path)

    def owns(self, path: bytes) -> bool:
        """
        Return whether a rule of either side, or the static prefix, matches a path.

        Methods are ignored. An application whose rules are not known matches nothing.

        :param path: as for `side`.
        """
        segments = segments_of(path)
        if segments is None:
            return False
        return self._is_static(segments) or self._owner(segments) is not None

    def _find(self, path: bytes) -> Side:
        segments = segments_of(path)
        if segments is None:
            return "app"
        if self._is_static(segments):
            return "static"
        owner = self._owner(segments) if self._has_core else None
        return owner or "app"

    def _is_static(self, segments: Sequence[bytes]) -> bool:
        return self._static is not None and is_below(segments, self._static)

    def _owner(self, segments: Sequence[bytes]) -> Side | None:
        """Return the side whose rule matches a path, or redirects it to a match."""
        # The path is joined as Klein joins the segments that twisted.web has split.
        try:
            path = b"/".join(segments).decode()
        except UnicodeDecodeError:
            return None
        return self._matching(path if path.startswith("/") else f"/{path}")

    def _matching(self, path: str) -> Side | None:
        for _ in range(_REDIRECTS + 1):
            try:
                side: Side = self._rules.match(path)[0]
            except RequestRedirect as redirect:
                path = unquote(urlsplit(redirect.new_url).path)
            except HTTPException:
                return None
            else:
                return side
        return None


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


class _SidedRule(Rule):
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
