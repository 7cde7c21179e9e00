"""What was measured, and what follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.works import Work


@dataclass
class Figure:
    """
    What was found of one server at one work.

    :param samples: one number a round.
    :param busy: how much of its CPU the server used in each round, of 1.
    :param fault: why the samples mean nothing, if so.
    """

    samples: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    fault: str | None = None

    @property
    def value(self) -> float | None:
        """The median of the samples, unless they mean nothing."""
        if self.fault is not None or not self.samples:
            return None
        return median(self.samples)


@dataclass(frozen=True)
class Verdict:
    """
    One comparison that clusterapp is judged by.

    :param work: the work's title.
    :param over: what it is compared with.
    :param reached: the figure; None where one that it needs is not there.
    :param wanted: what was to be reached; None where nothing was.
    :param at_most: whether less is better.
    """

    work: str
    over: str
    reached: float | None
    wanted: float | None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether it was reached; None where that cannot be told."""
        if self.reached is None or self.wanted is None:
            return None
        if self.at_most:
            return self.reached <= self.wanted
        return self.reached >= self.wanted


def best(figures: Mapping[str, Figure], names: Sequence[str]) -> float | None:
    """Take the highest value of some servers; None if one of them has none."""
    values = [figures[name].value if name in figures else None for name in names]
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """Divide, where both are known."""
    return ours / theirs if ours is not None and theirs else None


def verdicts(
    work: Work, figures: Mapping[str, Figure], ours: str = "clusterapp"
) -> list[Verdict]:
    """Compare what one work has given with what was to be reached."""
    value = figures[ours].value if ours in figures else None
    found = [
        Verdict(
            work.title,
            _named(target.peers),
            ratio(value, best(figures, target.peers)),
            target.ratio,
        )
        for target in work.targets
    ]
    if work.at_most is not None:
        found.append(Verdict(work.title, work.unit, value, work.at_most, at_most=True))
    found += [
        Verdict(work.title, name, ratio(value, figure.value), None, bool(work.idle))
        for name, figure in figures.items()
        if name.startswith(f"{ours}@")
    ]
    return found


def _named(peers: Sequence[str]) -> str:
    return peers[0] if len(peers) == 1 else f"the better of {' and '.join(peers)}"
