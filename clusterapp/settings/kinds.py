"""
The kinds of value that settings have.

A kind reads text (an environment variable, an argument of a flag), judges a value
wherever it comes from, and writes one for people. Reading never fails: text that
makes no sense stays text, and the judgement refuses it like any other wrong value.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import ClassVar, TypeGuard

from clusterapp.settings.listen import MOST_PORTS, ListenSpec
from clusterapp.settings.problems import WrongValueError
from clusterapp.settings.words import decimal

#: The longest of all timeouts, a week: epoll counts milliseconds in 32 bits.
MOST_SECONDS = 7 * 24 * 3600

#: The path that means the program's own stdout.
STDOUT_PATH = "-"

_REMOTE_CORE = re.compile(
    r"https://(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|[^\s:/?#@\[\]\\]+)(?::(?P<port>[0-9]+))?"
)

_SWITCH_WORDS = {
    **dict.fromkeys(("yes", "true", "on", "1"), True),
    **dict.fromkeys(("no", "false", "off", "0"), False),
}


class Kind(ABC):
    """
    What values a setting can have.

    :cvar metavar: what stands for the value in a command's synopsis; empty where
        the flag alone says it all, and takes no argument.
    :cvar repeatable: whether the flag is given once for each item of a list.
    :cvar divided_at: what stands between the items of a list in an environment
        variable; empty where the value is no list.
    """

    metavar: ClassVar[str]
    repeatable: ClassVar[bool] = False
    divided_at: ClassVar[str] = ""

    def read(self, text: str) -> object:
        """Read text from the environment or from a flag."""
        return text

    @abstractmethod
    def check(self, value: object) -> object:
        """
        Judge a value, and put it into the form that the model stores.

        :raise WrongValueError: it is not of this kind.
        """

    def show(self, value: object) -> str:
        """Write a value that `check` has passed, for people to read."""
        return str(value)


class ObjectName(Kind):
    """Where to find a Python object: ``module:name``."""

    metavar = "MODULE:NAME"

    def check(self, value: object) -> str:
        """Judge a name; both halves may have dots."""
        words = value.split(":") if isinstance(value, str) else []
        if len(words) != 2 or not all(map(_is_dotted_name, words)):  # noqa: PLR2004
            raise WrongValueError(value, "must look like module:name, as in shop:app")
        return ":".join(words)


class FilePath(Kind):
    """The name of a file or folder."""

    metavar = "PATH"

    def check(self, value: object) -> str:
        """Judge a path by its form; whether it exists is not asked here."""
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise WrongValueError(value, "must be a path")
        return value


class LogPath(FilePath):
    """The name of a file that lines are appended to, or ``-`` for stdout."""

    metavar = "PATH|-"


@dataclass(frozen=True)
class Choice(Kind):
    """
    One of some words.

    :param words: the words.
    :param called: what stands for them in a synopsis; nothing if all of them do.
    """

    words: tuple[str, ...]
    called: str = ""

    @property
    def metavar(self) -> str:  # type: ignore[override]
        """What stands for the word."""
        return self.called or "|".join(self.words)

    def check(self, value: object) -> str:
        """Judge a word."""
        if isinstance(value, str) and value in self.words:
            return value
        *most, last = self.words
        raise WrongValueError(value, f"must be {', '.join(most)} or {last}")


class WorkerCount(Kind):
    """A number of workers, or ``auto``."""

    metavar = "N|auto"

    def read(self, text: str) -> object:
        """Read a number."""
        number = decimal(text)
        return text if number is None else number

    def check(self, value: object) -> object:
        """Judge a number of workers."""
        if value == "auto" or (_is_whole(value) and value > 0):
            return value
        raise WrongValueError(value, "must be a number from 1 up, or auto")


@dataclass(frozen=True)
class Seconds(Kind):
    """
    A span of time.

    :param or_zero: whether there may be none at all.
    :param most: the longest.
    """

    or_zero: bool = False
    most: int = MOST_SECONDS

    metavar = "SECONDS"

    def read(self, text: str) -> object:
        """Read a number, with or without a fraction."""
        try:
            return float(text)
        except ValueError:
            return text

    def check(self, value: object) -> float:
        """Judge a number of seconds; infinity and NaN are none."""
        if not isinstance(value, float) and not _is_whole(value):
            raise WrongValueError(value, self._reason)
        # Compared before it is converted: an int can be too large for a float.
        if 0 < value <= self.most or (self.or_zero and value == 0):
            return float(value)
        raise WrongValueError(value, self._reason)

    @property
    def _reason(self) -> str:
        least = "from 0" if self.or_zero else "above 0"
        return f"must be a number of seconds, {least} up to {self.most}"

    def show(self, value: object) -> str:
        """Write the unit, and whole seconds without a fraction."""
        return str(value).removesuffix(".0") + " s"


class Switch(Kind):
    """Whether something is done; its flag does it."""

    metavar = ""

    def read(self, text: str) -> object:
        """Read one of the words that mean yes or no, in upper or lower case."""
        return _SWITCH_WORDS.get(text.lower(), text)

    def check(self, value: object) -> bool:
        """Judge a switch; numbers are none."""
        if isinstance(value, bool):
            return value
        raise WrongValueError(value, "must be yes or no, true or false, on or off")

    def show(self, value: object) -> str:
        """Write ``yes`` or ``no``."""
        return "yes" if value else "no"


class CorePlace(Kind):
    """Where the core runs."""

    metavar = "PLACE"

    def check(self, value: object) -> str:
        """Judge ``master``, ``isolated`` or ``https://host[:port]``."""
        if isinstance(value, str) and (
            value in {"master", "isolated"} or _is_remote_core(value)
        ):
            return value
        raise WrongValueError(
            value, "must be master, isolated or https://HOST[:PORT], without a path"
        )


class ListKind(Kind):
    """A list of texts; a single text is a list of one."""

    def check(self, value: object) -> tuple[str, ...]:
        """Judge a list, each item for itself."""
        items = (value,) if isinstance(value, str) else value
        if not isinstance(items, tuple | list):
            raise WrongValueError(value, "must be text, or a list of texts")
        return tuple(self.check_item(item) for item in items)

    @abstractmethod
    def check_item(self, item: object) -> str:
        """
        Judge one item of the list.

        :raise WrongValueError: it is not of this kind.
        """

    def show(self, value: object) -> str:
        """Write the items in one line, as the environment has them."""
        assert isinstance(value, tuple)  # noqa: S101 - `check` makes no other
        return (self.divided_at.strip() + " ").join(value) or "none"


@dataclass(frozen=True)
class Listeners(ListKind):
    """
    Places to listen, no two the same.

    :param parse: reads one spec, and raises `SettingsError` for a wrong one.
    :param or_none: whether the list may be empty.
    """

    parse: Callable[[str], ListenSpec]
    or_none: bool = False

    metavar = "SPEC"
    repeatable = True
    divided_at = " "

    def read(self, text: str) -> tuple[str, ...]:
        """
        Divide at white space.

        Not at commas, which file names in a spec may well have.
        """
        return tuple(text.split())

    def check(self, value: object) -> tuple[str, ...]:
        """Judge each spec, and look for two that want the same place."""
        specs = super().check(value)
        if not specs and not self.or_none:
            raise WrongValueError(specs, "must name a place to listen")
        taken: set[object] = set()
        for spec in specs:
            place = self.parse(spec).place
            if place is not None and place in taken:
                raise WrongValueError(spec, "is there twice")
            taken.add(place)
        return specs

    def check_item(self, item: object) -> str:
        """Judge one spec."""
        if not isinstance(item, str):
            raise WrongValueError(item, "must be a listen spec, as in tcp:8080")
        self.parse(item)
        return item


class Proxies(ListKind):
    """Addresses whose word about the client is taken."""

    metavar = "ADDRESSES"
    divided_at = ","

    def read(self, text: str) -> tuple[str, ...]:
        """Divide at commas."""
        return tuple(item.strip() for item in text.split(",") if item.strip())

    def check_item(self, item: object) -> str:
        """Judge an IP address, a network, ``unix`` or ``*``."""
        if not isinstance(item, str):
            raise WrongValueError(item, "must be text, as in 10.0.0.0/8")
        if item not in {"unix", "*"}:
            _check_network(item)
        return item


def _is_whole(value: object) -> TypeGuard[int]:
    """Tell whole numbers, which True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_dotted_name(text: str) -> bool:
    return all(word.isidentifier() for word in text.split("."))


def _is_remote_core(text: str) -> bool:
    match = _REMOTE_CORE.fullmatch(text)
    if match is None:
        return False
    if match["ipv6"] is not None and not _is_network(match["ipv6"]):
        return False
    if match["port"] is None:
        return True
    port = decimal(match["port"])
    return port is not None and 0 < port <= MOST_PORTS


def _check_network(text: str) -> None:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise WrongValueError(
            text, "must be an IP address, a network as in 10.0.0.0/8, unix or *"
        ) from None
    if not _is_network(text):
        raise WrongValueError(text, f"has bits of a host; did you mean {network}?")


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
