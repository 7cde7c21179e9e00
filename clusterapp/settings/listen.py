"""
Where to listen, as data: ``tcp:8080``, ``unix:/run/app.sock:mode=660``, ``fd:3``.

The syntax is that of Twisted's endpoint strings; `clusterapp.settings.words` has it.
"""

import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address

from clusterapp.settings.problems import WrongValueError
from clusterapp.settings.words import Words, decimal, divide, quote

#: Every IPv4 interface: what Twisted, too, takes where none is named.
ALL_INTERFACES = "0.0.0.0"  # noqa: S104 - only on the operator's explicit word

#: How connections can be distributed.
DISPATCHES = ("shared", "reuseport", "round-robin", "least-connections", "sticky")

#: What of the PROXY protocol a listener can expect: a version, or either.
PROXY_VERSIONS = ("v1", "v2", "auto")

_DEFAULT_MODE = 0o666
MOST_PORTS = 65535
# unix(7): sun_path has 108 bytes, the last of which ends the string.
_LONGEST_PATH = 107


@dataclass(frozen=True, kw_only=True)
class _Listen:
    """
    What any listener can have.

    :ivar dispatch: how its connections are distributed; ``None`` if as `--dispatch`
        says for all.
    :ivar proxy: which versions of the PROXY protocol its connections begin with, one
        of `PROXY_VERSIONS`; ``None`` if they begin with a request.
    """

    dispatch: str | None = None
    proxy: str | None = None

    @property
    def socket_name(self) -> str:
        """What names the listening socket itself, whatever is done with it."""
        return self._words()

    def __str__(self) -> str:
        dispatch = "" if self.dispatch is None else f":dispatch={self.dispatch}"
        proxy = "" if self.proxy is None else f":proxy={self.proxy}"
        return f"{self._words()}{dispatch}{proxy}"

    def _words(self) -> str:
        raise NotImplementedError


@dataclass(frozen=True)
class TcpListen(_Listen):
    """
    A TCP port.

    :ivar port: from 0, which lets the kernel choose, to 65535.
    :ivar interface: an IPv4 or IPv6 address of this machine.
    """

    port: int
    interface: str = ALL_INTERFACES

    @property
    def place(self) -> Hashable:
        """What only one listener can have; ``None`` if the kernel chooses."""
        return ("tcp", self.interface, self.port) if self.port else None

    def _words(self) -> str:
        return f"tcp:{self.port}{_interface_word(self.interface)}"


@dataclass(frozen=True)
class UnixListen(_Listen):
    """
    A Unix socket in the file system.

    :ivar path: the socket's name, at most 107 bytes.
    :ivar mode: its permissions.
    """

    path: str
    mode: int = _DEFAULT_MODE

    @property
    def place(self) -> Hashable:
        """What only one listener can have."""
        return ("unix", self.path)

    def _words(self) -> str:
        mode = "" if self.mode == _DEFAULT_MODE else f":mode={self.mode:03o}"
        return f"unix:{quote(self.path)}{mode}"


@dataclass(frozen=True)
class FdListen(_Listen):
    """
    A listening socket that the master inherits.

    :ivar fd: its file descriptor.
    """

    fd: int

    @property
    def place(self) -> Hashable:
        """What only one listener can have."""
        return ("fd", self.fd)

    def _words(self) -> str:
        return f"fd:{self.fd}"


@dataclass(frozen=True)
class SystemdListen(_Listen):
    """
    A socket of systemd's socket activation, see sd_listen_fds(3).

    :ivar name_or_index: its ``FileDescriptorName=`` as text, or its place among
        the sockets of the unit, from 0, as a number.
    """

    name_or_index: str | int

    @property
    def place(self) -> Hashable:
        """What only one listener can have."""
        return ("systemd", self.name_or_index)

    def _words(self) -> str:
        return f"systemd:{quote(str(self.name_or_index))}"


@dataclass(frozen=True, kw_only=True)
class _TlsPort(_Listen):
    """
    A TCP port that speaks TLS.

    :ivar port: from 0, which lets the kernel choose, to 65535.
    :ivar ca: PEM file with the authorities that sign clients' certificates;
        ``None`` asks clients for none.
    :ivar interface: an IPv4 or IPv6 address of this machine.
    """

    port: int
    ca: str | None = None
    interface: str = ALL_INTERFACES

    @property
    def place(self) -> Hashable:
        """What only one listener can have; its words, if the kernel chooses."""
        return ("tcp", self.interface, self.port) if self.port else str(self)

    @property
    def socket_name(self) -> str:
        """What names the listening socket itself, whatever is done with it."""
        return str(TcpListen(self.port, self.interface))


@dataclass(frozen=True, kw_only=True)
class TlsListen(_TlsPort):
    """
    A TCP port that speaks TLS, with one certificate.

    :ivar certificate: PEM file with the certificate and its chain.
    :ivar key: PEM file with the certificate's private key.
    """

    certificate: str
    key: str

    def _words(self) -> str:
        return (
            f"tls:{self.port}:certificate={quote(self.certificate)}"
            f":key={quote(self.key)}{_ca_word(self.ca)}{_interface_word(self.interface)}"
        )


@dataclass(frozen=True, kw_only=True)
class TlsFolderListen(_TlsPort):
    """
    A TCP port that speaks TLS, with the certificate that each client asks for.

    :ivar certificates: folder with certificates and their keys.
    """

    certificates: str

    def _words(self) -> str:
        return (
            f"tls:{self.port}:certificates={quote(self.certificates)}"
            f"{_ca_word(self.ca)}{_interface_word(self.interface)}"
        )


AnyTlsListen = TlsListen | TlsFolderListen
ListenSpec = TcpListen | UnixListen | FdListen | SystemdListen | AnyTlsListen


def parse(spec: str) -> ListenSpec:
    """
    Read a listen spec; ``str()`` of the result is the spec's canonical form.

    :raise SettingsError: a part of the spec is wrong; the text says which.
    """
    try:
        return _build(divide(spec))
    except ValueError as error:
        raise WrongValueError(spec, str(error)) from None


def parse_core(spec: str) -> TlsListen:
    """
    Read the spec of a listener for workers on other machines.

    :raise SettingsError: the spec is wrong, is not ``tls:`` with one certificate,
        or has no ``ca``.
    """
    listener = parse(spec)
    if not isinstance(listener, TlsListen):
        raise WrongValueError(spec, "must be a tls: listener with one certificate")
    if listener.ca is None:
        raise WrongValueError(
            spec, "ca is missing; clients must show a certificate signed by it"
        )
    for word in ("dispatch", "proxy"):
        if getattr(listener, word) is not None:
            raise WrongValueError(spec, f"{word} is for the workers' listeners")
    return listener


def _build(words: Words) -> ListenSpec:
    build = _BUILDERS.get(words.kind)
    if build is None:
        raise ValueError(
            f"the kind {words.kind!r} is none of {', '.join(_BUILDERS)}"
            "; a TCP port is written tcp:8080"
        )
    dispatch = words.one_of("dispatch", DISPATCHES)
    proxy = words.one_of("proxy", PROXY_VERSIONS)
    listener = build(words)
    words.expect_no_more()
    return replace(listener, dispatch=dispatch, proxy=proxy)


def _tcp(words: Words) -> TcpListen:
    return TcpListen(_port(words), _interface(words))


def _unix(words: Words) -> UnixListen:
    path = words.first("path")
    if len(path.encode("utf-8", "surrogateescape")) > _LONGEST_PATH:
        raise ValueError(f"the path is longer than {_LONGEST_PATH} bytes")
    return UnixListen(path, _mode(words.optional("mode")))


def _fd(words: Words) -> FdListen:
    text = words.first("descriptor")
    fd = decimal(text)
    if fd is None:
        raise ValueError(f"the descriptor {text!r} must be a number from 0 up")
    return FdListen(fd)


def _systemd(words: Words) -> SystemdListen:
    text = words.first("name or index")
    index = decimal(text)
    return SystemdListen(text if index is None else index)


def _tls(words: Words) -> AnyTlsListen:
    folder = words.optional("certificates")
    return _tls_pair(words) if folder is None else _tls_folder(words, folder)


def _tls_folder(words: Words, folder: str) -> TlsFolderListen:
    for key in ("certificate", "key"):
        if words.optional(key) is not None:
            raise ValueError(f"{key} does not go with certificates, which is a folder")
    return TlsFolderListen(
        port=_port(words),
        certificates=folder,
        ca=words.optional("ca"),
        interface=_interface(words),
    )


def _tls_pair(words: Words) -> TlsListen:
    return TlsListen(
        port=_port(words),
        certificate=words.required("certificate"),
        key=words.required("key"),
        ca=words.optional("ca"),
        interface=_interface(words),
    )


_BUILDERS: Mapping[str, Callable[[Words], ListenSpec]] = {
    "tcp": _tcp,
    "unix": _unix,
    "fd": _fd,
    "systemd": _systemd,
    "tls": _tls,
}


def _port(words: Words) -> int:
    text = words.first("port")
    port = decimal(text)
    if port is None or port > MOST_PORTS:
        raise ValueError(f"the port {text!r} must be a number from 0 to {MOST_PORTS}")
    return port


def _mode(text: str | None) -> int:
    if text is None:
        return _DEFAULT_MODE
    if re.fullmatch("0?[0-7]{3}", text) is None:
        raise ValueError(f"the mode {text!r} must be octal, as in mode=660")
    return int(text, 8)


def _ca_word(ca: str | None) -> str:
    return "" if ca is None else f":ca={quote(ca)}"


def _interface(words: Words) -> str:
    text = words.optional("interface")
    if text is None:
        return ALL_INTERFACES
    address = _address(text)
    if address is None:
        raise ValueError(f"the interface {text!r} must be an IP address")
    return address


def _address(text: str) -> str | None:
    """Read an IP address, to write it in its one canonical form."""
    # ipaddress takes any text for a scope (fe80::1%eth0), even a bracket.
    if re.fullmatch(r"[\w.:%-]+", text) is None:
        return None
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _interface_word(interface: str) -> str:
    if interface == ALL_INTERFACES:
        return ""
    address = f"[{interface}]" if ":" in interface else interface
    return f":interface={address}"
