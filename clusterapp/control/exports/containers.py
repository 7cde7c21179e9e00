"""Exports for containers with the image of docs/container.md."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TypeVar

from clusterapp.control.exports.derived_settings import (
    bind_address,
    file_settings,
    flags,
    named_files,
)
from clusterapp.control.exports.facts import Facts
from clusterapp.control.exports.template_environment import render
from clusterapp.errors import ExportError
from clusterapp.settings.listen import ALL_INTERFACES, AnyTlsListen, TcpListen

T = TypeVar("T")

#: Settings that the image sets itself, and those that `_arguments` writes in another
#: way.
_NOT_AS_FLAGS = (
    *("listen", "workers", "state", "control", "working_folder"),
    *("agent_check", "access_log"),
)


@dataclass(frozen=True)
class Port:
    """
    A port of a container.

    :param number: the port number, inside and outside.
    :param interface: the interface at which it is published.
    :param spec: the public listener on it; None if there is none.
    """

    number: int
    interface: str
    spec: TcpListen | AnyTlsListen | None = None

    @property
    def published(self) -> str:
        """The entry of compose's ``ports`` that publishes it."""
        return f"{bind_address(self.interface, self.number)}:{self.number}"

    @property
    def scheme(self) -> str:
        """The scheme of its URLs."""
        return "https" if isinstance(self.spec, AnyTlsListen) else "http"

    @property
    def name(self) -> str:
        """The name of the port in a pod."""
        return f"{'port' if self.spec is None else self.scheme}-{self.number}"

    @property
    def takes_probes(self) -> bool:
        """Whether it serves plain requests: no PROXY header, no client certificate."""
        ca = getattr(self.spec, "ca", None)
        return self.spec is not None and self.spec.proxy is None and not ca


def container(template: str, facts: Facts) -> str:
    """
    Return the configuration with which a container engine runs the cluster.

    :param template: the template of the file.
    :raise ExportError: if the cluster cannot run in a container with its settings.
    """
    named = file_settings(facts.settings)
    return render(
        template,
        facts,
        ports=_ports(facts),
        arguments=_arguments(facts),
        files=sorted({str(PurePath(facts.folder, path)) for _, path in named}),
    )


def _ports(facts: Facts) -> Sequence[Port]:
    public = list(_public(facts))
    if not public:
        raise ExportError(
            "no listener can be reached in a container: it takes a TCP port, as in"
            " --listen tcp:8080"
        )
    addresses = [*facts.workers.values(), *([facts.agent] if facts.agent else ())]
    interface = public[0].interface
    return [*public, *(Port(address.port or 0, interface) for address in addresses)]


def _public(facts: Facts) -> Iterator[Port]:
    for listener in facts.listeners:
        spec, port = listener.spec, listener.address.port
        if isinstance(spec, TcpListen | AnyTlsListen) and port is not None:
            yield Port(port, spec.interface, replace(spec, port=port))


def _arguments(facts: Facts) -> Iterator[str]:
    """Yield the flags for a container, in which all interfaces are bound."""
    settings = _absolute(facts, facts.settings)
    for flag in flags(settings, _NOT_AS_FLAGS):
        yield from flag
    for port in _public(facts):
        inside = replace(port.spec, interface=ALL_INTERFACES)  # type: ignore[type-var]
        yield from ("--listen", str(_absolute(facts, inside)))
    if settings.workers != "auto":
        yield from ("--workers", str(len(facts.slots)))
    if settings.access_log is not None:
        yield from ("--access-log", "-")  # the engine keeps the output
    if facts.agent is not None:
        yield from ("--agent-check", f"tcp:{facts.agent.port}")


def _absolute(facts: Facts, named: T) -> T:
    """Return settings, or a listener, with absolute paths of files."""
    paths = {
        part: str(PurePath(facts.folder, path)) for part, path in named_files(named)
    }
    return replace(named, **paths)  # type: ignore[type-var]
