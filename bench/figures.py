"""What was measured, and what follows from it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.works import Target, Work


@dataclass(frozen=True)
class Sample:
    """
    What one turn has found.

    :param value: the figure itself.
    :param cpu: how much of its CPU the server used, of 1; None where that does not
        matter.
    """

    value: float
    cpu: float | None = None


@dataclass
class Figure:
    """
    What was found of one server at one work.

    :param samples: one a round.
    :param fault: why they mean nothing, if so.
    """

    samples: list[Sample] = field(default_factory=list)
    fault: str | None = None

    @property
    def value(self) -> float | None:
        """The median, unless the samples mean nothing."""
        return self._median(sample.value for sample in self.samples)

    @property
    def cpu(self) -> float | None:
        """How busy the server was, as a median."""
        return self._median(one.cpu for one in self.samples if one.cpu is not None)

    @property
    def value_by_cpu(self) -> float | None:
        """The median of what came of each second of the server's processor time."""
        return self._median(one.value / one.cpu for one in self.samples if one.cpu)

    def _median(self, values: Iterable[float]) -> float | None:
        found = [] if self.fault is not None else list(values)
        return median(found) if found else None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """
    One comparison of clusterapp with something else.

    :param work: the work's title.
    :param what: what is compared.
    :param reached: the figure; None where one that it needs is not there.
    :param by_cpu: the same, of each second of processor time.
    :param wanted: what was to be reached; None where nothing was.
    :param at_most: whether less is better.
    """

    work: str
    what: str
    reached: float | None
    by_cpu: float | None = None
    wanted: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether it was reached; None where that cannot be told."""
        if self.reached is None or self.wanted is None:
            return None
        if self.at_most:
            return self.reached <= self.wanted
        return self.reached >= self.wanted


def verdicts(
    work: Work, figures: Mapping[str, Figure], ours: str = "clusterapp"
) -> list[Verdict]:
    """
    Compare what one work has given with what was to be reached.

    :param figures: by the servers' names.
    :param ours: the one that is compared, with the targets and with those whose
        name is the same and has an ``@`` after it.
    """
    if ours not in figures:
        return []
    others = [name for name in figures if name.startswith(f"{ours}@")]
    found = [
        _against(work, ours, figures, target)
        for target in (*work.targets, *(Target((name,), None) for name in others))
    ]
    if work.at_most is not None:
        limit = Verdict(
            work=work.title,
            what=work.unit,
            reached=figures[ours].value,
            wanted=work.at_most,
            at_most=True,
        )
        found.insert(0, limit)
    return found


def best(values: Sequence[float | None]) -> float | None:
    """Take the highest; None if one is not known."""
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """Divide, where both are known."""
    return ours / theirs if ours is not None and theirs else None


def _against(
    work: Work, ours: str, figures: Mapping[str, Figure], target: Target
) -> Verdict:
    """Compare with the better of some servers."""
    mine = figures[ours]
    theirs = [figures.get(name, Figure()) for name in target.peers]
    return Verdict(
        work=work.title,
        what=f"over {_named(target.peers)}",
        reached=ratio(mine.value, best([one.value for one in theirs])),
        by_cpu=ratio(mine.value_by_cpu, best([one.value_by_cpu for one in theirs])),
        wanted=target.ratio,
        at_most=work.at_most is not None,
    )


def _named(peers: Sequence[str]) -> str:
    return peers[0] if len(peers) == 1 else f"the better of {' and '.join(peers)}"
