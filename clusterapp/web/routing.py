"""
Which side answers a request: the worker's application, the core, or a file.

A worker must know where a request goes from its path alone, before its body has
come, and must choose exactly as one Klein with the routes of both sides would.
So the rules of both are copied into one werkzeug map, each marked with its side.

The copies differ from their originals in what must not count here:

- They take every method: a wrong method on a core path is the core's to refuse.
- Their converters match text but convert nothing. A value that the converter of
  the best rule refuses (``<int(max=9):n>`` and ``/12``) is a 404 in one Klein,
  which does not try the next rule; the side that owns the rule answers it here.
- They do not redirect or have defaults; that too is for the side to do.

Limits: a rule with a ``host`` (in a map with host matching) is matched by its path
alone, whatever the Host field says. Rules for another subdomain than the map's
default, for WebSockets (``websocket=True``) and for building only never match in
Klein, nor here. Of rules that are equally specific the application's wins.
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

#: Paths whose side is remembered, and the bytes above which one never is; together
#: they bound the memory to well below 1 MiB, whatever clients send.
_REMEMBERED_PATHS = 1024
_LONGEST_REMEMBERED = 256

#: A werkzeug rule redirects at most twice: to merge slashes and to add the last.
_REDIRECTS = 2

_VARIABLE = re.compile(
    r"<(?:(?P<converter>[a-zA-Z_]\w*)(?:\((?P<arguments>.*?)\))?:)?[a-zA-Z_]\w*>"
)


class Routes:
    """
    The routes of both sides of an application.

    :param app_rules: the rules of the worker's side, bound to their map; none for
        an application whose routes cannot be known (WSGI, a tree of resources).
    :param core_rules: the rules of the core.
    :param static_url: what the paths of static files begin with, such as
        ``"/static/"``; None where there are none. It comes before every rule.
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
        # Nobody sees the host: redirects are followed here and not sent.
        self._rules = Map([*app, *core]).bind("localhost")
        self._remembered = lru_cache(_REMEMBERED_PATHS)(self._find)

    def side(self, path: bytes) -> Side:
        """
        Tell which side a request belongs to.

        :param path: the request target as it came, up to the ``?``: percent-encoded,
            in origin-form or in absolute-form (``http://host/path``).
        :returns: ``"core"`` also where the core would redirect the request or
            refuse its method; ``"app"`` where no rule matches, for a path that is
            not UTF-8, and for ``*``.
        """
        if not self._has_core and self._static is None:
            return "app"
        if len(path) > _LONGEST_REMEMBERED:
            return self._find(path)
        return self._remembered(path)

    def owns(self, path: bytes) -> bool:
        """
        Tell whether a rule of either side matches a path, or static files are there.

        Methods do not count. Of an application whose rules are not known nothing is
        found.

        :param path: as `side` takes it.
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
        """Find the side whose rule matches a path, or redirects it to a match."""
        # As twisted.web divides a path and Klein puts it together again.
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
    Find a rule of the application that the core has too.

    Rules are the same when they match the same paths in the same order of
    precedence: the names of their variables do not count, nor do their methods.

    :returns: the first such pair, the application's rule first, or None.
    """
    of_app = {_pattern(rule): rule for rule in _matchable(app_rules)}
    for rule in _matchable(core_rules):
        if _pattern(rule) in of_app:
            return of_app[_pattern(rule)], rule
    return None


def _matchable(rules: Iterable[Rule]) -> Iterator[Rule]:
    """Leave out the rules that never match a request in Klein."""
    for rule in rules:
        in_domain = (
            rule.map.host_matching or rule.subdomain == rule.map.default_subdomain
        )
        if in_domain and not rule.build_only and not rule.websocket:
            yield rule


def _pattern(rule: Rule) -> str:
    """Write a rule without the names of its variables."""
    return _VARIABLE.sub(_converter, re.sub("/{2,}", "/", rule.rule))


def _converter(variable: re.Match[str]) -> str:
    # Werkzeug has two names for the one that a variable has by itself.
    name = variable["converter"] or "default"
    return f"<{'default' if name == 'string' else name}({variable['arguments'] or ''})>"


class _Shape(BaseConverter):
    """What a converter matches and how it ranks, without what it makes of it."""

    def __init__(self, converter: BaseConverter) -> None:
        super().__init__(converter.map)
        self.regex = converter.regex
        self.weight = converter.weight
        self.part_isolating = converter.part_isolating


class _SidedRule(Rule):
    """A copy of a rule whose endpoint is the side that it belongs to."""

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
        """Ask the original's map, which may have converters of its own."""
        return _Shape(
            self._origin.get_converter(variable_name, converter_name, args, kwargs)
        )
