"""The export of systemd units: service and sockets; deploy/ has them with comments."""

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from clusterapp.control.exports.derived_settings import (
    NOT_AS_FLAGS,
    bind_address,
    flags,
)
from clusterapp.control.exports.facts import Facts
from clusterapp.control.exports.template_environment import render
from clusterapp.settings.listen import SystemdListen, TcpListen, UnixListen

#: Distribution policies for which the master must have created the socket itself.
_OWN_SOCKETS = ("reuseport", "sticky")

#: The lowest port that unprivileged users may bind.
_FIRST_UNPRIVILEGED_PORT = 1024


def systemd(facts: Facts) -> str:
    """
    Return the unit of a service, followed by that of its sockets if systemd can hold
    any.

    :raise ExportError: if a setting cannot be written into a unit.
    """
    held = _held(facts)
    own_ports = _own_ports(facts, held)
    return render(
        "systemd.units.j2",
        facts,
        sockets=[bind_address(spec.interface, spec.port) for spec in held],
        flags=_flags(facts, held),
        binds_low_port=any(port < _FIRST_UNPRIVILEGED_PORT for port in own_ports),
        writable_folders=_writable_folders(facts),
        is_at_home=_needs_below(facts, "/home", "/root", "/run/user"),
        is_in_tmp=_is_in_tmp(facts),
    )


def _held(facts: Facts) -> Sequence[TcpListen]:
    """
    Return the listeners whose sockets systemd can hold.

    Not those with sockets for each slot, which only the master can create, nor with a
    zone, which a unit writes in another way; nor any of a cluster with worker ports,
    whose interface is that of its first TCP listener.
    """
    settings = facts.settings
    if settings.worker_ports is not None:
        return ()
    return [
        spec
        for spec in settings.listeners
        if isinstance(spec, TcpListen)
        and spec.port
        and "%" not in spec.interface
        and (spec.dispatch or settings.dispatch) not in _OWN_SOCKETS
    ]


def _own_ports(facts: Facts, held: Sequence[TcpListen]) -> Iterator[int]:
    """Yield the ports that the service itself must bind."""
    addresses = [each.address for each in facts.listeners if each.spec not in held]
    yield from (each.port for each in (*addresses, *facts.private) if each.port)


def _flags(facts: Facts, held: Sequence[TcpListen]) -> Iterator[tuple[str, ...]]:
    settings = facts.settings
    yield from flags(settings, NOT_AS_FLAGS)
    for spec in settings.listeners:
        inherited = spec in held and SystemdListen(
            held.index(spec), dispatch=spec.dispatch, proxy=spec.proxy
        )
        yield "--listen", str(inherited or spec)
    if settings.working_folder is not None:
        yield "--working-folder", settings.working_folder
    elif facts.is_linked:
        # systemd resolves the link at the start; the master must follow it anew.
        yield "--working-folder", facts.working_folder
    if settings.workers != "auto":
        yield "--workers", str(len(facts.slots))


def _writable_folders(facts: Facts) -> Sequence[str]:
    """Return folders of the log and Unix sockets that the unit does not create."""
    label, settings = facts.label, facts.settings
    files = [spec.path for spec in settings.listeners if isinstance(spec, UnixListen)]
    if settings.access_log not in {None, "-"}:
        files.append(str(settings.access_log))
    own = [f"/run/{label}", f"/var/lib/{label}", f"/var/log/{label}"]
    if not _is_in_tmp(facts):
        own.append("/tmp")  # noqa: S108 - created by systemd
    folders = sorted({PurePath(facts.folder, path).parent for path in files})
    return [str(each) for each in folders if not any(map(each.is_relative_to, own))]


def _is_in_tmp(facts: Facts) -> bool:
    """Return whether PrivateTmp= would hide a folder that the service needs."""
    return _needs_below(facts, "/tmp", "/var/tmp")  # noqa: S108


def _needs_below(facts: Facts, *roots: str) -> bool:
    """Return whether the service needs a folder below one of the given roots."""
    needed = (facts.folder, facts.working_folder, facts.resolved_folder)
    folders = [PurePath(each) for each in (*needed, facts.programs)]
    return any(folder.is_relative_to(root) for folder in folders for root in roots)
