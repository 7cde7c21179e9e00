"""Listening sockets, created or inherited by the master and kept for its lifetime."""

import errno
import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import Logger

from clusterapp.errors import ListenError
from clusterapp.settings.endpoint_syntax import decimal
from clusterapp.settings.listen import (
    AnyTlsListen,
    FdListen,
    ListenSpec,
    SystemdListen,
    TcpListen,
    TlsFolderListen,
    TlsListen,
    UnixListen,
)
from clusterapp.system.descriptors import adopt_socket, own

_log = Logger()

#: The default of gunicorn and uvicorn; the kernel caps it at net.core.somaxconn.
BACKLOG = 2048

#: SD_LISTEN_FDS_START of sd_listen_fds(3).
_FIRST_PASSED = 3


@dataclass(frozen=True)
class Listener:
    """
    A listening socket and its name.

    :param name: the name of the listener, which is the same for all duplicates of the
        socket.
    :param socket: the socket.
    :param path: the path that is to be removed with the socket, if any.
    :param identity: the device and inode of that path, when it was made.
    :param scheme: the scheme of the URLs of a TCP listener.
    """

    name: str
    socket: socket.socket
    path: str | None = None
    identity: tuple[int, int] | None = None
    scheme: str = "http"

    def address(self) -> str:
        """Return the listener's URL, with the port that the kernel chose."""
        name = self.socket.getsockname()
        if self.socket.family == socket.AF_UNIX:
            return f"unix:{name}"
        host = f"[{name[0]}]" if self.socket.family == socket.AF_INET6 else name[0]
        return f"{self.scheme}://{host}:{name[1]}"

    def close(self) -> None:
        """Close the socket, and remove its path unless it was replaced."""
        if self.path is not None:
            self._remove(self.path)
        self.socket.close()

    def _remove(self, path: str) -> None:
        try:
            if _identity(path) == self.identity:
                Path(path).unlink(missing_ok=True)
        except OSError as error:
            # The master may have dropped the privileges with which it made the path.
            _log.warn("cannot remove {path}: {error}", path=path, error=error)


def listen(spec: ListenSpec, systemd: Mapping[str | int, int]) -> Listener:
    """
    Create or inherit the socket of a specification.

    :param spec: what to listen on.
    :param systemd: the descriptors that systemd passed, by name and by index.
    :raise ListenError: if that fails; the text has the reason.
    """
    try:
        match spec:
            case TcpListen() | TlsListen() | TlsFolderListen():
                made, path = _tcp(spec.interface, spec.port), None
            case UnixListen():
                made, path = _unix(spec.path, spec.mode), spec.path
            case FdListen():
                made, path = _inherited(spec.fd), None
            case SystemdListen():
                made, path = _inherited(_passed(spec, systemd)), None
    except OSError as error:
        reason = error.strerror or str(error)
        raise ListenError(
            f"cannot listen on {spec}: {reason}{_advice(spec, error)}"
        ) from error
    return _listener(spec.socket_name, made, path, _scheme(spec))


def _advice(spec: ListenSpec, error: OSError) -> str:
    """Return advice for errors with a known remedy: the end of a sentence."""
    port = getattr(spec, "port", None)
    match error.errno:
        case errno.EACCES if port is not None:
            return (
                "; low ports (net.ipv4.ip_unprivileged_port_start) take root, the"
                " capability CAP_NET_BIND_SERVICE, or a socket of systemd's"
            )
        case errno.EADDRINUSE if port is not None:
            return f"; ss -ltnp 'sport = :{port}' shows by which program"
        case errno.EADDRNOTAVAIL:
            return "; this machine has no interface with that address"
    return ""


def inherit(spec: ListenSpec, made: socket.socket) -> Listener:
    """
    Return the listener for a socket that another process has made for this
    specification.

    :param spec: what the socket listens on.
    :param made: the socket.
    """
    path = spec.path if isinstance(spec, UnixListen) else None
    return _listener(spec.socket_name, made, path, _scheme(spec))


def private_unix(path: str) -> Listener:
    """
    Listen on a Unix socket that only this user may connect to.

    :param path: the path; nothing may be there yet.
    """
    try:
        made = _bound_unix(path, 0o600)
    except OSError as error:
        raise ListenError(f"cannot listen on unix:{path}: {error}") from error
    return _listener(path, made, path)


def first_environment() -> Mapping[str, str]:
    """
    Return the environment that this process was started with (proc(5)).

    Any Twisted program that imports `twisted.internet.endpoints` removes systemd's
    variables from `os.environ`, and twistd does so before it loads our service.
    """
    try:
        lines = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:  # no /proc: then there is no systemd, either
        return {}
    pairs = (os.fsdecode(line).partition("=") for line in lines)
    return {name: value for name, _, value in pairs}


def passed_by_systemd(environ: Mapping[str, str]) -> Mapping[str | int, int]:
    """
    Return the descriptors that systemd passed (sd_listen_fds(3)).

    Each is listed by its index, from 0, and by its name if it has one.

    :param environ: the environment that this process was started with.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = decimal(environ.get("LISTEN_FDS", "")) or 0
    numbers = range(_FIRST_PASSED, _FIRST_PASSED + count)
    names = environ.get("LISTEN_FDNAMES")
    named = zip(names.split(":"), numbers, strict=False) if names else ()
    return {**dict(enumerate(numbers)), **dict(named)}


def _scheme(spec: ListenSpec) -> str:
    return "https" if isinstance(spec, AnyTlsListen) else "http"


def _listener(
    name: str, made: socket.socket, path: str | None, scheme: str = "http"
) -> Listener:
    made.setblocking(False)
    own(made)
    identity = None if path is None else _identity(path)
    return Listener(name, made, path, identity, scheme)


def _tcp(interface: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        interface,
        port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST,
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _unix(path: str, mode: int) -> socket.socket:
    _remove_stale(path)
    return _bound_unix(path, mode)


def _bound_unix(path: str, mode: int) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Between bind and chmod no other user may be able to connect.
    umask = os.umask(0o177)
    try:
        made.bind(path)
        Path(path).chmod(mode)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    finally:
        os.umask(umask)
    return made


def _remove_stale(path: str) -> None:
    """Remove a socket on which no process listens; leave other files alone."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ListenError(f"cannot listen on unix:{path}: it is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                Path(path).unlink()


def _inherited(fd: int) -> socket.socket:
    try:
        made = _duplicate(fd)
    except OSError as error:
        raise ListenError(f"descriptor {fd} is not a socket: {error}") from error
    if not made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        made.close()
        raise ListenError(f"descriptor {fd} is a socket that does not listen")
    made.set_inheritable(False)
    return made


def _duplicate(fd: int) -> socket.socket:
    duplicate = os.dup(fd)
    try:
        return adopt_socket(duplicate)
    except OSError:
        os.close(duplicate)
        raise


def _passed(spec: SystemdListen, systemd: Mapping[str | int, int]) -> int:
    if spec.name_or_index in systemd:
        return systemd[spec.name_or_index]
    known = ", ".join(str(name) for name in systemd) or "none"
    raise ListenError(
        f"cannot listen on {spec}: systemd passed no such socket (passed: {known})"
    )


def _identity(path: str) -> tuple[int, int] | None:
    """Return the device and inode of a path; None if there is no file."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
