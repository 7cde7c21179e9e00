"""Errors that name the settings concerned, their values and sources in one line."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

from clusterapp.errors import SettingsError

#: The source of a setting that no source has a value for.
DEFAULT = "default"


class InvalidValueError(SettingsError):
    """
    A value is not of the option's type.

    :param value: the value, or the one item of it that is wrong.
    :param reason: what it must be instead, to be read after the value.
    """

    def __init__(self, value: object, reason: str) -> None:
        super().__init__(f"{_format(value)}: {reason}")
        self.value = value
        self.reason = reason


class InvalidSettingsError(SettingsError):
    """
    One setting has an invalid value, or several contradict each other.

    :param values: the settings concerned, by name; ``None`` is "not set".
    :param reason: what they must be instead.
    :param origins: the source of each value; those that are absent are not shown.
    """

    def __init__(
        self,
        values: Mapping[str, object],
        reason: str,
        origins: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        subjects = (_subject(name, values[name], origins.get(name)) for name in values)
        super().__init__(f"{' and '.join(subjects)}: {reason}")
        self.values = values
        self.reason = reason


def did_you_mean(name: str, known: Mapping[str, str]) -> str:
    """Return a suggestion of the nearest key of `known`, by its value, or nothing."""
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {known[near[0]]}?" if near else ""


def _subject(name: str, value: object, origin: str | None) -> str:
    """Return a setting's name with its value and source."""
    if value is None:
        return f"{name} not set"
    source = {None: "", DEFAULT: " (default)"}.get(origin, f" (from {origin})")
    return f"{name} = {_format(value)}{source}"


def _format(value: object) -> str:
    # A tuple is written as the list that it was given as.
    return repr(list(value) if isinstance(value, tuple) else value)
