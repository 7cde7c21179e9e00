"""Escaping of control characters in text of others (log injection, CWE-117)."""


def printable(text: str, keep: str = "\n\t") -> str:
    r"""
    Escape what a terminal obeys or an encoding lacks: C0, C1, bidi, lone surrogates.

    :param text: text that an application, a client or another user has made.
    :param keep: control characters that stay as they are.
    :return: the text, with each other character that is not printable written as a
        backslash escape, as in ``\x1b``.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in keep
        else character.encode("unicode_escape").decode()
        for character in text
    )
