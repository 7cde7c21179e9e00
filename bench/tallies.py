"""How evenly slots were used, as figures."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.policies import WORKERS

# What bench/slots.lua prints: the answer, which is a slot and the client's port, and
# how often it came.
_ANSWER = re.compile(r"^answer (\d+) (\d+) (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Tally:
    """
    What each slot had in one run.

    :param counts: by the slot's number, from 0.
    """

    counts: tuple[int, ...]

    @property
    def imbalance(self) -> float:
        """The largest over the mean: 1 where all are the same."""
        return max(self.counts) * len(self.counts) / max(sum(self.counts), 1)


def requests(text: str, _clients: int) -> Tally:
    """Read how many requests each slot answered."""
    counts: Counter[int] = Counter()
    for slot, _, count in _ANSWER.findall(text):
        counts[int(slot)] += int(count)
    return _tally(counts)


def connections(text: str, clients: int) -> Tally:
    """
    Read how many clients each slot had, whose connections have different ports.

    :param clients: how many there were; what they opened later is not counted.
    """
    first = _ANSWER.findall(text)[:clients]
    return _tally(Counter(int(slot) for slot, _, _ in first))


def middle(tallies: Sequence[Tally]) -> Tally:
    """Take the run whose imbalance is the median; of two, the worse."""
    ordered = sorted(tallies, key=lambda counters: counters.imbalance)
    return ordered[len(ordered) // 2]


def worst(tallies: Sequence[Tally]) -> Tally:
    """Take the run whose imbalance is the largest."""
    return max(tallies, key=lambda counters: counters.imbalance)


def _tally(counts: Counter[int]) -> Tally:
    slots = max([WORKERS, *(slot + 1 for slot in counts)])
    return Tally(tuple(counts[slot] for slot in range(slots)))
