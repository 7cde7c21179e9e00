r"""
The words of a listen spec, in the syntax of Twisted's endpoint strings.

Colons divide the words: first the kind of listener, then what it needs, then
``key=value`` words. A backslash takes the next character literally (``\:``).
Brackets around a value do the same for all of it, so that IPv6 addresses stay
legible: ``interface=[::1]``.

Errors here are `ValueError`: who asked knows what spec, and for which setting.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(
    r"(?P<bracketed>[a-z]+)=\[(?P<inside>[^\]]*)\](?=:|\Z)"
    r"|(?:(?P<key>[a-z]+)=)?(?P<text>(?:[^:\\]|\\.)*)",
    re.DOTALL,
)


def decimal(text: str) -> int | None:
    """Read a plain number of at most nine digits; ``None`` if it is not one."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None


@dataclass
class Words:
    """The words of one spec; each is taken out as it is understood."""

    kind: str
    plain: list[str]
    named: dict[str, str]

    def add(self, word: re.Match[str]) -> None:
        """Put the next word of the spec to the others of its sort."""
        key = word["bracketed"] or word["key"]
        text = word["inside"] if word["bracketed"] else _unquote(word["text"])
        if key is None:
            self.plain.append(text)
        elif not self.plain:
            raise ValueError("must begin with a kind, as in tcp:8080")
        elif key in self.named:
            raise ValueError(f"{key} is given twice")
        else:
            self.named[key] = text

    def first(self, meaning: str) -> str:
        """Take the first word that has no key."""
        if not self.plain or not self.plain[0]:
            raise ValueError(f"the {meaning} is missing")
        return self.plain.pop(0)

    def required(self, key: str) -> str:
        """Take the value of a key that must be there."""
        value = self.optional(key)
        if value is None:
            raise ValueError(f"{key} is missing")
        return value

    def optional(self, key: str) -> str | None:
        """Take the value of a key, which must not be empty if it is there."""
        value = self.named.pop(key, None)
        if value == "":
            raise ValueError(f"{key} is empty")
        return value

    def one_of(self, key: str, known: Sequence[str]) -> str | None:
        """Take the value of a key that has only so many."""
        value = self.optional(key)
        if value is not None and value not in known:
            raise ValueError(f"{key}={value} is none of {', '.join(known)}")
        return value

    def expect_no_more(self) -> None:
        """Refuse words that nothing has asked for."""
        for key in self.named:
            raise ValueError(f"{self.kind} has no key {key!r}")
        for word in self.plain:
            raise ValueError(f"the word {word!r} is one too many")


def divide(spec: str) -> Words:
    """
    Divide a spec at its colons.

    :raise ValueError: what is wrong with it, in one line.
    """
    if "\0" in spec:
        raise ValueError("has a NUL character in it")
    words = Words("", [], {})
    start = 0
    while start <= len(spec):
        word = _WORD.match(spec, start)
        # Every part of the pattern can be empty, so that it always matches.
        assert word is not None  # noqa: S101
        if spec[word.end() : word.end() + 1] not in {"", ":"}:
            raise ValueError("the backslash at the end escapes nothing")
        words.add(word)
        start = word.end() + 1
    words.kind = words.first("kind")
    return words


def quote(text: str) -> str:
    """Escape what means something in a spec."""
    return re.sub(r"([\\:=\[])", r"\\\1", text)


def _unquote(text: str) -> str:
    """Take the escapes out of one word."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
