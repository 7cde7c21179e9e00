r"""
The syntax of Twisted's endpoint strings: ``tcp:8080:interface=127.0.0.1``.

A backslash escapes the next character (``\:``), and brackets escape all of a value
(``interface=[::1]``). `twisted.internet.endpoints` has no public parser, and takes
systemd's variables out of the environment when it is imported.
"""

import re

_PART = re.compile(
    r"(?P<bracketed>[a-z]+)=\[(?P<inside>[^\]]*)\](?=:|\Z)"
    r"|(?:(?P<key>[a-z]+)=)?(?P<text>(?:[^:\\]|\\.)*)",
    re.DOTALL,
)


def decimal(text: str) -> int | None:
    """Return the value of at most nine ASCII digits, ``None`` for other text."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None


def split(spec: str) -> tuple[list[str], dict[str, str]]:
    """
    Split an endpoint string at its colons.

    :return: the positional arguments, the first of which is the kind of endpoint,
        and the keyword arguments.
    :raise ValueError: the syntax is wrong; the text says how.
    """
    if "\0" in spec:
        raise ValueError("has a NUL character in it")
    positional: list[str] = []
    keywords: dict[str, str] = {}
    start = 0
    while start <= len(spec):
        part = _PART.match(spec, start)
        # Every part of the pattern can be empty, so that it always matches.
        assert part is not None  # noqa: S101
        start = part.end() + 1
        if spec[part.end() : start] not in {"", ":"}:
            raise ValueError("the backslash at the end escapes nothing")
        key = part["bracketed"] or part["key"]
        text = part["inside"] if part["bracketed"] else _unquote(part["text"])
        if key is None:
            positional.append(text)
        elif not positional:
            raise ValueError("must begin with a kind, as in tcp:8080")
        elif key in keywords:
            raise ValueError(f"{key} is given twice")
        else:
            keywords[key] = text
    return positional, keywords


def quote(text: str) -> str:
    """Escape the characters that have a meaning in an endpoint string."""
    return re.sub(r"([\\:=\[])", r"\\\1", text)


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
