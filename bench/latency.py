"""
How long requests take at a fixed rate, four workers, also during a reload.

``python -m bench.latency`` finds what each server can do, and sends half of what the
slowest one can to each: alone, while clusterapp reloads, and beside idle connections.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from bench import idle, machine, program, report, wrk
from bench.errors import ServerError
from bench.fixed_rate import FixedRate, Latencies
from bench.measure import Plan, blaming, started, wait_until_ready
from bench.options import latency_parser
from bench.peers import OURS, PEERS, Ground, Peer
from bench.policies import PROCESSES, under
from bench.servers import Server
from bench.works import WORKS, Work

#: How many worker processes the peers have: as many as there are processors here.
_PEER_WORKERS = 2
_PEERS = ("granian", "uvicorn")

ALONE, RELOAD, IDLE = "alone", "one reload", "beside 1,000 idle connections"
_IDLE_CONNECTIONS = 1000
_PERCENTILES = (50, 99, 99.9)

#: What clusterapp is to reach: at most so many times the p99 of the first peer alone.
WANTED = {ALONE: 1.0, RELOAD: 2.0}


@dataclass(frozen=True)
class Finding:
    """
    The latencies of one server in one situation.

    :param name: the server's name.
    :param situation: what else happened.
    :param rounds: the percentiles of each round, in milliseconds.
    :param reopened: the requests that crossed the close of an idle connection.
    :param fault: why there are none, if so.
    """

    name: str
    situation: str
    rounds: tuple[tuple[float, ...], ...] = ()
    reopened: int = 0
    fault: str | None = None

    @property
    def percentiles(self) -> tuple[float, ...]:
        """The median of each percentile over the rounds."""
        return tuple(map(median, zip(*self.rounds, strict=True)))


def main(arguments: Sequence[str]) -> int:
    """Measure, report, and return the exit status."""
    parser = latency_parser("bench.latency", "Tell how long requests take.")
    return program.run(lambda: _run(parser.parse_args(arguments)))


def _run(options: argparse.Namespace) -> None:
    peers = [
        replace(under("shared", options.checkout), name=OURS),
        *(_in_processes(peer) for peer in PEERS if peer.name in _PEERS),
    ]
    about = program.about(
        options, [peer.name for peer in peers], {OURS: options.checkout}
    )
    cpus = machine.cpus_for(PROCESSES)
    with program.plan(options, peers, cpus) as divided:
        # The load is small: all processors serve, and one sends, too.
        plan = replace(divided, cpus=os.sched_getaffinity(0))
        rate = options.rate or _half_of_the_least(peers, plan)
        found = [each for peer in peers for each in measure(peer, plan, rate)]
    print(f"{report.listed({**about, 'rate': f'{rate:,.0f} requests/s'})}\n")
    print(f"{text(found)}\n\n{judgement(found)}")


def _in_processes(peer: Peer) -> Peer:
    """Return a peer with several worker processes."""

    def command(home: Path, work: Work, ground: Ground) -> list[str]:
        made = peer.command(home, work, ground)
        made[made.index("--workers") + 1] = str(_PEER_WORKERS)
        return made

    return replace(peer, command=command)


def work() -> Work:
    """Return the work: the JSON route, each request another."""
    [found] = [each for each in WORKS if each.name == "json"]
    return found


def _half_of_the_least(peers: Iterable[Peer], plan: Plan) -> float:
    """Return half of what the slowest server can do, in requests per second."""
    rates = []
    for peer in peers:
        with started(peer, work(), plan) as (server, ground), blaming(server):
            wait_until_ready(peer, server, ground.port)
            rates.append(wrk.run(work(), ground.port, plan.load, ground.folder).rate)
            plan.say(f"{peer.name}: {rates[-1]:,.0f} requests/s at most")
    return min(rates) / 2


def measure(peer: Peer, plan: Plan, rate: float) -> Iterable[Finding]:
    """Start a server, and send it requests at a rate in each situation."""
    situations: list[tuple[str, int, Callable[[Server], None] | None]] = [
        (ALONE, 0, None),
        (IDLE, _IDLE_CONNECTIONS, None),
    ]
    if peer.is_ours:
        # The last one: what it starts goes on when its requests are answered.
        situations.append((RELOAD, 0, _reload))
    try:
        with started(peer, work(), plan) as (server, ground), blaming(server):
            wait_until_ready(peer, server, ground.port)
            for situation, count, action in situations:
                with idle.held(work(), ground.port, count):
                    at_half = None if action is None else partial(action, server)
                    rounds = [
                        _load(ground.port, plan, rate, at_half)
                        for _ in range(plan.rounds)
                    ]
                yield _finding(peer.name, situation, rounds)
                plan.say(f"{peer.name}: {situation}")
    except ServerError as error:
        plan.say(f"{peer.name}: {error.reason}\n{error.output}".rstrip())
        yield Finding(peer.name, "", fault=error.reason)


def _reload(server: Server) -> None:
    os.kill(server.pid, signal.SIGHUP)


def _load(
    port: int, plan: Plan, rate: float, at_half: Callable[[], None] | None
) -> Latencies:
    with closing(FixedRate(port, work(), rate, plan.load.connections)) as load:
        return load.run(int(rate * plan.load.seconds), at_half)


def _finding(name: str, situation: str, rounds: Sequence[Latencies]) -> Finding:
    faults = [fault for each in rounds for fault in each.faults]
    if faults:
        return Finding(name, situation, fault=f"{len(faults)} faults: {faults[0]}")
    return Finding(
        name,
        situation,
        tuple(
            tuple(1000 * each.percentile(percent) for percent in _PERCENTILES)
            for each in rounds
        ),
        sum(each.reopened for each in rounds),
    )


def text(found: Iterable[Finding]) -> str:
    """Lay out what was found, a row for each situation."""
    titles = [f"p{percent:g}, ms" for percent in _PERCENTILES]
    head = ["server", "", *titles, "most of the last", "sent again"]
    return report.table(head, map(_row, found))


def _row(finding: Finding) -> list[str]:
    if finding.fault is not None:
        blanks = [""] * (len(_PERCENTILES) + 1)
        return [
            finding.name,
            finding.situation,
            report.invalid(finding.fault),
            *blanks,
        ]
    return [
        finding.name,
        finding.situation,
        *(f"{value:.2f}" for value in finding.percentiles),
        f"{max(each[-1] for each in finding.rounds):.2f}",
        str(finding.reopened),
    ]


def judgement(found: Iterable[Finding]) -> str:
    """Return the p99 of clusterapp beside that of the first peer alone."""
    p99 = {
        (each.name, each.situation): each.percentiles[1]
        for each in found
        if each.fault is None
    }
    rows = [_judged(p99, situation) for situation in WANTED]
    head = ["p99 of clusterapp", f"over {_PEERS[0]} alone", "target", "met"]
    return report.table(head, rows)


def _judged(p99: Mapping[tuple[str, str], float], situation: str) -> list[str]:
    ours, theirs = p99.get((OURS, situation)), p99.get((_PEERS[0], ALONE))
    wanted = WANTED[situation]
    if ours is None or theirs is None:
        return [situation, "-", f"at most {wanted:g}", ""]
    ratio = ours / theirs
    return [
        situation,
        f"{ratio:.2f}",
        f"at most {wanted:g}",
        report.MET[ratio <= wanted],
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
