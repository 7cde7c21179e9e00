"""
What each policy costs, in requests that have a connection of their own.

``python -m bench.handoff`` compares clusterapp's policies with each other and with
Node's cluster, in the same rounds, four workers each.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench import machine, program, report
from bench.figures import Figure, verdicts
from bench.measure import measure
from bench.options import chosen_policies, policies_parser
from bench.peers import OURS
from bench.policies import NODES, POLICIES, PROCESSES, node, under
from bench.works import WORKS, Target, Work

#: The policy that the others are compared with.
_FIRST = "shared"

#: What each policy is to reach, beside that one and beside the better of Node's two.
_WANTED = {"round-robin": (0.8, 1.0)}


def main(arguments: Sequence[str]) -> int:
    """Measure, report, and return the exit status."""
    description = "Tell what each policy costs, beside Node's cluster."
    parser = policies_parser("bench.handoff", description)
    return program.run(lambda: _run(parser.parse_args(arguments)))


def _run(options: argparse.Namespace) -> None:
    policies = chosen_policies(options.policies)
    peers = [
        *(under(policy, options.checkout) for policy in policies),
        *(node(name) for name in NODES),
    ]
    about = program.about(options, [OURS, "express"], {OURS: options.checkout})
    work = connections()
    with program.plan(options, peers, machine.cpus_for(PROCESSES)) as plan:
        figures = measure(work, peers, plan)
    parts = report.listed(about), report.details(work, figures), judgement(figures)
    print("\n\n".join(parts))


def connections() -> Work:
    """Return the work, without what one worker is to reach."""
    [work] = [one for one in WORKS if one.name == "connections"]
    return replace(work, targets=())


def judgement(figures: Mapping[str, Figure]) -> str:
    """
    Return how each policy compares.

    :param figures: by the names of the policies and of Node's servers.
    """
    found = [
        verdict
        for policy in POLICIES
        for verdict in verdicts(_to_reach(policy), figures, policy)
    ]
    return report.compared("policy", found)


def _to_reach(policy: str) -> Work:
    first, nodes = _WANTED.get(policy, (None, None))
    targets = [Target(NODES, nodes)]
    if policy != _FIRST:
        targets.insert(0, Target((_FIRST,), first))
    return replace(connections(), title=policy, targets=tuple(targets))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
