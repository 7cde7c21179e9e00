"""Install the peers, measure, report."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import machine, program, report
from bench.errors import BenchError
from bench.measure import measure
from bench.options import chosen_checkouts, chosen_peers, chosen_works, parser
from bench.peers import Peer
from bench.works import Work


def main(arguments: Sequence[str]) -> int:
    """Run the bench, and return its exit status."""
    return program.run(lambda: _run(parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> None:
    works = chosen_works(options.works)
    checkouts = chosen_checkouts(options.checkout, options.other_checkout)
    peers = chosen_peers(options.peers, checkouts)
    about = program.about(options, [peer.name for peer in peers], checkouts)
    if options.json is not None:
        _write(options.json, "")
    with program.plan(options, peers, machine.cpus_for(1)) as plan:
        results = {work.name: measure(work, _able(work, peers), plan) for work in works}
    print(report.text(about, works, results))
    if options.json is not None:
        _write(options.json, json.dumps(report.document(about, works, results)))


def _able(work: Work, peers: Sequence[Peer]) -> list[Peer]:
    """Return the servers that can do a work."""
    return [peer for peer in peers if peer.is_ours or peer.name in work.peers]


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise BenchError(f"--json: {error}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
