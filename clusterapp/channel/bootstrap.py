"""What a child is told before it can hear anything else: one JSON document."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from clusterapp.interfaces import Role

#: What a worker inherits beside listeners, by these names: the shared scoreboard, the
#: queue of connections that the master has accepted for its slot, its slot's private
#: socket, and its slot's own port.
SCOREBOARD = "scoreboard"
QUEUE = "queue"
PRIVATE = "private"
PORT = "port"

#: What is served when no application is named.
DEMO = "clusterapp.demo:app"

#: The child's end of the control channel has this number in every child.
CONTROL_FD = 3


def private_name(slot: int) -> str:
    """Tell what a slot's private socket is called in the state folder."""
    return f"worker-{slot}"


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """
    Everything that a child needs to know to become a worker or a core.

    :param role: what the child is for.
    :param slot: the number of its place; -1 for a core.
    :param generation: the version of code and settings, from 1.
    :param settings: the settings, as `Settings.as_mapping` gives them.
    :param sockets: the descriptor numbers of inherited listening sockets, by the
        name of their listener, and of what is no listener.
    :param listeners: the names of all listeners, in the order of their numbers; those
        of `sockets` are among them.
    :param shared: the names of those listeners of `sockets` that other workers accept
        from as well.
    :param row: the number of the child's row on the scoreboard.
    :param stickiness: whose requests belong to which worker, as `Stickiness` has it.
    :param core_socket: the path of the core's Unix socket; None if the core is
        on another machine.
    :param cache: the folder of what all children compile; only this user can
        write there. None if there is none.
    :param access_log: where the access log is: an absolute path, or the number of an
        inherited descriptor; None if there is none.
    :param on_trial: whether the child waits for `Activate` before it takes its place.
    :param folder: the working folder.
    :param path: what `sys.path` is to be.
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
    on_trial: bool = False
    folder: str | None = None
    path: tuple[str, ...] = ()
    umask: int | None = None
    python_path: str | None = None

    @property
    def title(self) -> str:
        """What ps(1) shows of the child: its role and its application."""
        role = "core" if self.role == "core" else f"worker {self.slot}"
        return f"{role} {self.settings.get('app') or DEMO}"

    def to_bytes(self) -> bytes:
        """Write the document."""
        return json.dumps(asdict(self)).encode("ascii")

    @classmethod
    def from_bytes(cls, document: bytes) -> "Bootstrap":
        """Read the document back."""
        fields = json.loads(document)
        for name in ("path", "listeners", "shared"):
            fields[name] = tuple(fields[name])
        return cls(**fields)
