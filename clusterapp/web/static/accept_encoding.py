"""Which encoding of a file a client wants: Accept-Encoding (RFC 9110, 12.5.3)."""

import re
from functools import lru_cache
from types import MappingProxyType
from typing import Final

#: The encodings that are served, the smallest first: what equal wishes get.
CODINGS: Final = (b"br", b"zstd", b"gzip")

#: What the name of a file's sibling in each encoding ends with.
SUFFIXES: Final = MappingProxyType({b"br": b".br", b"zstd": b".zst", b"gzip": b".gz"})

_MEMBER = re.compile(
    rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)"
    rb"(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?[ \t]*"
)
_ALIASES: Final = {b"x-gzip": b"gzip"}
#: Members beyond these are not looked at; there are about ten encodings.
_MOST_MEMBERS: Final = 32


def wanted(value: bytes) -> tuple[bytes, ...]:
    """
    Tell which encodings a client wants at least as much as none, the best first.

    What is none of ours or cannot be understood does not count. None at all is
    what every client gets in the end, even one that says it does not want it:
    that is better than no answer.

    :param value: the value of the field; several lines are joined by commas.
    """
    return _remembered(value) if len(value) <= _LONGEST_REMEMBERED else _wanted(value)


def _wanted(value: bytes) -> tuple[bytes, ...]:
    weights = _weights(value)
    others = weights.get(b"*", 0.0)
    # Where it is not named, it is acceptable, but anything named is better.
    least = weights.get(b"identity", others)
    found = [(weights.get(coding, others), coding) for coding in CODINGS]
    good = [pair for pair in found if pair[0] > 0 and pair[0] >= least]
    # The sort keeps the order of equals.
    good.sort(key=lambda pair: -pair[0])
    return tuple(coding for _, coding in good)


#: Browsers have a handful of values; both bounds keep the memory below 200 KiB.
_LONGEST_REMEMBERED: Final = 128
_remembered = lru_cache(512)(_wanted)


def _weights(value: bytes) -> dict[bytes, float]:
    """Read the weight of each encoding that the client names."""
    weights: dict[bytes, float] = {}
    for member in value.split(b",", _MOST_MEMBERS)[:_MOST_MEMBERS]:
        match = _MEMBER.fullmatch(member)
        if match is not None:
            name = match[1].lower()
            weight = 1.0 if match[2] is None else float(match[2])
            weights[_ALIASES.get(name, name)] = weight
    return weights
