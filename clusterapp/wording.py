"""Nouns for messages: with a number, or with an indefinite article."""

_VOWELS = frozenset("aeiou")


def counted(number: int, noun: str, spec: str = "") -> str:
    """
    Return a number and its noun: ``1 worker``, ``2 workers``.

    :param noun: in the singular; its plural is regular.
    :param spec: the format of the number.
    """
    return f"{number:{spec}} {noun}{'' if number == 1 else 's'}"


def with_article(noun: str) -> str:
    """Return a noun with its indefinite article: ``a reload``, ``an upgrade``."""
    return f"{'an' if noun[:1] in _VOWELS else 'a'} {noun}"
