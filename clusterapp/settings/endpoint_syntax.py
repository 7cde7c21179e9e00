r"""
The syntax of Twisted's endpoint strings: ``tcp:8080:interface=127.0.0.1``.

A backslash escapes the next character (``\:``), and brackets escape all of a value
(``interface=[::1]``). `twisted.internet.endpoints` has no public parser, and takes
systemd's variables out of the environment when it is imported.
"""

import re

#: A part and the colon behind it: a key with a value in brackets, or a value with or
#: without a key.
_PART = re.compile(
    r"([a-z]+)=\[([^\]]*)\]:|(?:([a-z]+)=)?((?:[^:\\]|\\.)*):", re.DOTALL
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
    if (len(spec) - len(spec.rstrip("\\"))) % 2:
        raise ValueError("the backslash at the end escapes nothing")
    positional: list[str] = []
    keywords: dict[str, str] = {}
    for bracketed, inside, plain, text in _PART.findall(f"{spec}:"):
        key, value = (bracketed, inside) if bracketed else (plain, _unquote(text))
        if not key:
            positional.append(value)
        elif not positional:
            raise ValueError("must begin with a kind, as in tcp:8080")
        elif key in keywords:
            raise ValueError(f"{key} is given twice")
        else:
            keywords[key] = value
    return positional, keywords


def quote(text: str) -> str:
    """Escape the characters that have a meaning in an endpoint string."""
    return re.sub(r"([\\:=\[])", r"\\\1", text)


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
