"""The types of options: how their values are read from text, validated and printed."""

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from configparser import ConfigParser
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import inf
from typing import Generic, Literal, TypeGuard, TypeVar

from clusterapp.settings.endpoint_syntax import decimal
from clusterapp.settings.listen import (
    DISPATCHES,
    MAX_PORT,
    ListenSpec,
    TcpListen,
    parse,
)
from clusterapp.settings.validation import InvalidValueError

T = TypeVar("T")

#: The longest of all timeouts, a week: epoll counts milliseconds in 32 bits.
MAX_SECONDS = 7 * 24 * 3600
#: The value of `--access-log` that stands for the master's stdout.
STDOUT = "-"
#: The value of `--control` that stands for no control socket.
OFF = "off"

_CORE = re.compile(
    r"master|isolated"
    r"|https://(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|[^\s:/?#@\[\]\\]+)(?::(?P<port>[0-9]+))?"
)
_SENDFILE = re.compile(
    # No segment of the path is empty, hidden or dots alone.
    r"X-Accel-Redirect=(?P<prefix>/(?:[A-Za-z0-9_~-][A-Za-z0-9._~-]*/)+)|X-Sendfile",
    re.IGNORECASE,
)
_SIZE = re.compile(r"(?P<number>[0-9]{1,13})\s*(?:(?P<unit>[kmg])i?)?b?", re.IGNORECASE)
# RFC 9110, section 5.6.2: names of fields and of cookies are tokens.
_STICKY_KEY = re.compile(
    r"client-ip|cookie|(?:cookie|header|query):[!#$%&'*+.^_`|~0-9A-Za-z-]+"
)
# RFC 3986, section 3.3, without the rarer characters.
_URL_PATH = re.compile(r"/[A-Za-z0-9/._~-]*")


@dataclass(frozen=True)
class OptionType(Generic[T]):
    """
    The values that an option can have.

    :ivar metavar: the placeholder for a value in usage texts; empty for a switch, whose
        flag takes no argument.
    :ivar expected: what a value must be; the reason why another one is invalid.
    :ivar convert: returns a value in the form that `Settings` stores; ``None``, or an
        `InvalidValueError` with a reason of its own, for an invalid one.
    :ivar read: reads the text of a flag or an environment variable; text that it cannot
        read stays text, which `convert` refuses.
    :ivar format: returns a converted value as text for people.
    :ivar repeatable: whether the flag is given once for each item of a list; the items
        of another list are separated by commas.
    """

    metavar: str
    expected: str
    convert: Callable[[object], T | None]
    read: Callable[[str], object] = str
    format: Callable[[T], str] = str
    repeatable: bool = False

    def validate(self, value: object) -> T:
        """
        Return a value in the form that `Settings` stores.

        :raise InvalidValueError: it is not of this type.
        """
        converted = self.convert(value)
        if converted is None:
            raise InvalidValueError(value, self.expected)
        return converted


def _text(
    metavar: str, expected: str, is_valid: Callable[[str], object]
) -> OptionType[str]:
    def convert(value: object) -> str | None:
        return value if isinstance(value, str) and is_valid(value) else None

    return OptionType(metavar, expected, convert)


def choice(choices: tuple[str, ...], metavar: str = "") -> OptionType[str]:
    """Return the type of one of several words, which are the metavar by default."""
    expected = f"must be {', '.join(choices[:-1])} or {choices[-1]}"
    return _text(metavar or "|".join(choices), expected, choices.__contains__)


def _is_object_name(text: str) -> bool:
    names = text.replace(":", ".").split(".")
    return text.count(":") == 1 and all(map(str.isidentifier, names))


def _is_core_location(text: str) -> bool:
    match = _CORE.fullmatch(text)
    if match is None or (match["ipv6"] and not _network(match["ipv6"])):
        return False
    return 0 < (decimal(match["port"] or "443") or 0) <= MAX_PORT


def _is_agent_listener(text: str) -> bool:
    listener = parse(text)
    return isinstance(listener, TcpListen) and not (listener.dispatch or listener.proxy)


def _sendfile_header(value: object) -> str | None:
    match = _SENDFILE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    return f"X-Accel-Redirect={match['prefix']}" if match["prefix"] else "X-Sendfile"


OBJECT_NAME = _text(
    "MODULE:NAME", "must look like module:name, as in shop:app", _is_object_name
)
PATH = _text("PATH", "must be a path", lambda text: text.strip() and "\0" not in text)
LOG_PATH = replace(PATH, metavar=f"PATH|{STDOUT}")
CONTROL_PATH = replace(PATH, metavar=f"PATH|{OFF}")
URL_PATH = _text(
    "/PATH", "must be the path of a URL, as in /healthz", _URL_PATH.fullmatch
)
CORE_LOCATION = _text(
    "PLACE",
    "must be master, isolated or https://HOST[:PORT], without a path",
    _is_core_location,
)
DISPATCH = choice(DISPATCHES, "POLICY")
STICKY_KEY = _text(
    "KEY",
    "must be client-ip, cookie, cookie:NAME, header:NAME or query:NAME",
    _STICKY_KEY.fullmatch,
)
AGENT_LISTENER = _text(
    "SPEC",
    "must be a TCP port, as in tcp:9990:interface=127.0.0.1, without dispatch and"
    " proxy",
    _is_agent_listener,
)
SENDFILE_HEADER = OptionType(
    "X-Accel-Redirect=PREFIX|X-Sendfile",
    "must be X-Sendfile, or X-Accel-Redirect= and the path of an internal location,"
    " with a slash at both ends, as in X-Accel-Redirect=/internal/static/",
    _sendfile_header,
)
SWITCH = OptionType(
    "",
    "must be yes or no, true or false, on or off",
    lambda value: value if isinstance(value, bool) else None,
    lambda text: ConfigParser.BOOLEAN_STATES.get(text.lower(), text),
    lambda value: "yes" if value else "no",
)


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _up_to(maximum: float) -> Callable[[object], int | None]:
    return lambda value: value if _is_integer(value) and 0 < value <= maximum else None


def _read_integer(text: str) -> object:
    number = decimal(text)
    return text if number is None else number


COUNT = OptionType("N", "must be a number from 1 up", _up_to(10**12), _read_integer)
PORT = OptionType(
    "PORT", f"must be a port, from 1 to {MAX_PORT}", _up_to(MAX_PORT), _read_integer
)
WORKER_COUNT: OptionType[int | Literal["auto"]] = OptionType(
    "N|auto",
    "must be a number from 1 up, or auto",
    lambda value: "auto" if value == "auto" else _up_to(inf)(value),
    _read_integer,
)


def seconds(*, or_zero: bool = False, maximum: int = MAX_SECONDS) -> OptionType[float]:
    """Return the type of a number of seconds above 0, or from 0."""

    def convert(value: object) -> float | None:
        if not isinstance(value, float) and not _is_integer(value):
            return None
        # Compared before it is converted: an int can be too large for a float.
        in_range = 0 < value <= maximum or (or_zero and value == 0)
        return float(value) if in_range else None

    def read(text: str) -> object:
        try:
            return float(text)
        except ValueError:
            return text

    minimum = "from 0" if or_zero else "above 0"
    expected = f"must be a number of seconds, {minimum} up to {maximum}"
    return OptionType(
        "SECONDS",
        expected,
        convert,
        read,
        lambda value: f"{value} s".replace(".0 ", " "),
    )


SECONDS = seconds()


def size(minimum: int = 0) -> OptionType[int]:
    """Return the type of a number of bytes, with or without a unit: ``16 MiB``."""

    def convert(value: object) -> int | None:
        match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is not None:
            power = " kmg".index((match["unit"] or " ").lower())
            value = int(match["number"]) << (10 * power)
        return value if _is_integer(value) and minimum <= value <= 1024**4 else None

    expected = f"must be a number of bytes, from {minimum} up to 1 TiB, as in"
    return OptionType(
        "SIZE", f"{expected} 65536, 64 KiB or 16 MiB", convert, format=_format_size
    )


def _format_size(value: int) -> str:
    """Return a size in the largest unit that it is a multiple of."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if value and value % (1 << power) == 0:
            return f"{value >> power} {unit}"
    return f"{value} B"


def _list(
    metavar: str,
    separator: str,
    convert_items: Callable[[Sequence[object]], Iterable[str]],
) -> OptionType[tuple[str, ...]]:
    """Return the type of a list of texts; a single text is a list of one."""

    def convert(value: object) -> tuple[str, ...] | None:
        items = [value] if isinstance(value, str) else value
        return tuple(convert_items(items)) if isinstance(items, tuple | list) else None

    def read(text: str) -> object:
        items = text.split(separator.strip() or None)
        return tuple(item.strip() for item in items if item.strip())

    return OptionType(
        metavar,
        "must be text, or a list of texts",
        convert,
        read,
        lambda items: separator.join(items) or "none",
    )


def endpoints(
    parse_endpoint: Callable[[str], ListenSpec], *, or_none: bool = False
) -> OptionType[tuple[str, ...]]:
    """Return the type of a list of endpoints, each at another place."""

    def convert_items(items: Sequence[object]) -> Iterator[str]:
        if not items and not or_none:
            raise InvalidValueError(items, "must name a place to listen")
        places: list[Hashable] = []
        for item in items:
            if not isinstance(item, str):
                raise InvalidValueError(item, "must be a listen spec, as in tcp:8080")
            place = parse_endpoint(item).place
            if place in places:
                raise InvalidValueError(item, "is there twice")
            places += [place] if place else []
            yield item

    # White space separates them in text, since file names may have commas.
    return replace(_list("SPEC", " ", convert_items), repeatable=True)


def _trusted_proxy(item: object) -> str:
    if not isinstance(item, str):
        raise InvalidValueError(item, "must be text, as in 10.0.0.0/8")
    if item in {"unix", "*"} or _network(item):
        return item
    network = _network(item, strict=False)
    if network:
        raise InvalidValueError(item, f"has bits of a host; did you mean {network}?")
    raise InvalidValueError(
        item, "must be an IP address, a network as in 10.0.0.0/8, unix or *"
    )


def _network(text: str, *, strict: bool = True) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict)
    except ValueError:
        return None


TRUSTED_PROXIES = _list("ADDRESSES", ", ", lambda items: map(_trusted_proxy, items))
