"""The negotiation of content codings: Accept-Encoding (RFC 9110, 12.5.3)."""

import re
from functools import lru_cache
from types import MappingProxyType
from typing import Final

#: The content codings that are served, in order of preference at equal weights: the
#: one that compresses best first.
CODINGS: Final = (b"br", b"zstd", b"gzip")

#: The suffix of a file's sibling in each content coding.
SUFFIXES: Final = MappingProxyType({b"br": b".br", b"zstd": b".zst", b"gzip": b".gz"})

_MEMBER = re.compile(
    rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)"
    rb"(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?[ \t]*"
)
_ALIASES: Final = {b"x-gzip": b"gzip"}
#: The most members that are parsed; about ten content codings exist.
_MOST_MEMBERS: Final = 32


def wanted(value: bytes) -> tuple[bytes, ...]:
    """
    Return the content codings that a client prefers to none, the best first.

    Unknown codings and invalid members are ignored. Every client gets the file without
    a coding if there is no other, even a client that refuses ``identity``: that is
    better than no response.

    :param value: the value of the field; several lines are joined by commas.
    """
    return _remembered(value) if len(value) <= _LONGEST_REMEMBERED else _wanted(value)


def _wanted(value: bytes) -> tuple[bytes, ...]:
    weights = _weights(value)
    others = weights.get(b"*", 0.0)
    # If `identity` is not named, it is acceptable, but any named coding is preferred.
    least = weights.get(b"identity", others)
    found = [(weights.get(coding, others), coding) for coding in CODINGS]
    good = [pair for pair in found if pair[0] > 0 and pair[0] >= least]
    # The sort is stable: equal weights keep the order of CODINGS.
    good.sort(key=lambda pair: -pair[0])
    return tuple(coding for _, coding in good)


#: The bounds of the cache keep its memory below 200 KiB; browsers send few values.
_LONGEST_REMEMBERED: Final = 128
_remembered = lru_cache(512)(_wanted)


def _weights(value: bytes) -> dict[bytes, float]:
    """Return the weight of each content coding that the client names."""
    weights: dict[bytes, float] = {}
    for member in value.split(b",", _MOST_MEMBERS)[:_MOST_MEMBERS]:
        match = _MEMBER.fullmatch(member)
        if match is not None:
            name = match[1].lower()
            weight = 1.0 if match[2] is None else float(match[2])
            weights[_ALIASES.get(name, name)] = weight
    return weights
