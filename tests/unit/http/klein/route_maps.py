"""Maps of rules with all that werkzeug's routing can do, and paths to ask for."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st
from klein import Klein
from werkzeug.routing import BaseConverter, Map, ValidationError

from clusterapp.http.syntax.request_head import Head


class Even(BaseConverter):
    """A converter of an application, with a weight of its own."""

    regex = "[0-9]+"
    weight = 60

    def to_python(self, value: str) -> int:
        if int(value) % 2:
            raise ValidationError
        return int(value)


class Pair(BaseConverter):
    """A converter of two segments, and of more groups than one."""

    regex = "([a-z]+)/([a-z0-9]+)"


class Named(BaseConverter):
    """A converter with a group that has a name; a part may have one of them."""

    regex = "(?P<first>[a-z])[0-9]"


class Tail(BaseConverter):
    """A converter of whatever is left of a path, if anything is."""

    regex = ".*"
    part_isolating = False
    weight = 300


class Light(BaseConverter):
    """A converter that matches what the default one does, and precedes it."""

    regex = "[^/]{1,}"
    weight = 10


CONVERTERS = {"even": Even, "pair": Pair, "tail": Tail}
CONVERTERS |= {"light": Light, "named": Named}


def klein_of(rules: Iterable[tuple[str, dict[str, Any]]], **options: Any) -> Klein:
    """Make a Klein with rules and their options; the endpoints are numbered."""
    app = Klein()
    app._url_map = Map(converters=CONVERTERS, **options)
    for number, (rule, its) in enumerate(rules):
        app.route(rule, **{"endpoint": f"{number}", **its})(lambda _, **_values: b"")
    return app


SEGMENTS = st.sampled_from(
    (
        *("a", "b", "1", "<?>", "<string:?>", "<int:?>", "<int:?>", "<float:?>", "a"),
        *("<path:?>", "<path:?>", "<any(a,b):?>", "<any('a/b','1'):?>", "a<?>", "<?>b"),
        *("<?>-<int:?>", "<uuid:?>", "<int(max=3):?>", "<int(signed=True):?>", "<?>"),
        *("<string(length=2):?>", "<string(minlength=2, maxlength=3):?>", "<even:?>"),
        *("<string(minlength=0):?>", "<int(fixed_digits=2):?>", "<pair:?>", "ö", ""),
        *("a.b", "<float(min=1.0):?>", "<path:?>.b", "a<tail:?>", "<light:?>"),
    )
)


def rule_of(segments: Sequence[str], slash: str) -> str:
    """Write a rule, whose variables are x, y and so on."""
    pieces = ("/" + "/".join(segments) + slash).split("?")
    names = "xyzuvwst"[: len(pieces) - 1]
    return (
        "".join(piece + name for piece, name in zip(pieces, names, strict=False))
        + pieces[-1]
    )


RULES = st.builds(
    rule_of, st.lists(SEGMENTS, max_size=4), st.sampled_from(["", "", "/"])
)
METHODS = st.sampled_from([None, None, ["GET"], ["POST"], ["GET", "PUT"], ["DELETE"]])
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "methods": METHODS,
        "strict_slashes": st.sampled_from([True, False, False]),
        "merge_slashes": st.booleans(),
        "endpoint": st.sampled_from("012"),
        "branch": st.booleans(),
        "alias": st.just(True),
        "redirect_to": st.just("/a"),
        "build_only": st.just(True),
        "subdomain": st.just("api"),
        "defaults": st.sampled_from([{"x": "a"}, {"x": 1}, {"y": 1}]),
        "websocket": st.just(True),
    },
)


def some_options(options: dict[str, Any], *, is_plain: bool) -> dict[str, Any]:
    """Leave out most of the options that are rare."""
    usual = {"methods", "strict_slashes", "endpoint"}
    if options.get("websocket"):
        options = options | {"methods": ["GET"]}
    return {
        name: value for name, value in options.items() if not is_plain or name in usual
    }


PLAIN = st.integers(0, 5).map(bool)
GIVEN = st.lists(
    st.tuples(RULES, st.builds(some_options, OPTIONS, is_plain=PLAIN)),
    min_size=1,
    max_size=6,
)
MAPS = st.fixed_dictionaries(
    {},
    optional={
        "strict_slashes": st.booleans(),
        "merge_slashes": st.booleans(),
        "redirect_defaults": st.booleans(),
    },
)
ID = "0f2e4b6c-1d3a-4c5b-8e7f-9a0b1c2d3e4f"
PATHS = st.lists(
    st.sampled_from(
        (
            *("a", "b", "c", "ab", "1", "7", "12", "1.5", "-4", "", "x-1", ID, "aab"),
            *("٣", "²", "ö", "a\n", "\n", "a\nb", "a.b", "001", "1e5", "a", "b", ""),
        )
    ),
    max_size=5,
).map(lambda segments: "/" + "/".join(segments))
#: What the variables of a rule are replaced with, to make a path that it may match.
TEXTS = {
    "int": ("7", "12", "-4", "٣"),
    "float": ("1.5", "0.0", "7"),
    "path": ("a/b", "a/b/c.b", "a", "a/"),
    "any": ("a", "b", "1"),
    "uuid": (ID, "a"),
    "even": ("12", "7"),
    "pair": ("ab/c1", "ab/"),
    "tail": ("/", "", "/a", "a/"),
}
OTHER_TEXTS = ("ab", "a", "abc", "1")


class Asked(NamedTuple):
    """
    A question.

    :ivar path: the path, unless a rule is the model for it.
    :ivar rule: the number of that rule; None without one.
    :ivar texts: which texts replace its variables.
    :ivar end: what stands behind it.
    """

    method: str
    path: str
    rule: int | None
    texts: Sequence[int]
    end: str

    def path_for(self, rules: Sequence[tuple[str, dict[str, Any]]]) -> str:
        """Return the path."""
        if self.rule is None:
            return self.path
        numbers = iter(self.texts)

        def text(variable: re.Match[str]) -> str:
            texts = TEXTS.get(variable[1], OTHER_TEXTS)
            return texts[next(numbers) % len(texts)]

        rule, _ = rules[self.rule % len(rules)]
        return re.sub(r"<(?:(\w+)[^<]*:)?\w+>", text, rule) + self.end


ASKED = st.lists(
    st.builds(
        Asked,
        st.sampled_from(["GET", "GET", "HEAD", "POST", "PUT", "PATCH"]),
        PATHS,
        st.sampled_from([None, *range(8)]),
        st.lists(st.integers(0, 3), min_size=6, max_size=6),
        st.sampled_from(["", "", "", "/", "/a"]),
    ),
    min_size=1,
    max_size=8,
)


def built(
    given_rules: Sequence[tuple[str, dict[str, Any]]], options: dict[str, Any]
) -> Klein | None:
    """Make a Klein; None if werkzeug refuses the rules."""
    try:
        return klein_of(given_rules, **options)
    except ValueError:
        return None


class TextHead(Head):
    """The head of a request for a path that is text already."""

    def __init__(self, method: str, text: str) -> None:
        super().__init__(method.encode(), b"/", b"HTTP/1.1", [])
        self.path_text = text
