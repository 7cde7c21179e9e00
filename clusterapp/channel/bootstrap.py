"""The bootstrap: a JSON document that a child reads from stdin first of all."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from clusterapp.interfaces import Role

#: Names of the inherited descriptors that are not listeners: the shared scoreboard, the
#: queue of connections that the master has accepted for the worker's slot, the slot's
#: private socket, and the slot's own port.
SCOREBOARD = "scoreboard"
QUEUE = "queue"
PRIVATE = "private"
PORT = "port"

#: The application that is served if none is named.
DEMO = "clusterapp.demo:app"

#: The number of the child's end of the control channel, in every child.
CONTROL_FD = 3


def private_name(slot: int) -> str:
    """Return the name of a slot's private socket in the state folder."""
    return f"worker-{slot}"


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """
    The configuration with which a child starts as a worker or a core.

    :param role: the role of the child.
    :param slot: the number of its slot; -1 for a core.
    :param generation: the version of code and settings, from 1.
    :param settings: the settings, as returned by `Settings.as_mapping`.
    :param sockets: the inherited descriptors: of listening sockets by the name of their
        listener, of other sockets by the names above.
    :param listeners: the names of all listeners, in the order of their numbers; those
        of `sockets` are among them.
    :param shared: the names of the listeners in `sockets` from which other workers
        accept as well.
    :param row: the number of the child's row on the scoreboard.
    :param stickiness: the session affinity, as a mapping of `Stickiness`.
    :param core_socket: the path of the core's Unix socket; None if the core is on
        another machine.
    :param cache: the folder of compiled files that all children share; only this user
        can write there. None if there is none.
    :param access_log: where the access log is written: an absolute path, or the number
        of an inherited descriptor; None if there is none.
    :param as_canary: whether the child is a canary, which waits for `Activate` before
        it takes its slot.
    :param folder: the working folder.
    :param path: the value of `sys.path`.
    :param umask: the umask; None to leave it as it is.
    :param python_path: the environment's PYTHONPATH as the operator set it.
    """

    role: Role
    slot: int
    generation: int
    settings: Mapping[str, Any]
    sockets: Mapping[str, int] = field(default_factory=dict)
    listeners: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    row: int = 0
    stickiness: Mapping[str, Any] = field(default_factory=dict)
    core_socket: str | None = None
    cache: str | None = None
    access_log: str | int | None = None
    as_canary: bool = False
    folder: str | None = None
    path: tuple[str, ...] = ()
    umask: int | None = None
    python_path: str | None = None

    @property
    def title(self) -> str:
        """The process title in ps(1): the child's role and its application."""
        role = "core" if self.role == "core" else f"worker {self.slot}"
        return f"{role} {self.settings.get('app') or DEMO}"

    def to_bytes(self) -> bytes:
        """Serialize the document."""
        return json.dumps(asdict(self)).encode("ascii")

    @classmethod
    def from_bytes(cls, document: bytes) -> "Bootstrap":
        """Parse a document that `to_bytes` has written."""
        fields = json.loads(document)
        for name in ("path", "listeners", "shared"):
            fields[name] = tuple(fields[name])
        return cls(**fields)
