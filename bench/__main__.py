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
from bench.peers import PEERS, Peer, clusterapp
from bench.works import WORKS, Work

ROOT = Path(__file__).resolve().parents[1]
OURS = "clusterapp"


def main(arguments: Sequence[str]) -> int:
    """Run the bench, and return its exit status."""
    # A TERM ends servers as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _run(parser().parse_args(arguments))
    except BenchError as error:
        _say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        _say("bench: interrupted")
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Make what reads the command line."""
    made = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure clusterapp and its peers, one worker each.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    works = ",".join(work.name for work in WORKS)
    peers = ",".join((OURS, *(peer.name for peer in PEERS)))
    cache = Path("~/.cache").expanduser() / "clusterapp-bench"
    add = made.add_argument
    add("--works", default=works, help="what to measure, separated by commas")
    add("--peers", default=peers, help="which servers, separated by commas")
    add("--rounds", type=_positive, default=3, help="turns of each server")
    add("--seconds", type=_positive, default=4, help="length of a turn")
    add("--connections", type=_positive, default=32, help="how many wrk holds")
    add("--cache", type=Path, default=cache, help="where the peers are installed")
    add("--json", type=Path, metavar="FILE", help="write all figures to a file, too")
    add("--checkout", type=Path, default=ROOT, help="the clusterapp to measure")
    add(
        "--other-checkout",
        type=Path,
        action="append",
        default=[],
        help="one more, shown as clusterapp@FOLDER; may be given more than once",
    )
    return made


def chosen(wanted: str, known: Sequence[str], what: str) -> list[str]:
    """
    Read a list that is separated by commas.

    :raise BenchError: it names something that there is not.
    """
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        given = ", ".join(unknown) or "nothing"
        raise BenchError(f"{what}: {given} is not one of {', '.join(known)}")
    return names


def _run(options: argparse.Namespace) -> None:
    names = [work.name for work in WORKS]
    wanted = chosen(options.works, names, "--works")
    works = [work for work in WORKS if work.name in wanted]
    checkouts = _checkouts(options)
    peers = _peers(options, checkouts)
    find_program("wrk")
    cpus = _two_cpus()
    about = {
        "machine": machine.describe(),
        "rounds": f"{options.rounds} of {options.seconds} s each,"
        f" {options.connections} connections",
        **machine.versions([peer.name for peer in peers], checkouts),
    }
    results = _measure(options, works, peers, cpus)
    print(_text(about, works, results))
    if options.json is not None:
        document = {"about": about, "works": report.as_json(works, results)}
        options.json.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _measure(
    options: argparse.Namespace,
    works: Sequence[Work],
    peers: Sequence[Peer],
    cpus: tuple[int, int],
) -> report.Results:
    cache = Cache(options.cache.expanduser().absolute(), _say)
    homes = {peer.name: peer.install(cache) for peer in peers}
    with tempfile.TemporaryDirectory(prefix="clusterapp-bench-") as scratch:
        plan = Plan(
            rounds=options.rounds,
            load=wrk.Load(
                seconds=options.seconds, connections=options.connections, cpu=cpus[1]
            ),
            cpu=cpus[0],
            homes=homes,
            static=cache.static(),
            scratch=Path(scratch),
            say=_say,
        )
        return {work.name: measure(work, _able(work, peers), plan) for work in works}


def _checkouts(options: argparse.Namespace) -> dict[str, Path]:
    """Tell which checkouts are measured, by the name that each has here."""
    others = [path.expanduser().resolve() for path in options.other_checkout]
    found = {OURS: options.checkout.expanduser().resolve()}
    for path in others:
        name = f"{OURS}@{path.name}"
        if name in found:
            raise BenchError(f"--other-checkout: two folders are called {path.name}")
        found[name] = path
    return found


def _peers(options: argparse.Namespace, checkouts: dict[str, Path]) -> list[Peer]:
    names = chosen(options.peers, [OURS, *(peer.name for peer in PEERS)], "--peers")
    ours = [clusterapp(name, path) for name, path in checkouts.items()]
    return [*(ours if OURS in names else []), *(p for p in PEERS if p.name in names)]


def _able(work: Work, peers: Sequence[Peer]) -> list[Peer]:
    """Leave out who cannot do a work; clusterapp can do all."""
    return [
        peer
        for peer in peers
        if peer.name in work.peers or peer.name.partition("@")[0] == OURS
    ]


def _two_cpus() -> tuple[int, int]:
    """Take one CPU for the servers, one for wrk."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:  # noqa: PLR2004 - one for each side
        raise BenchError("two CPUs are needed, one for the servers and one for wrk")
    return cpus[0], cpus[1]


def _text(about: dict[str, str], works: Sequence[Work], results: report.Results) -> str:
    parts = ["\n".join(f"- {name}: {what}" for name, what in about.items())]
    parts += [report.details(work, results[work.name]) for work in works]
    parts += [report.overview(works, results), report.judgement(works, results)]
    return "\n\n".join(parts)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
