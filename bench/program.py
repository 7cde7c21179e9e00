"""What the bench's commands have in common: how they begin, and how they end."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench import machine, wrk
from bench.errors import BenchError
from bench.install import Cache, find_program
from bench.measure import Plan
from bench.peers import Peer

_FAILED, _INTERRUPTED = 1, 130


def run(body: Callable[[], None]) -> int:
    """Do what a command does, and return its exit status."""
    # A TERM ends the servers as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        body()
    except BenchError as error:
        say(f"bench: {error}")
        return _FAILED
    except KeyboardInterrupt:
        say("bench: interrupted")
        return _INTERRUPTED
    return 0


@contextmanager
def plan(
    options: argparse.Namespace, peers: Sequence[Peer], cpus: machine.Cpus
) -> Iterator[Plan]:
    """
    Install what takes part, and keep other benches out while it is measured.

    :raise BenchError: something is missing, or cannot be installed.
    """
    find_program("wrk")
    cache = Cache(options.cache, say)
    with (
        cache.alone(),
        tempfile.TemporaryDirectory(prefix="clusterapp-bench-") as scratch,
    ):
        yield Plan(
            rounds=options.rounds,
            load=wrk.Load(
                seconds=options.seconds,
                connections=options.connections,
                cpu=cpus.client,
            ),
            cpus=cpus.servers,
            homes={peer.name: peer.install(cache) for peer in peers},
            static=cache.static(),
            scratch=Path(scratch),
            say=say,
        )


def about(
    options: argparse.Namespace, names: Iterable[str], checkouts: dict[str, Path]
) -> dict[str, str]:
    """
    Return where, how and with what is measured.

    :param names: the names of those that take part.
    :param checkouts: the folders of those of them that are clusterapp.
    """
    return {
        "machine": machine.describe(),
        "rounds": f"{options.rounds} of {options.seconds} s for each server,"
        f" {options.connections} connections",
        **machine.versions(names, checkouts),
    }


def say(what: str) -> None:
    """Write the progress to standard error."""
    print(what, file=sys.stderr, flush=True)
