"""
How evenly each policy distributes what 64 clients ask of four workers.

``python -m bench.fairness`` counts by what the answers say: each tells which slot has
given it, and on which connection.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import machine, program, report, tallies, wrk
from bench.errors import ServerError
from bench.measure import Plan, blaming, started, wait_until_ready
from bench.options import chosen_policies, policies_parser
from bench.peers import OURS, Ground, Peer
from bench.policies import PROCESSES, WORKERS, under
from bench.servers import HOST, Server
from bench.tallies import Tally
from bench.works import Work

_COUNTING = ("--script", str(Path(__file__).with_name("slots.lua")))

_WORK = Work(name="fairness", title="fairness", path="/slot", peers=())


@dataclass(frozen=True)
class Manner:
    """
    A way in which clients ask, and what is counted then.

    :param title: its name in the report.
    :param arguments: what wrk is told.
    :param counted: what is read of wrk's report, by its name in ours; each is told
        how many clients there were.
    """

    title: str
    arguments: Sequence[str]
    counted: Mapping[str, Callable[[str, int], Tally]]


@dataclass(frozen=True)
class Finding:
    """
    What was counted of one thing under one policy, in all rounds.

    :param policy: the policy.
    :param manner: how clients asked.
    :param what: what was counted.
    :param tallies: one a round.
    :param fault: why nothing could be counted, if so.
    """

    policy: str
    manner: str = ""
    what: str = ""
    tallies: tuple[Tally, ...] = ()
    fault: str | None = None

    @property
    def wanted(self) -> float | None:
        """The imbalance that is not to be surpassed; None where none is too much."""
        return WANTED.get((self.manner, self.what), {}).get(self.policy)

    @property
    def met(self) -> bool | None:
        """Whether it was not; None where nothing was wanted."""
        if self.wanted is None:
            return None
        return tallies.middle(self.tallies).imbalance <= self.wanted


EACH, KEPT = "connection per request", "keep-alive"
CONNECTIONS, REQUESTS = "connections", "requests"

MANNERS = (
    # Each request has a connection of its own, so that these are counted alike.
    Manner(EACH, wrk.ONE_REQUEST_EACH, {CONNECTIONS: tallies.requests}),
    Manner(KEPT, (), {CONNECTIONS: tallies.connections, REQUESTS: tallies.requests}),
)

_COUNTED_ALIKE = {"round-robin": 1.10, "least-connections": 1.10}

#: The largest imbalance of each policy. What is asked on a connection that is kept
#: is up to the client.
WANTED = {
    (EACH, CONNECTIONS): {**_COUNTED_ALIKE, "shared": 1.15, "reuseport": 1.15},
    (KEPT, CONNECTIONS): _COUNTED_ALIKE,
}


def main(arguments: Sequence[str]) -> int:
    """Measure, report, and return the exit status."""
    description = "Tell how evenly each policy distributes connections."
    parser = policies_parser("bench.fairness", description)
    return program.run(lambda: _run(parser.parse_args(arguments)))


def _run(options: argparse.Namespace) -> None:
    peers = [
        under(policy, options.checkout) for policy in chosen_policies(options.policies)
    ]
    about = program.about(options, [OURS], {OURS: options.checkout})
    with program.plan(options, peers, machine.cpus_for(PROCESSES)) as plan:
        found = [finding for peer in peers for finding in measure(peer, plan)]
    print(f"{report.listed(about)}\n\n{text(found)}")


def text(found: Sequence[Finding]) -> str:
    """Lay out what was found, a row for each thing that was counted."""
    slots = [f"slot {slot}" for slot in range(WORKERS)]
    head = ["policy", "counted", *slots, "largest over mean", "most", "target", "met"]
    return report.table(head, [_row(finding) for finding in found])


def _row(finding: Finding) -> list[str]:
    if finding.fault is not None:
        return [finding.policy, report.invalid(finding.fault), *[""] * (WORKERS + 4)]
    middle = tallies.middle(finding.tallies)
    return [
        finding.policy,
        f"{finding.manner}: {finding.what}",
        *(f"{count:,}" for count in middle.counts),
        f"{middle.imbalance:.2f}",
        f"{tallies.worst(finding.tallies).imbalance:.2f}",
        "" if finding.wanted is None else f"at most {finding.wanted:.2f}",
        report.MET[finding.met],
    ]


def measure(peer: Peer, plan: Plan) -> Iterator[Finding]:
    """Start a cluster and count; one that fails keeps none of the others from it."""
    try:
        with started(peer, _WORK, plan) as (server, ground), blaming(server):
            wait_until_ready(peer, server, ground.port)
            for manner in MANNERS:
                yield from _count(peer.name, manner, server, ground, plan)
    except ServerError as error:
        plan.say(f"{peer.name}: {error.reason}\n{error.output}".rstrip())
        yield Finding(peer.name, fault=error.reason)


def _count(
    policy: str, manner: Manner, server: Server, ground: Ground, plan: Plan
) -> Iterator[Finding]:
    printed = []
    for _ in range(plan.rounds):
        plan.say(f"{policy}: {manner.title}")
        place = f"{HOST}:{ground.port}{_WORK.path}"
        text = wrk.output(place, plan.load, [*_COUNTING, *manner.arguments])
        server.check()
        if faults := wrk.parse(text).faults:
            raise server.fault(", ".join(faults))
        printed.append(text)
    for what, read in manner.counted.items():
        counts = [read(text, plan.load.connections) for text in printed]
        yield Finding(policy, manner.title, what, tuple(counts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
