"""
Listening endpoints as data: ``tcp:8080``, ``unix:/run/app.sock:mode=660``, ``fd:3``.

The fields of each class are what its endpoint string is parsed into and written from:
the first one is positional, the others are ``key=value``.
"""

import re
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from ipaddress import ip_address
from typing import Any, ClassVar

from clusterapp.settings.endpoint_syntax import decimal, quote, split
from clusterapp.settings.validation import InvalidValueError

#: Every IPv4 interface: what Twisted, too, takes where none is named.
ALL_INTERFACES = "0.0.0.0"  # noqa: S104 - only on the operator's explicit word
#: The policies by which connections are distributed.
DISPATCHES = ("shared", "reuseport", "round-robin", "least-connections", "sticky")
#: The versions of the PROXY protocol that a listener can expect; ``auto`` is either.
PROXY_VERSIONS = ("v1", "v2", "auto")

MAX_PORT = 65535
_MAX_PATH_BYTES = 107
_MODE = re.compile("0?[0-7]{3}")


@dataclass(frozen=True, kw_only=True)
class _Listen:
    """
    An endpoint to listen on; ``str()`` returns its canonical endpoint string.

    :cvar kind: the first word of the endpoint string.
    :ivar dispatch: the policy for its connections; ``None`` for that of `--dispatch`.
    :ivar proxy: the PROXY protocol's version, one of `PROXY_VERSIONS`, with whose
        header connections begin; ``None`` if they begin with a request.
    """

    kind: ClassVar[str]
    dispatch: str | None = None
    proxy: str | None = None

    @property
    def place(self) -> Hashable:
        """The address that only one listener can have; ``None`` if any number can."""
        return (self.kind, getattr(self, _parameters(type(self))[0]))

    @property
    def socket_name(self) -> str:
        """The name of the listening socket, whatever is done with its connections."""
        return str(replace(self, dispatch=None, proxy=None))

    def __str__(self) -> str:
        first, *keywords = _parameters(type(self))
        spec = f"{self.kind}:{quote(str(getattr(self, first)))}"
        for name in keywords:
            value = getattr(self, name)
            if value != getattr(type(self), name, None):
                spec += f":{name}={_FORMATS.get(name, quote)(value)}"
        return spec


class _PortListen(_Listen):
    """A listener on a TCP port, with TLS or without; the kernel chooses port 0."""

    port: int
    interface: str

    @property
    def place(self) -> Hashable:
        """The interface and port; ``None`` or the spec if the kernel chooses one."""
        if self.port:
            return ("tcp", self.interface, self.port)
        return None if self.kind == "tcp" else str(self)

    @property
    def socket_name(self) -> str:
        """The name of the listening socket, which is the same with TLS and without."""
        return str(TcpListen(self.port, self.interface))


@dataclass(frozen=True)
class TcpListen(_PortListen):
    """A TCP port."""

    kind = "tcp"
    port: int
    interface: str = ALL_INTERFACES


@dataclass(frozen=True)
class UnixListen(_Listen):
    """A Unix socket in the file system, and its permissions."""

    kind = "unix"
    path: str
    mode: int = 0o666


@dataclass(frozen=True)
class FdListen(_Listen):
    """A listening socket that the master inherits as a file descriptor."""

    kind = "fd"
    fd: int


@dataclass(frozen=True)
class SystemdListen(_Listen):
    """
    A socket of systemd's socket activation, see sd_listen_fds(3).

    It is known by its ``FileDescriptorName=``, or its index among those of the unit.
    """

    kind = "systemd"
    name_or_index: str | int


@dataclass(frozen=True)
class TlsListen(_PortListen):
    """
    A TCP port with TLS and one certificate, from PEM files.

    :ivar ca: the authorities that sign clients' certificates; ``None`` requests none.
    """

    kind = "tls"
    port: int
    certificate: str
    key: str
    ca: str | None = None
    interface: str = ALL_INTERFACES


@dataclass(frozen=True)
class TlsFolderListen(_PortListen):
    """A TCP port with TLS and a folder of certificates, of which SNI selects one."""

    kind = "tls"
    port: int
    certificates: str
    ca: str | None = None
    interface: str = ALL_INTERFACES


AnyTlsListen = TlsListen | TlsFolderListen
ListenSpec = TcpListen | UnixListen | FdListen | SystemdListen | AnyTlsListen

_CLASSES: Mapping[str, type[ListenSpec]] = {
    each.kind: each
    for each in (TcpListen, UnixListen, FdListen, SystemdListen, TlsListen)
}


def parse(spec: str) -> ListenSpec:
    """
    Parse an endpoint string.

    :raise SettingsError: a part of it is wrong; the text says which.
    """
    try:
        return _listener(*split(spec))
    except ValueError as error:
        raise InvalidValueError(spec, str(error)) from None


def parse_core(spec: str) -> TlsListen:
    """
    Parse the endpoint string of a listener of the core, for workers on other machines.

    :raise SettingsError: the string is wrong, is not ``tls:`` with one certificate,
        or has no ``ca``.
    """
    listener = parse(spec)
    if not isinstance(listener, TlsListen):
        raise InvalidValueError(spec, "must be a tls: listener with one certificate")
    if listener.ca is None:
        raise InvalidValueError(
            spec, "ca is missing; clients must show a certificate signed by it"
        )
    for key in ("dispatch", "proxy"):
        if getattr(listener, key) is not None:
            raise InvalidValueError(spec, f"{key} is for the workers' listeners")
    return listener


def _listener(positional: list[str], keywords: dict[str, str]) -> ListenSpec:
    """Make a listener of the parts of its endpoint string."""
    kind = _first(positional, "kind")
    if kind not in _CLASSES:
        raise ValueError(
            f"the kind {kind!r} is none of {', '.join(_CLASSES)}"
            "; a TCP port is written tcp:8080"
        )
    has_folder = kind == "tls" and "certificates" in keywords
    listener_class = TlsFolderListen if has_folder else _CLASSES[kind]
    first, *others = _parameters(listener_class)
    values = {first: _value(first, _first(positional, _LABELS.get(first, first)))}
    for name in others:
        if name in keywords:
            values[name] = _value(name, keywords.pop(name))
        elif not hasattr(listener_class, name):
            raise ValueError(f"{name} is missing")
    for key in keywords:
        if has_folder and key in {"certificate", "key"}:
            raise ValueError(f"{key} does not go with certificates, which is a folder")
        raise ValueError(f"{kind} has no key {key!r}")
    for word in positional:
        raise ValueError(f"the word {word!r} is one too many")
    return listener_class(**values)


def _parameters(listener_class: type[_Listen]) -> list[str]:
    """Return the names of the parameters in the order of the endpoint string."""
    by_order = sorted(fields(listener_class), key=lambda each: each.kw_only is True)
    return [each.name for each in by_order]


def _first(positional: list[str], label: str) -> str:
    """Take the first positional argument."""
    if not positional or not positional[0]:
        raise ValueError(f"the {label} is missing")
    return positional.pop(0)


def _value(name: str, text: str) -> Any:
    """Convert the text of a parameter."""
    if not text:
        raise ValueError(f"{name} is empty")
    if text not in _CHOICES.get(name, [text]):
        raise ValueError(f"{name}={text} is none of {', '.join(_CHOICES[name])}")
    expected, convert = _CONVERSIONS.get(name, ("", str))
    value = convert(text)
    if value is None:
        raise ValueError(f"the {_LABELS.get(name, name)} {text!r} {expected}")
    return value


def _port(text: str) -> int | None:
    port = decimal(text)
    return port if port is not None and port <= MAX_PORT else None


def _interface(text: str) -> str | None:
    # ipaddress takes any text for a scope (fe80::1%eth0), even a bracket.
    with suppress(ValueError):
        return str(ip_address(text)) if re.fullmatch(r"[\w.:%-]+", text) else None
    return None


def _path(text: str) -> str:
    # unix(7): sun_path has 108 bytes, the last of which ends the string.
    if len(text.encode("utf-8", "surrogateescape")) > _MAX_PATH_BYTES:
        raise ValueError(f"the path is longer than {_MAX_PATH_BYTES} bytes")
    return text


#: What the text of a parameter must be, and its conversion, which returns ``None`` for
#: other text. Parameters that are not here are any text.
_CONVERSIONS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "port": (f"must be a number from 0 to {MAX_PORT}", _port),
    "interface": ("must be an IP address", _interface),
    "path": ("", _path),
    "mode": (
        "must be octal, as in mode=660",
        lambda text: int(text, 8) if _MODE.fullmatch(text) else None,
    ),
    "fd": ("must be a number from 0 up", decimal),
    "name_or_index": ("", lambda text: text if decimal(text) is None else int(text)),
}
_CHOICES = {"dispatch": DISPATCHES, "proxy": PROXY_VERSIONS}
_FORMATS: Mapping[str, Callable[[Any], str]] = {
    "interface": lambda address: f"[{address}]" if ":" in address else address,
    "mode": "{:03o}".format,
}
_LABELS = {"fd": "descriptor", "name_or_index": "name or index"}
