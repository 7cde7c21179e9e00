"""Install the peers, measure, report."""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import machine, report, wrk
from bench.errors import BenchError
from bench.install import Cache, find_program
from bench.measure import Plan, measure
from bench.options import chosen_checkouts, chosen_peers, chosen_works, parser
from bench.peers import Peer
from bench.works import Work

_FAILED, _INTERRUPTED = 1, 130


def main(arguments: Sequence[str]) -> int:
    """Run the bench, and return its exit status."""
    # A TERM ends the servers as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(parser().parse_args(arguments))
    except BenchError as error:
        _say(f"bench: {error}")
        return _FAILED
    except KeyboardInterrupt:
        _say("bench: interrupted")
        return _INTERRUPTED
    return 0


def _run(options: argparse.Namespace) -> None:
    works = chosen_works(options.works)
    checkouts = chosen_checkouts(options.checkout, options.other_checkout)
    peers = chosen_peers(options.peers, checkouts)
    about = {
        "machine": machine.describe(),
        "rounds": f"{options.rounds} of {options.seconds} s for each server,"
        f" {options.connections} connections",
        **machine.versions([peer.name for peer in peers], checkouts),
    }
    if options.json is not None:
        _write(options.json, "")
    results = _measure(options, works, peers)
    print(report.text(about, works, results))
    if options.json is not None:
        _write(options.json, json.dumps(report.document(about, works, results)))


def _measure(
    options: argparse.Namespace, works: Sequence[Work], peers: Sequence[Peer]
) -> report.Results:
    server_cpu, client_cpu = _two_cpus()
    find_program("wrk")
    cache = Cache(options.cache, _say)
    with (
        cache.alone(),
        tempfile.TemporaryDirectory(prefix="clusterapp-bench-") as scratch,
    ):
        plan = Plan(
            rounds=options.rounds,
            load=wrk.Load(
                seconds=options.seconds, connections=options.connections, cpu=client_cpu
            ),
            cpu=server_cpu,
            homes={peer.name: peer.install(cache) for peer in peers},
            static=cache.static(),
            scratch=Path(scratch),
            say=_say,
        )
        return {work.name: measure(work, _able(work, peers), plan) for work in works}


def _able(work: Work, peers: Sequence[Peer]) -> list[Peer]:
    """Leave out who cannot do a work."""
    return [peer for peer in peers if peer.is_ours or peer.name in work.peers]


def _two_cpus() -> tuple[int, int]:
    """Take one CPU for the servers, one for wrk."""
    match sorted(os.sched_getaffinity(0)):
        case [server, client, *_]:
            return server, client
    raise BenchError("two CPUs are needed, one for the servers and one for wrk")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise BenchError(f"--json: {error}") from error


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
