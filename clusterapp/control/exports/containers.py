"""Exports for containers with the image of docs/container.md."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath
from typing import TypeVar

from clusterapp.control.exports.derived_settings import (
    NOT_AS_FLAGS,
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


def container(template: str, facts: Facts) -> str:
    """
    Return the configuration with which a container engine runs the cluster.

    :param template: the template of the file.
    :raise ExportError: if the cluster cannot run in a container with its settings.
    """
    public = [each for each in facts.listeners if each.interface and each.address.port]
    if not public:
        raise ExportError(
            "no listener can be reached in a container: it takes a TCP port, as in"
            " --listen tcp:8080"
        )
    ports = [(each.interface, each.address.port) for each in public]
    ports += [(public[0].interface, each.port) for each in facts.private]
    named = file_settings(facts.settings)
    return render(
        template,
        facts,
        public=public,
        published=[f"{bind_address(host, port)}:{port}" for host, port in ports],
        arguments=_arguments(facts),
        files=sorted({str(PurePath(facts.folder, path)) for _, path in named}),
    )


def _arguments(facts: Facts) -> Iterator[str]:
    """Yield the flags for a container, in which all interfaces are bound."""
    settings = _absolute(facts, facts.settings)
    for flag in flags(settings, (*NOT_AS_FLAGS, "agent_check", "access_log")):
        yield from flag
    for listener in facts.listeners:
        if isinstance(listener.spec, TcpListen | AnyTlsListen):
            inside = replace(
                listener.spec,
                port=listener.address.port or 0,
                interface=ALL_INTERFACES,
            )
            yield from ("--listen", str(_absolute(facts, inside)))
    if settings.workers != "auto":
        yield from ("--workers", str(len(facts.slots)))
    if settings.access_log is not None:
        yield from ("--access-log", "-")  # the engine keeps the output
    if facts.agent is not None:
        yield from ("--agent-check", f"tcp:{facts.agent.port}")


def _absolute(facts: Facts, named: T) -> T:
    """Return settings, or a listener, with absolute paths of files."""
    files = named_files(named)
    paths = {name: str(PurePath(facts.folder, path)) for name, path in files}
    return replace(named, **paths)  # type: ignore[type-var]
