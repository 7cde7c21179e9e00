"""
Compiled routes: one tree of path segments for the rules of several maps, without I/O.

Werkzeug keeps the rules of a map as a tree of states (`State`), one level for each
segment of a path, and looks for a rule in this order: constant segments before
variable ones, these by their weight, and back to the next alternative where nothing
matches below. `RouteTree` has the same states in the same order, with the states of
other maps merged in, so it reaches the same rule first. It does less on the way:

- A path without variables is looked up in one dictionary.
- The methods that a state's rules accept are one dictionary, too.
- The three most frequent patterns of variables are plain comparisons; see `_EDGES`. All
  others are werkzeug's own regular expressions, compiled once.

Whatever is not the plain case is left to werkzeug: the method is not one of the first
rule that matches the path, slashes must be added or merged, the rule has defaults or
redirects, a converter is not werkzeug's own or refuses the value.

Each state is visited at most once for a path, since it has one way that leads to it: a
search takes at most as many steps as there are states, and fewer than that where
constant segments decide. Within a step, a part with several variables
(``<a>-<b>``, ``<path:a>/x/<path:b>``) is one regular expression of werkzeug's, which
may try each length of each variable. Nothing of a path is kept.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from werkzeug.exceptions import NotFound
from werkzeug.routing import Rule

if TYPE_CHECKING:
    # Only for annotations: both are undocumented, see `MATCHER_ROOT`.
    from werkzeug.routing.matcher import State
    from werkzeug.routing.rules import RulePart

#: Whose rule it is: the application's in a worker, or the core's.
Side = Literal["app", "core"]


class Route(NamedTuple):
    """
    A rule of a Klein, for its dispatch.

    :param endpoint: the name of the handler within the Klein.
    :param segments: the number of path segments that the rule matches; the rest is left
        to the handler.
    :param streamed: whether the handler receives the body as a stream.
    """

    endpoint: str
    segments: int
    streamed: bool


#: The route of a request, and the keyword arguments from its path.
Found = tuple[Route, Mapping[str, Any]]


class RuleTarget:
    """
    What a rule leads to.

    :param route: the route.
    :param names: the names of the rule's variables, in their order.
    :param conversions: the functions that convert values, by the variable's name; the
        others stay text.
    :ivar constant: the route of a rule without variables.
    """

    __slots__ = ("_conversions", "_names", "_route", "constant")

    def __init__(
        self,
        route: Route,
        names: Sequence[str] = (),
        conversions: Sequence[tuple[str, Callable[[str], Any]]] = (),
    ) -> None:
        self.constant: Found = route, {}
        self._route = route
        self._names = names
        self._conversions = conversions

    def with_values(self, texts: Sequence[str]) -> Found | None:
        """
        Return the route and its values.

        :param texts: the values as they are in the path: one or more.
        :returns: None if a converter refuses a value.
        """
        names = self._names
        values: dict[str, Any]
        if len(texts) == 1:
            values = {names[0]: texts[0]}
        else:
            values = dict(zip(names, texts, strict=False))
        try:
            for name, convert in self._conversions:
                values[name] = convert(values[name])
        except Exception:  # noqa: BLE001 - werkzeug converts again, and raises it
            return None
        return self._route, values


#: Returns what a rule leads to; None if only werkzeug can find out.
TargetOf = Callable[[Rule], RuleTarget | None]


class Leaf:
    """
    The rules that match the same paths, in one place of the tree.

    :ivar side: the side of the first rule; None if werkzeug has to decide.
    :ivar targets: the targets of the application's rules by method; None for a rule
        that werkzeug has to match.
    :ivar otherwise: the target for all other methods.
    """

    __slots__ = ("otherwise", "side", "targets")

    def __init__(self, rules: Sequence["_SidedRule"]) -> None:
        self.side: Side | None = rules[0].side if rules else None
        self.targets: dict[bytes, RuleTarget | None] = {}
        self.otherwise: RuleTarget | None = None
        if self.side == "app":
            self._add_targets(rules)

    def _add_targets(self, rules: Sequence["_SidedRule"]) -> None:
        for _, rule, target in rules:
            if rule.methods is None:
                self.otherwise = target
                return  # the rules behind it match nothing
            for method in rule.methods:
                self.targets.setdefault(method.encode(), target)


#: A leaf of which nothing is known.
_UNDECIDED: Final = Leaf(())

#: What a search has reached first, and the values of the variables on the way.
_Match = tuple[Leaf, tuple[str, ...]]


class _SidedRule(NamedTuple):
    side: Side
    rule: Rule
    target: RuleTarget | None


class _Node:
    """
    A state of the tree: what follows a part of a path, or ends there.

    :ivar end: what matches if the path ends here; None if nothing does.
    :ivar lenient: what matches if only a slash follows, with ``strict_slashes=False``.
    """

    __slots__ = ("edges", "end", "lenient", "parts", "rules", "static")

    def __init__(self) -> None:
        self.rules: list[_SidedRule] = []
        self.static: dict[str, _Node] = {}
        self.parts: list[tuple[RulePart, _Node]] = []
        self.edges: Sequence[_Edge] = ()
        self.end: Leaf | None = None
        self.lenient: Leaf | None = None

    def merge(self, state: "State", of: "SidedRules") -> None:
        """Add the rules of a state, and of the states below it, behind the others."""
        for rule in state.rules:
            if not rule.websocket:
                target = None if of.target_of is None else of.target_of(rule)
                self.rules.append(_SidedRule(of.side, rule, target))
        for text, below in state.static.items():
            self.static.setdefault(text, _Node()).merge(below, of)
        for part, below in state.dynamic:
            self._behind(part).merge(below, of)

    def _behind(self, part: "RulePart") -> "_Node":
        for known, node in self.parts:
            if known == part:
                return node
        node = _Node()
        self.parts.append((part, node))
        return node

    def finish(self) -> None:
        """Bring everything into the order of the search."""
        for node in self.static.values():
            node.finish()
        self.parts.sort(key=lambda entry: entry[0].weight)
        for _, node in self.parts:
            node.finish()
        self.edges = [_edge(part, node) for part, node in self.parts]
        self.end = self._end()
        lenient = [each for each in self.rules if not each.rule.strict_slashes]
        self.lenient = Leaf(lenient) if lenient else None

    def _end(self) -> Leaf | None:
        if self.rules:
            return Leaf(self.rules)
        # A path without its last slash is redirected, or matches as well.
        slash = self.static.get("")
        if slash is None or not slash.rules:
            return None
        if any(each.rule.strict_slashes for each in slash.rules):
            return _UNDECIDED
        return Leaf(slash.rules)

    def constants(self, path: str) -> Iterator[tuple[str, Leaf]]:
        """Return the paths without variables, with what matches each first."""
        if self.end is not None:
            yield path, self.end
        for text, node in self.static.items():
            yield from node.constants(f"{path}/{text}")

    def first(
        self, parts: Sequence[str], at: int, values: tuple[str, ...]
    ) -> _Match | None:
        """
        Return what matches the rest of a path first.

        :param parts: all segments of the path.
        :param at: how many of them have been matched.
        :param values: the values of the variables in these.
        """
        if at == len(parts):
            return None if self.end is None else (self.end, values)
        part = parts[at]
        node = self.static.get(part)
        if node is not None:
            found = node.first(parts, at + 1, values)
            if found is not None:
                return found
        for edge in self.edges:
            found = edge.first(parts, at, values)
            if found is not None:
                return found
        if not part and self.lenient is not None and at + 1 == len(parts):
            return self.lenient, values
        return None


class _Edge:
    """
    A part of a rule with variables, and the node behind it: any regular expression.

    :param part: the part of the rule.
    :param node: the node behind it.
    """

    __slots__ = ("_groups", "_match", "_node", "_part", "_slash")

    def __init__(self, part: "RulePart", node: _Node) -> None:
        self._part = part
        self._node = node
        pattern = _pattern(part)
        self._match = pattern.match
        names = [name for name in pattern.groupindex if name.startswith(_VALUE)]
        self._groups = sorted(names, key=lambda name: int(name.removeprefix(_VALUE)))
        self._slash = pattern.groups

    def first(
        self, parts: Sequence[str], at: int, values: tuple[str, ...]
    ) -> _Match | None:
        """Return what matches the rest of a path first, beginning with this part."""
        final = self._part.final
        match = self._match("/".join(parts[at:]) if final else parts[at])
        if match is None:
            return None
        values += tuple(match[name] for name in self._groups)
        if not final:
            return self._node.first(parts, at + 1, values)
        # The pattern has taken all that is left, but for the last slash of a rule.
        ends_in_slash = self._part.suffixed and match[self._slash] == "/"
        return self._node.first(("",) if ends_in_slash else (), 0, values)


class _Segment(_Edge):
    """A segment of any text: ``<name>``."""

    __slots__ = ()

    def first(
        self, parts: Sequence[str], at: int, values: tuple[str, ...]
    ) -> _Match | None:
        """Return what matches the rest of a path first, beginning with this part."""
        part = parts[at]
        return self._node.first(parts, at + 1, (*values, part)) if part else None


class _Digits(_Edge):
    """A segment of decimal digits, of any script: ``<int:name>``."""

    __slots__ = ()

    def first(
        self, parts: Sequence[str], at: int, values: tuple[str, ...]
    ) -> _Match | None:
        """Return what matches the rest of a path first, beginning with this part."""
        part = parts[at]
        if not part.isdecimal():
            return None
        return self._node.first(parts, at + 1, (*values, part))


class _Rest(_Edge):
    """All segments that are left: ``<path:name>`` at the end of a rule."""

    __slots__ = ()

    def first(
        self, parts: Sequence[str], at: int, values: tuple[str, ...]
    ) -> _Match | None:
        """Return what matches the rest of a path first, beginning with this part."""
        if not parts[at]:
            return None
        rest = "/".join(parts[at:])
        # The dot of the pattern matches all but a line feed.
        if rest.find("\n", 1) >= 0:
            return None
        return self._node.first((), 0, (*values, rest))


#: How werkzeug names the group of a variable; its number follows.
_VALUE: Final = "__werkzeug_"

#: The classes of the parts that are compared without a regular expression, by what
#: decides what a part matches: its pattern, and whether it takes the rest of the path.
_EDGES: Final[Mapping[tuple[str, bool], type[_Edge]]] = {
    (rf"(?P<{_VALUE}0>[^/]{{1,}})\Z", False): _Segment,
    (rf"(?P<{_VALUE}0>\d+)\Z", False): _Digits,
    (rf"(?P<{_VALUE}0>[^/].*?)\Z", True): _Rest,
}


def _pattern(part: "RulePart") -> re.Pattern[str]:
    return re.compile(part.content)


def _edge(part: "RulePart", node: _Node) -> _Edge:
    return _EDGES.get((part.content, part.final), _Edge)(part, node)


class SidedRules(NamedTuple):
    """
    The rules of one map, as werkzeug has sorted them.

    :param side: the side that has them.
    :param root: the state of the map's own domain; None if it has no rules.
    :param target_of: returns what a rule of the application leads to.
    """

    side: Side
    root: "State | None"
    target_of: TargetOf | None = None


class RouteTree:
    """
    The compiled rules of several maps.

    :param maps: the maps. Of equally specific rules those of the first one win.
    :param has_websockets: whether the application has rules for WebSockets. They
        match no request, but change the error for those that no rule matches.
    """

    def __init__(
        self, maps: Iterable[SidedRules], *, has_websockets: bool = False
    ) -> None:
        root = _Node()
        for each in maps:
            if each.root is not None:
                root.merge(each.root, each)
        root.finish()
        # Every rule begins with a slash, and so with an empty segment.
        self._root = root.static.get("") or _Node()
        # Of several slashes at the start of a path one is left.
        self._constants = {
            path: leaf
            for path, leaf in self._root.constants("")
            if path and not path.startswith("//")
        }
        self._has_websockets = has_websockets

    def find(self, method: bytes, path: str) -> Found | NotFound | Side | None:
        """
        Return the route of a request, or whose it is.

        :param method: the request's method.
        :param path: its path, decoded as by `routed_path`.
        :returns: the route, if a rule of the application matches; the error if no rule
            of any side does; ``"core"`` if the core has to respond; ``"app"`` if the
            application has to, and werkzeug has to find the route; None if werkzeug has
            to find out whose the request is.
        """
        leaf = self._constants.get(path)
        values: tuple[str, ...] = ()
        if leaf is None:
            if path.startswith("/", 1):
                path = "/" + path.lstrip("/")
            found = self._root.first(path.split("/"), 1, values)
            if found is None:
                return self._not_found(path)
            leaf, values = found
        target = leaf.targets.get(method, leaf.otherwise)
        if target is None or not method.isascii():
            return leaf.side
        return (target.with_values(values) or leaf.side) if values else target.constant

    def _not_found(self, path: str) -> NotFound | Side | None:
        if "//" in path:
            return None
        return "app" if self._has_websockets else NotFound()


def rules_below(state: "State") -> Iterator[Rule]:
    """Return the rules of a state, and of the states below it, in their order."""
    yield from state.rules
    for below in state.static.values():
        yield from rules_below(below)
    for _, below in state.dynamic:
        yield from rules_below(below)
