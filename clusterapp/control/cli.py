"""The entry point of ``clusterctl``: from a command line to an exit status."""

import os
import pwd
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from clusterapp.control.arguments import parse
from clusterapp.control.cli_output import CommandOutput
from clusterapp.control.control_client import Client
from clusterapp.control.discovery import find
from clusterapp.control.views import config_text, stacks_text, status_text
from clusterapp.errors import ClusterError

#: The exit status of an interrupted command: 128 and SIGINT.
_BROKEN_OFF = 130

#: The timeout, in seconds, for the stacks of all workers; the master waits for one that
#: hangs.
_STACKS_TIMEOUT = 60.0


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a command.

    :param argv: its arguments; those of this process by default.
    :return: the exit status.
    """
    arguments = parse(argv)
    out = CommandOutput(sys.stdout, sys.stderr, as_json=arguments.as_json)
    try:
        status = _run(arguments, out)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _BROKEN_OFF
    except BrokenPipeError:
        # Python's shutdown would write the buffered output again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_OFF
    return status


def _run(arguments: Namespace, out: CommandOutput) -> int:
    try:
        path = find(arguments.socket, arguments.state, os.environ, out.warn)
        done = _COMMANDS[arguments.command](Client(path), arguments, out)
    except ClusterError as error:
        out.error(error)
        return error.exit_status
    return 0 if done else 1


# The commands; each returns whether it has succeeded.


def _status(client: Client, _: Namespace, out: CommandOutput) -> bool:
    status = client.get("/status")
    out.show(status, status_text)
    return bool(status.get("ready"))


def _config(client: Client, _: Namespace, out: CommandOutput) -> bool:
    out.show(client.get("/config"), lambda config, _: config_text(config))
    return True


def _export(client: Client, arguments: Namespace, out: CommandOutput) -> bool:
    # Imported here, so that other commands start faster.
    from clusterapp.control.exports import EXPORTS  # noqa: PLC0415
    from clusterapp.control.exports.export_warnings import (  # noqa: PLC0415
        export_warnings,
    )
    from clusterapp.control.exports.facts import Facts, HostFacts  # noqa: PLC0415

    here = HostFacts(str(Path(sys.executable).parent), _owner(client.path))
    facts = Facts.read(client.get("/config"), client.get("/status"), here)
    out.show(EXPORTS[arguments.program](facts), lambda text, _: text)
    for warning in export_warnings(arguments.program, facts):
        out.warn(warning)
    return True


def _stacks(client: Client, arguments: Namespace, out: CommandOutput) -> bool:
    slot = arguments.slot
    target = "/stacks" if slot is None else f"/slots/{slot}/stacks"
    out.show(client.post(target, _STACKS_TIMEOUT), stacks_text)
    return True


def _reload(client: Client, _: Namespace, out: CommandOutput) -> bool:
    return out.verdict(client.follow("/reload", out.step))


def _upgrade(client: Client, _: Namespace, out: CommandOutput) -> bool:
    return out.verdict(client.follow("/upgrade", out.step))


def _scale(client: Client, arguments: Namespace, out: CommandOutput) -> bool:
    wanted = {"workers": arguments.workers}
    if arguments.force:
        wanted["force"] = True
    return out.verdict(client.follow("/scale", out.step, wanted))


def _dispatch(client: Client, arguments: Namespace, out: CommandOutput) -> bool:
    wanted = {
        "policy": arguments.policy,
        "sticky": arguments.sticky,
        "listener": arguments.listener,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    return out.verdict(client.follow("/dispatch", out.step, given))


def _restart(client: Client, arguments: Namespace, out: CommandOutput) -> bool:
    target = f"/slots/{arguments.slot}/restart"
    return out.verdict(client.follow(target, out.step))


def _drain(client: Client, arguments: Namespace, out: CommandOutput) -> bool:
    target = f"/slots/{arguments.slot}/drain"
    return out.verdict(client.follow(target, out.step))


def _stop(client: Client, arguments: Namespace, out: CommandOutput) -> bool:
    wanted = {"quick": arguments.quick}
    return out.verdict(client.follow("/stop", out.step, wanted))


def _owner(path: str) -> str:
    """Return the name of a file's owner; the user id if there is no name."""
    number = Path(path).stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


_COMMANDS: Mapping[str, Callable[[Client, Namespace, CommandOutput], bool]] = {
    "status": _status,
    "reload": _reload,
    "upgrade": _upgrade,
    "scale": _scale,
    "dispatch": _dispatch,
    "restart": _restart,
    "drain": _drain,
    "stacks": _stacks,
    "stop": _stop,
    "config": _config,
    "export": _export,
}
