"""Finding the control sockets of the clusters that run on this machine."""

import os
import re
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from clusterapp.control.control_client import Client
from clusterapp.control.peer_credentials import peer_of
from clusterapp.control.trust import (
    DistrustError,
    check_folder,
    check_peer,
    check_socket,
)
from clusterapp.errors import (
    ControlError,
    RefusedError,
    SeveralClustersError,
    UnreachableError,
)
from clusterapp.listening.state_folder import default_state
from clusterapp.settings.option_types import OFF

#: The name of the control socket in a cluster's own folder.
SOCKET_NAME = "control.sock"

#: The state folders of all users, relative to the root of the file system.
_EVERYBODYS = ("run/clusterapp", "run/user/*/clusterapp", "tmp/clusterapp-*")
_NAME = re.compile(r"clusterapp(-[0-9]+)?")

#: The facts that are listed for each of several clusters.
_IDENTITY = ("pid", "name", "state", "ready")

#: The timeout, in seconds, of each of several clusters.
_TIMEOUT = 2.0

#: The most entries of a state folder that are examined.
_MOST_ENTRIES = 10_000

#: Called with the reason for each socket that is skipped.
Warn = Callable[[str], object]


def find(
    named: str | None, state: str | None, environ: Mapping[str, str], warn: Warn
) -> str:
    """
    Return the path of the socket to use.

    :param named: the path that the operator has given, if any.
    :param state: the state folder that the operator has given, if any.
    :param environ: the environment, which may define either.
    :param warn: called for other users' sockets, which are skipped.
    :raise UnreachableError: if there is none, or more than one.
    """
    if named is None and state is None:
        named = environ.get("CLUSTERAPP_CONTROL")
        if named == OFF:
            raise UnreachableError("CLUSTERAPP_CONTROL is off: there is no socket")
    if named is not None:
        return named
    state = state or environ.get("CLUSTERAPP_STATE")
    bases = state_folders(state, environ)
    found = living(bases, trusted_users(state), warn)
    if not found:
        where = ", ".join(map(str, bases))
        raise UnreachableError(
            f"no running cluster found; looked for */{SOCKET_NAME} in {where}"
        )
    return found[0] if len(found) == 1 else _the_one_that_stays(found)


def trusted_users(state: str | None) -> frozenset[int]:
    """
    Return the users whose clusters are used without an explicit path.

    :param state: the state folder that the operator has given, if any: its owner is one
        of them.
    """
    users = {0, os.geteuid()}
    if state is not None:
        with suppress(OSError):  # then nothing is found there
            users.add(Path(state).stat().st_uid)
    return frozenset(users)


def state_folders(
    state: str | None, environ: Mapping[str, str], root: Path = Path("/")
) -> list[Path]:
    """
    Return the state folders in which clusters may be.

    :param state: the only one, if the operator has given it.
    :param environ: the environment.
    :param root: the root of the file system.
    """
    if state is not None:
        return [Path(state)]
    user = os.geteuid()
    # A service seldom has the variables of its user's sessions.
    own = [
        default_state(environ),
        default_state({}),
        root / f"run/user/{user}/clusterapp",
    ]
    others = _of_everybody(root) if user == 0 else ()
    return list(dict.fromkeys((*own, *others)))


def living(bases: Iterable[Path], users: Collection[int], warn: Warn) -> list[str]:
    """
    Return the paths of the sockets on which a trusted user listens.

    :param bases: state folders.
    :param users: the trusted users.
    :param warn: called for each socket of another user.
    """
    first: dict[Path, str] = {}
    for base in bases:
        for path in _sockets_in(base, users, warn):
            first.setdefault(path.resolve(), str(path))
    return [path for path in first.values() if _listens(path, users, warn)]


def _sockets_in(base: Path, users: Collection[int], warn: Warn) -> list[Path]:
    """Return the sockets of clusters in a state folder, whatever its owner."""
    paths = []
    try:
        with os.scandir(base) as entries:
            paths = [
                Path(entry.path, SOCKET_NAME)
                for entry in islice(entries, _MOST_ENTRIES)
                if os.path.lexists(Path(entry.path, SOCKET_NAME))
            ]
        if paths:
            check_folder(base, users)
    except OSError:
        return []  # missing, or not readable
    except DistrustError as why:
        _pass_over(paths[0] if len(paths) == 1 else base, why, warn)
        return []
    return sorted(path for path in paths if _is_trusted(path, users, warn))


def _is_trusted(path: Path, users: Collection[int], warn: Warn) -> bool:
    try:
        return check_socket(path, users)
    except OSError:
        return False  # it has been removed, or its target
    except DistrustError as why:
        _pass_over(path, why, warn)
        return False


def _pass_over(path: Path, why: DistrustError, warn: Warn) -> None:
    warn(f"ignoring {path}: {why}; --socket PATH uses it all the same")


def _the_one_that_stays(paths: Iterable[str]) -> str:
    """Return the new master's socket while the old one exits after an upgrade."""
    clusters = list(filter(None, map(_about, paths)))
    staying = [each for each in clusters if each["state"] != "stopping"]
    if len(staying) != 1:
        raise SeveralClustersError(clusters)
    path: str = staying[0]["path"]
    return path


def _of_everybody(root: Path) -> Iterator[Path]:
    for pattern in _EVERYBODYS:
        # In /tmp there may be other folders with the same prefix.
        yield from filter(
            lambda path: _NAME.fullmatch(path.name), sorted(root.glob(pattern))
        )


def _listens(path: str, users: Collection[int], warn: Warn) -> bool:
    """Return whether a master of a trusted user listens on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_TIMEOUT)
        try:
            probe.connect(path)
            check_peer(Path(path), peer_of(probe).uid, users)
        except BlockingIOError:
            return True  # its backlog is full: a master exists, and will respond
        except OSError:
            return False
        except DistrustError as why:
            _pass_over(Path(path), why, warn)
            return False
        return True


def _about(path: str) -> Mapping[str, Any] | None:
    """Return the facts of a cluster; None if it has exited since it was found."""
    try:
        status = Client(path, _TIMEOUT).get("/status")
    except RefusedError:
        status = {"state": "stopping"}  # it no longer serves its status
    except ControlError:
        if not _is_there(path):
            return None
        status = {}  # it is listed without facts
    return {"path": path, **{key: status.get(key) for key in _IDENTITY}}


def _is_there(path: str) -> bool:
    """Return whether a process still listens on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_TIMEOUT)
        try:
            probe.connect(path)
        except OSError as error:
            return isinstance(error, BlockingIOError)
        return True
