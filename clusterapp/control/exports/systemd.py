"""The unit of a service, and that of its sockets; deploy/ has them with comments."""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from clusterapp.control.exports.facts import Facts
from clusterapp.control.exports.words import flags, one_line, stop_time
from clusterapp.settings.listen import ALL_INTERFACES, TcpListen, UnixListen

#: Seconds that a start may take beyond the boot timeout.
_START_SPARE = 30

#: Distributions for which the master must have made the socket itself.
_OWN_SOCKETS = frozenset({"reuseport", "sticky"})

_SERVICE = """\
# /etc/systemd/system/{name}.service
#
# {app} under systemd, written by: clusterctl export systemd
# The flags are those settings of the running cluster that are not as by default.

[Unit]
Description={app} on clusterapp
{requires}After={after}

[Service]
Type=notify
NotifyAccess=main
ExecStart={start}
ExecReload={reload}

{user}WorkingDirectory={folder}
Environment=CLUSTERAPP_STATE=%t/{name}

# TERM is for the master, who tells its workers; KILL is for all that is left then.
KillMode=mixed
# More than --drain-delay and --graceful-timeout together.
TimeoutStopSec={stop}
# More than --boot-timeout.
TimeoutStartSec={boot}
WatchdogSec=30
Restart=on-failure
RestartSec=1
# Wrong settings (1) and an application that cannot be loaded (4) stay so.
RestartPreventExitStatus=1 4
# Each connection is a descriptor.
LimitNOFILE=65536

# Nothing can be written but the folders of the next lines, and a /tmp of its own.
ProtectSystem=strict
RuntimeDirectory={name}
RuntimeDirectoryMode=0700
StateDirectory={name}
LogsDirectory={name}
{writable}PrivateTmp=yes
UMask=0027

NoNewPrivileges=yes
CapabilityBoundingSet={rights}
{ambient}LockPersonality=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome={home}
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

_SOCKET = """
# /etc/systemd/system/{name}.socket

[Unit]
Description=Public socket of {app}

[Socket]
{listen}
Backlog=2048

[Install]
WantedBy=sockets.target
"""

#: The first port that anybody may bind.
_FIRST_FREE_PORT = 1024


def systemd(facts: Facts) -> str:
    """
    Write the unit of a service, followed by that of its sockets if it can have some.

    :raise ExportError: if a setting cannot be written into a unit.
    """
    label, settings = facts.label, facts.settings
    held = _held(facts)
    needs_rights = any(port < _FIRST_FREE_PORT for port in _own_ports(facts))
    right = "CAP_NET_BIND_SERVICE" if needs_rights else ""
    service = _SERVICE.format(
        name=label,
        app=one_line(facts.app),
        requires=f"Requires={label}.socket\n" if held else "",
        after=f"{label}.socket network.target" if held else "network.target",
        start=_command(facts, held),
        reload=_words(f"{facts.programs}/clusterctl", "reload"),
        user=_user(facts),
        folder=_escaped(facts.folder),
        writable=_writable(facts),
        stop=int(stop_time(settings)) + 1,
        boot=int(settings.boot_timeout) + _START_SPARE,
        rights=right,
        ambient=f"AmbientCapabilities={right}\n" if right else "",
        home="read-only" if _is_at_home(facts) else "yes",
    )
    if not held:
        return service
    listen = "\n".join(map(_stream, held))
    return service + _SOCKET.format(name=label, app=one_line(facts.app), listen=listen)


def _held(facts: Facts) -> Sequence[TcpListen]:
    """
    Tell which listeners systemd can hold the sockets of.

    Not those with sockets for each slot, which only the master can make; nor any of
    a cluster with ports of workers, whose place is that of its first TCP listener.
    """
    settings = facts.settings
    if settings.worker_ports is not None:
        return ()
    return [
        spec
        for spec in settings.listeners
        if isinstance(spec, TcpListen)
        and spec.port
        and (spec.dispatch or settings.dispatch) not in _OWN_SOCKETS
    ]


def _own_ports(facts: Facts) -> Iterator[int]:
    """Give the ports that the service must bind itself."""
    held = _held(facts)
    for listener in facts.listeners:
        if listener.spec not in held and listener.place.port is not None:
            yield listener.place.port
    yield from (place.port for place in facts.workers.values() if place.port)
    if facts.agent is not None and facts.agent.port is not None:
        yield facts.agent.port


def _command(facts: Facts, held: Sequence[TcpListen]) -> str:
    lines = [_words(facts.twistd, "-n", "--pidfile=", "clusterapp")]
    lines += (_words(*flag) for flag in flags(facts.settings, _OTHERWISE))
    lines += (_words("--listen", spec) for spec in _listeners(facts, held))
    if facts.settings.working_folder is not None:
        lines.append(_words("--working-folder", facts.settings.working_folder))
    elif facts.is_linked:
        # systemd goes to where the link leads; the master is to follow it anew.
        lines.append(_words("--working-folder", facts.working_folder))
    if facts.settings.workers != "auto":
        lines.append(_words("--workers", str(len(facts.slots))))
    return " \\\n    ".join(lines)


#: Settings that are written in another way here.
_OTHERWISE = frozenset({"listen", "workers", "state", "control", "working_folder"})


def _listeners(facts: Facts, held: Sequence[TcpListen]) -> Iterator[str]:
    for spec in facts.settings.listeners:
        if spec in held:
            dispatch = "" if spec.dispatch is None else f":dispatch={spec.dispatch}"
            proxy = "" if spec.proxy is None else f":proxy={spec.proxy}"
            # The sockets of a unit are numbered in its order (sd_listen_fds(3)).
            yield f"systemd:{held.index(spec)}{dispatch}{proxy}"
        else:
            yield str(spec)


def _stream(spec: TcpListen) -> str:
    host = f"[{spec.interface}]" if ":" in spec.interface else spec.interface
    narrow = "" if spec.interface == ALL_INTERFACES else f"{host}:"
    return f"ListenStream={narrow}{spec.port}"


def _user(facts: Facts) -> str:
    user = one_line(facts.surroundings.user)
    if user == "root":
        return (
            "# It runs as root now. Better make a user for it, and name it in User=.\n"
        )
    return f"User={user}\n"


def _writable(facts: Facts) -> str:
    """Let the service write where its log is, and make its Unix sockets there."""
    label, log = facts.label, facts.settings.access_log
    files = [] if log in {None, "-"} else [str(log)]
    files += [
        spec.path for spec in facts.settings.listeners if isinstance(spec, UnixListen)
    ]
    folders = {PurePath(facts.folder, path).parent for path in files}
    own = (f"/run/{label}", f"/var/lib/{label}", f"/var/log/{label}", "/tmp")  # noqa: S108
    lines = [
        f'ReadWritePaths="{_escaped(str(folder))}"\n'
        for folder in sorted(folders)
        if not any(folder.is_relative_to(each) for each in own)
    ]
    return "".join(lines)


def _is_at_home(facts: Facts) -> bool:
    """Tell whether what it needs is below a folder that ProtectHome= would hide."""
    needed = "\n".join(
        (
            *(facts.folder, facts.working_folder, facts.resolved_folder),
            facts.programs,
        )
    )
    return re.search(r"(?m)^/(?:home|root|run/user)(?:/|$)", needed) is not None


def _words(*words: str) -> str:
    """Write the words of a command (systemd.service(5), "COMMAND LINES")."""
    return " ".join(map(_word, words))


def _word(text: str) -> str:
    escaped = _escaped(text).replace("$", "$$")
    if re.fullmatch(r"[\w./:@%+,=$*-]+", escaped):
        return escaped
    backslashed = escaped.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{backslashed}"'


def _escaped(text: str) -> str:
    """Keep what looks like a specifier from being one (systemd.unit(5))."""
    return one_line(text).replace("%", "%%")
