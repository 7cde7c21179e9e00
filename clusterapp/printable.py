"""Untrusted text made safe for logs: control characters escaped (CWE-117), and cut."""

#: What a log line has around the name of a logger, with its escapes.
_DELIMITERS = {ord(each): f"\\x{ord(each):02x}" for each in "[]#"}


def printable(text: str, keep: str = "\n\t") -> str:
    r"""
    Escape characters that are not printable: C0, C1, bidi, lone surrogates.

    :param text: text of an application, a client or another user.
    :param keep: control characters that stay as they are.
    :return: the text, with each other unprintable character written as a backslash
        escape, as in ``\x1b``.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in keep
        else character.encode("unicode_escape").decode()
        for character in text
    )


def printable_name(text: str) -> str:
    r"""
    Escape a name so that the ``[name#level]`` of a log line can be told from its text.

    Names of loggers may contain text of clients.

    :return: the name without control characters, ``[``, ``]`` and ``#``; each of them
        is written as a backslash escape, as in ``\x5d``.
    """
    return printable(text, "").translate(_DELIMITERS)


def shortened(text: str, most: int) -> str:
    """
    Cut the middle out of a long text: both ends of a traceback matter.

    :param most: the number of characters that are kept, beside a note of how many were
        cut.
    """
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}… [{len(text) - 2 * half} characters cut] …{text[-half:]}"
