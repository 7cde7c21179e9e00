"""The command-line parser of `clusterctl`."""

from argparse import (
    SUPPRESS,
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
)
from collections.abc import Sequence

from clusterapp import __version__
from clusterapp.settings.endpoint_syntax import decimal
from clusterapp.settings.listen import DISPATCHES

_EPILOG = """\
The control socket is found by itself if one cluster runs here. Otherwise name it
with --socket or CLUSTERAPP_CONTROL, or its state folder with --state or
CLUSTERAPP_STATE.

exit status:
  0  done; for status: the cluster is ready
  1  the operation failed; for status: the cluster is not ready
  2  the command line is wrong
  3  refused: another operation is under way, or it cannot be done
  4  no cluster was found, or several, or it cannot be reached
"""

#: The programs for which configurations can be exported.
PROGRAMS = ("nginx", "haproxy", "systemd", "compose", "kubernetes")

#: The commands, with their descriptions.
_COMMANDS = {
    "status": "show the cluster and its workers",
    "reload": "replace the workers, one after the other, by ones with new code",
    "upgrade": "replace the master and all that it runs",
    "scale": "change the number of workers",
    "dispatch": "distribute connections in another way",
    "restart": "replace the worker of one slot, or the core",
    "drain": "empty one slot, gracefully; it stays empty",
    "stacks": "show the Python stacks of one worker, of the core, or of all",
    "stop": "stop the cluster, gracefully",
    "config": "show the settings, and where each came from",
    "export": "write a configuration for another program, to stdout",
}


#: The word for the core: `clusterapp.operations.CORE`, which imports Twisted.
_CORE = "core"


def parse(argv: Sequence[str] | None) -> Namespace:
    """
    Parse a command line; an invalid one ends the program with status 2.

    :param argv: the arguments; those of this process by default.
    :return: the ``command`` and its arguments; ``socket``, ``state`` and ``as_json``
        are always set.
    """
    anywhere = _options_anywhere()
    parser = ArgumentParser(
        prog="clusterctl",
        description="Look at and steer a running cluster of clusterapp.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
        parents=[anywhere],
    )
    version = f"clusterctl {__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    for name, text in _COMMANDS.items():
        about = f"{text[0].upper()}{text[1:]}."
        command = commands.add_parser(
            name, help=text, description=about, parents=[anywhere]
        )
        _add_own(name, command)
    # As defaults of the parsers they would override options before the command.
    return parser.parse_args(argv, Namespace(socket=None, state=None, as_json=False))


def _add_own(name: str, command: ArgumentParser) -> None:
    """Add the arguments of one command."""
    match name:
        case "scale":
            command.add_argument(
                "workers", metavar="N", type=_workers, help="how many there are to be"
            )
            command.add_argument(
                "--force",
                action="store_true",
                help="even if that is more than 32 for each CPU",
            )
        case "dispatch":
            command.add_argument(
                "policy",
                metavar="POLICY",
                choices=DISPATCHES,
                help=", ".join(DISPATCHES),
            )
            command.add_argument(
                "--sticky",
                metavar="KEY",
                help="what clients are known by: client-ip, cookie[:NAME], header:NAME"
                " or query:NAME",
            )
            command.add_argument(
                "--listener", metavar="SPEC", help="the only listener that is meant"
            )
        case "drain":
            command.add_argument(
                "slot", metavar="SLOT", type=_slot, help="its number, from 0"
            )
        case "restart" | "stacks":
            command.add_argument(
                "slot",
                metavar="SLOT",
                type=_slot_or_core,
                nargs="?" if name == "stacks" else None,
                help="its number, from 0; or core",
            )
        case "export":
            command.add_argument("program", choices=PROGRAMS, help="what it is for")
        case "stop":
            command.add_argument(
                "--quick", action="store_true", help="break off what is not done"
            )


def _options_anywhere() -> ArgumentParser:
    """Return a parser of the options that are valid before and after a command."""
    options = ArgumentParser(add_help=False, argument_default=SUPPRESS)
    options.add_argument("--socket", metavar="PATH", help="the control socket")
    options.add_argument("--state", metavar="DIR", help="the state folder to look in")
    options.add_argument(
        "--json", dest="as_json", action="store_true", help="write JSON, for programs"
    )
    return options


def _slot_or_core(text: str) -> int | str:
    if text == _CORE:
        return text
    number = decimal(text)
    if number is None:
        raise ArgumentTypeError(f"must be the number of a slot, or core, not {text!r}")
    return number


def _slot(text: str) -> int:
    number = decimal(text)
    if number is None:
        raise ArgumentTypeError(f"must be the number of a slot, not {text!r}")
    return number


def _workers(text: str) -> int:
    number = decimal(text)
    if not number:
        raise ArgumentTypeError(f"must be a number from 1 up, not {text!r}")
    return number
