"""Finding the control socket of the cluster that runs on this machine."""

import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from clusterapp.control.client import Client
from clusterapp.control.peers import peer_of
from clusterapp.errors import (
    ControlError,
    RefusedError,
    SeveralClustersError,
    UnreachableError,
)
from clusterapp.listening.state import default_state
from clusterapp.settings.counts import OFF

#: The name of the control socket in a cluster's own folder.
SOCKET_NAME = "control.sock"

#: Where the state folders of all users are, below the root of the file system.
_EVERYBODYS = ("run/clusterapp", "run/user/*/clusterapp", "tmp/clusterapp-*")
_NAME = re.compile(r"clusterapp(-[0-9]+)?")

#: What is told of each of several clusters.
_IDENTITY = ("pid", "name", "state", "ready")

#: Seconds in which each of several clusters may tell who it is.
_PATIENCE = 2.0


def find(named: str | None, state: str | None, environ: Mapping[str, str]) -> str:
    """
    Find the socket to use.

    :param named: the path that the operator has given, if any.
    :param state: the state folder that the operator has given, if any.
    :param environ: the environment, which may name either.
    :raise UnreachableError: if there is none, or more than one.
    """
    if named is None and state is None:
        named = environ.get("CLUSTERAPP_CONTROL")
        if named == OFF:
            raise UnreachableError("CLUSTERAPP_CONTROL is off: there is no socket")
    if named is not None:
        return named
    bases = state_folders(state or environ.get("CLUSTERAPP_STATE"), environ)
    found = living(bases)
    if not found:
        where = ", ".join(map(str, bases))
        raise UnreachableError(
            f"no running cluster found; looked for */{SOCKET_NAME} in {where}"
        )
    return found[0] if len(found) == 1 else _the_one_that_stays(found)


def state_folders(
    state: str | None, environ: Mapping[str, str], root: Path = Path("/")
) -> list[Path]:
    """
    Tell in which state folders clusters may be.

    :param state: the only one, if the operator has said so.
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


def living(bases: Iterable[Path]) -> list[str]:
    """
    Give the paths of the sockets that somebody trustworthy listens on.

    :param bases: state folders.
    """
    first: dict[Path, str] = {}
    for base in bases:
        for path in sorted(base.glob(f"*/{SOCKET_NAME}")):
            first.setdefault(path.resolve(), str(path))
    return [path for path in first.values() if _listens(path)]


def _the_one_that_stays(paths: Iterable[str]) -> str:
    """Choose the new master, while the old one leaves after an upgrade."""
    clusters = list(filter(None, map(_about, paths)))
    staying = [each for each in clusters if each["state"] != "stopping"]
    if len(staying) != 1:
        raise SeveralClustersError(clusters)
    path: str = staying[0]["path"]
    return path


def _of_everybody(root: Path) -> Iterator[Path]:
    for pattern in _EVERYBODYS:
        # In /tmp there may be others whose names begin alike.
        yield from filter(
            lambda path: _NAME.fullmatch(path.name), sorted(root.glob(pattern))
        )


def _listens(path: str) -> bool:
    """Tell whether a master listens that is ours or root's; root trusts all."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PATIENCE)
        try:
            probe.connect(path)
        except OSError:
            return False
        user = os.geteuid()
        return user == 0 or peer_of(probe).uid in {0, user}


def _about(path: str) -> Mapping[str, Any] | None:
    """Ask a cluster who it is; None if it has left since it was found."""
    try:
        status = Client(path, _PATIENCE).get("/status")
    except RefusedError:
        status = {"state": "stopping"}  # it has nothing more to tell of
    except ControlError:
        if not _listens(path):
            return None
        status = {}  # it is listed all the same
    return {"path": path, **{key: status.get(key) for key in _IDENTITY}}
