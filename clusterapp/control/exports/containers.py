"""What exports for containers have in common: flags and ports of the one inside."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TypeVar

from clusterapp.control.exports.facts import Facts
from clusterapp.control.exports.words import (
    FILE_SETTINGS,
    LISTENER_FILES,
    file_settings,
    flags,
    one_line,
)
from clusterapp.errors import ExportError
from clusterapp.settings.listen import ALL_INTERFACES, AnyTlsListen, TcpListen

T = TypeVar("T")

#: What the image of docs/container.md has places of its own for, and what is written
#: in another way here.
_OTHERWISE = frozenset(
    {
        *("listen", "workers", "state", "control", "working_folder", "agent_check"),
        "access_log",
    }
)


@dataclass(frozen=True)
class Port:
    """
    A port of the container's.

    :param number: the port, inside and outside.
    :param interface: where it is outside.
    :param spec: the listener for clients that has it; None if none has.
    """

    number: int
    interface: str
    spec: TcpListen | AnyTlsListen | None


def ports(facts: Facts) -> Sequence[Port]:
    """
    Tell which ports a container with this cluster has.

    :raise ExportError: if no listener can be reached from outside.
    """
    found = list(_public(facts))
    if not found:
        raise ExportError(
            "no listener can be reached in a container: it takes a TCP port, as in"
            " --listen tcp:8080"
        )
    interface = found[0].interface
    first, settings = facts.settings.worker_ports, facts.settings
    if first is not None:
        found += (Port(first + slot, interface, None) for slot in facts.slots)
    if settings.agent_check is not None and facts.agent is not None:
        found.append(Port(facts.agent.port or 0, interface, None))
    return found


def _public(facts: Facts) -> Iterator[Port]:
    for listener in facts.listeners:
        spec, port = listener.spec, listener.place.port
        if isinstance(spec, TcpListen | AnyTlsListen) and port is not None:
            yield Port(port, spec.interface, replace(spec, port=port))


def arguments(facts: Facts) -> Sequence[str]:
    """Give the flags of the cluster in a container, whose interfaces are its own."""
    settings = _absolute(facts, facts.settings, FILE_SETTINGS)
    words = [word for flag in flags(settings, _OTHERWISE) for word in flag]
    for port in _public(facts):
        inside = replace(port.spec, interface=ALL_INTERFACES)  # type: ignore[type-var]
        inside = _absolute(facts, inside, LISTENER_FILES)
        words += ["--listen", one_line(str(inside))]
    if settings.workers != "auto":
        words += ["--workers", str(len(facts.slots))]
    if settings.access_log is not None:
        words += ["--access-log", "-"]  # the engine keeps what is written there
    if facts.agent is not None:
        words += ["--agent-check", f"tcp:{facts.agent.port}"]
    return words


def files(facts: Facts) -> Sequence[str]:
    """Name the files and folders of this machine that the settings name."""
    return sorted(
        {
            one_line(str(PurePath(facts.folder, path)))
            for _, path in file_settings(facts.settings)
        }
    )


def _absolute(facts: Facts, named: T, parts: Iterable[str]) -> T:
    """Write the paths of files so that they mean the same from any folder."""
    paths = {part: getattr(named, part, None) for part in parts}
    found = {
        part: str(PurePath(facts.folder, path))
        for part, path in paths.items()
        if path is not None
    }
    return replace(named, **found)  # type: ignore[type-var]


def quoted(text: str) -> str:
    """Write text as YAML, which JSON is a part of."""
    return json.dumps(one_line(text))
