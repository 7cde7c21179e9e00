"""One private name of another project: its check, and its warning."""

import platform
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from typing import Any, Final, Generic, TypeVar

from twisted.logger import Logger

T = TypeVar("T")

_log = Logger()

#: The namespace of the warnings. The master logs each once, however many of its
#: children send it.
NAMESPACE: Final = __name__

#: The project of names that CPython's standard library has.
PYTHON: Final = "Python"

_warned: set[str] = set()


def is_first(text: str) -> bool:
    """Return whether a warning is new in this process, and remember it."""
    if text in _warned:
        return False
    _warned.add(text)
    return True


class PrivateName(Generic[T]):
    """
    A private name of another project, checked at the first use.

    :param project: the distribution that has it.
    :param name: the name, with its module or class.
    :param lost: what is lost without it.
    :param find: returns the name's value, or what is made of it; returns None, or
        raises, if the name does not have the expected form.
    """

    def __init__(
        self, project: str, name: str, lost: str, find: Callable[[], T | None]
    ) -> None:
        self.project = project
        self.name = name
        self.lost = lost
        self._find = find

    @cached_property
    def value(self) -> T | None:
        """The value; None if the name is missing or has changed."""
        try:
            found = self._find()
        except Exception:  # noqa: BLE001 - whatever the check raises, it has changed
            found = None
        if found is None:
            self.warn()
        return found

    @property
    def found(self) -> bool:
        """Whether the name is there, in the expected form."""
        return self.value is not None

    def warn(self) -> None:
        """Log that the name is missing or has changed, once in a process."""
        text = (
            f"{self.project} {_version(self.project)}: the private name {self.name} is"
            f" missing or has changed: {self.lost}"
        )
        if is_first(text):
            _log.warn("{text}", text=text)


def _version(project: str) -> str:
    if project == PYTHON:
        return platform.python_version()
    try:
        return version(project)
    except PackageNotFoundError:
        return "(of unknown version)"


def takes(function: Any, *names: str) -> bool:
    """Return whether a function has exactly these parameters."""
    return list(signature(function).parameters) == list(names)


def sets(function: Any, *names: str) -> bool:
    """Return whether a function in Python refers to these attributes."""
    return set(names) <= set(function.__code__.co_names)
