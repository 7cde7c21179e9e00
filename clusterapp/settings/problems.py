"""
What can be wrong with settings, kept in parts.

A value is judged where nobody knows its source; whoever knows the source adds
it afterwards. Both end as one line that an operator can act on.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from clusterapp.errors import SettingsError

#: The origin of a setting that no source mentions.
DEFAULT = "default"


class WrongValueError(SettingsError):
    """
    A value is wrong, whatever setting it is for.

    :param value: the value, or the one item of it that is wrong.
    :param reason: what it must be instead, to be read after the value.
    """

    def __init__(self, value: object, reason: str) -> None:
        super().__init__(f"{_shown(value)}: {reason}")
        self.value = value
        self.reason = reason


class WrongSettingsError(SettingsError):
    """
    One setting has a wrong value, or several do not go together.

    :param values: the settings concerned, by name; ``None`` is "not set".
    :param reason: what they must be instead.
    :param origins: where values came from; those that are absent are not shown.
    """

    def __init__(
        self,
        values: Mapping[str, object],
        reason: str,
        origins: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        subjects = [
            _subject(name, value, origins.get(name)) for name, value in values.items()
        ]
        super().__init__(f"{' and '.join(subjects)}: {reason}")
        self.values = values
        self.reason = reason

    def traced(self, origins: Mapping[str, str]) -> "WrongSettingsError":
        """Give the same error, with the source of each value in its text."""
        return WrongSettingsError(self.values, self.reason, origins)


def nearest(name: str, known: Mapping[str, str]) -> str:
    """
    Say which known name may have been meant.

    :param known: how to write each name that exists, by the name to compare with.
    :return: the end of a sentence; empty if nothing is near.
    """
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {known[near[0]]}?" if near else ""


def _subject(name: str, value: object, origin: str | None) -> str:
    """Name one setting, with its value and its source."""
    text = f"{name} not set" if value is None else f"{name} = {_shown(value)}"
    if value is None or origin is None:
        return text
    return f"{text} ({origin if origin == DEFAULT else f'from {origin}'})"


def _shown(value: object) -> str:
    """Write a value in one line, a tuple as the list it was written as."""
    return repr(list(value) if isinstance(value, tuple) else value)
