"""What a user may choose on the command line."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.peers import OURS, PEERS, Peer, clusterapp
from bench.policies import POLICIES
from bench.works import WORKS, Work

_ROOT = Path(__file__).resolve().parents[1]
_CACHE = "~/.cache/clusterapp-bench"


def parser() -> argparse.ArgumentParser:
    """Make what reads the command line."""
    made = _parser("bench", "Measure clusterapp beside its peers, one worker each.")
    works = ",".join(work.name for work in WORKS)
    peers = ",".join((OURS, *(peer.name for peer in PEERS)))
    add = made.add_argument
    add("--works", default=works, help="what to measure, separated by commas")
    add("--peers", default=peers, help="which servers, separated by commas")
    _add_turns(made, connections=32)
    add("--json", type=Path, metavar="FILE", help="write all figures to a file, too")
    add(
        "--other-checkout",
        type=_folder,
        action="append",
        default=[],
        help="one more, shown as clusterapp@FOLDER; may be given more than once",
    )
    return made


def policies_parser(command: str, description: str) -> argparse.ArgumentParser:
    """
    Make what reads the command line of a command that compares policies.

    :param command: its module.
    """
    made = _parser(command, description)
    made.add_argument(
        "--policies", default=",".join(POLICIES), help="which, separated by commas"
    )
    _add_turns(made, connections=64)
    return made


def latency_parser(command: str, description: str) -> argparse.ArgumentParser:
    """
    Make what reads the command line of the command that measures latencies.

    :param command: its module.
    """
    made = _parser(command, description)
    made.add_argument(
        "--rate",
        type=_positive,
        help="requests per second; by default half of what the slowest server can do",
    )
    _add_turns(made, connections=64)
    return made


def chosen_policies(wanted: str) -> list[str]:
    """
    Find the policies that are named, in our order.

    :raise BenchError: there is no such policy.
    """
    names = chosen(wanted, POLICIES, "--policies")
    return [policy for policy in POLICIES if policy in names]


def chosen_works(wanted: str) -> list[Work]:
    """
    Find the works that are named, in our order.

    :raise BenchError: there is no such work.
    """
    names = chosen(wanted, [work.name for work in WORKS], "--works")
    return [work for work in WORKS if work.name in names]


def chosen_peers(wanted: str, checkouts: dict[str, Path]) -> list[Peer]:
    """
    Find the servers that are named, in our order, clusterapp's checkouts first.

    :raise BenchError: there is no such server.
    """
    names = chosen(wanted, [OURS, *(peer.name for peer in PEERS)], "--peers")
    ours = [clusterapp(name, path) for name, path in checkouts.items()]
    return [
        *(ours if OURS in names else []),
        *(peer for peer in PEERS if peer.name in names),
    ]


def chosen_checkouts(first: Path, others: Sequence[Path]) -> dict[str, Path]:
    """
    Name the checkouts of clusterapp that are measured.

    :raise BenchError: two would have the same name.
    """
    found = {OURS: first}
    for path in others:
        name = f"{OURS}@{path.name}"
        if name in found:
            raise BenchError(f"--other-checkout: two folders are called {path.name}")
        found[name] = path
    return found


def chosen(wanted: str, known: Sequence[str], flag: str) -> list[str]:
    """
    Read a list that is separated by commas.

    :raise BenchError: it names something that there is not, or nothing at all.
    """
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        given = ", ".join(unknown) or "nothing"
        raise BenchError(f"{flag}: {given} is not one of {', '.join(known)}")
    return names


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"python -m {command}",
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )


def _add_turns(made: argparse.ArgumentParser, connections: int) -> None:
    add = made.add_argument
    add("--rounds", type=_positive, default=3, help="turns of each server")
    add("--seconds", type=_positive, default=4, help="length of a turn")
    add("--connections", type=_positive, default=connections, help="how many wrk holds")
    add("--cache", type=_folder, default=_CACHE, help="where the peers are installed")
    add("--checkout", type=_folder, default=_ROOT, help="the clusterapp to measure")


def _folder(text: str) -> Path:
    return Path(text).expanduser().resolve()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number
