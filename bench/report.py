"""The report: tables that can stand in a README as they are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from bench.figures import Figure, Verdict, verdicts
from bench.works import Work

#: What was measured: by the work's name, then by the server's.
Results = Mapping[str, Mapping[str, Figure]]

#: How it is told whether a target was met; nothing where that cannot be known.
MET = {True: "yes", False: "no", None: ""}

_UNKNOWN = "-"


def text(about: Mapping[str, str], works: Sequence[Work], results: Results) -> str:
    """
    Tell everything, in Markdown.

    :param about: the machine and the versions, by what they are of.
    """
    parts = [listed(about)]
    parts += [details(work, results[work.name]) for work in works]
    parts += [overview(works, results), judgement(works, results)]
    return "\n\n".join(part for part in parts if part)


def listed(about: Mapping[str, str]) -> str:
    """Return the facts, one a line."""
    return "\n".join(f"- {name}: {what}" for name, what in about.items())


def details(work: Work, figures: Mapping[str, Figure]) -> str:
    """Return all about one work: medians, spread, and how busy each server was."""
    head = [work.title, work.unit, "least", "most", "CPU", "by CPU second"]
    rows = [[name, *_detail(work, figure)] for name, figure in figures.items()]
    return table(head, rows)


def overview(works: Sequence[Work], results: Results) -> str:
    """Return the medians of all, a row for each work and a column for each server."""
    names = list(dict.fromkeys(name for work in works for name in results[work.name]))
    rows = [
        [f"{work.title}, {work.unit}", *_medians(work, results[work.name], names)]
        for work in works
    ]
    return table(["median", *names], rows)


def judgement(works: Sequence[Work], results: Results) -> str:
    """Return how clusterapp compares, with what was to be reached beside it."""
    found = [one for work in works for one in verdicts(work, results[work.name])]
    return compared("clusterapp", found) if found else ""


def compared(whose: str, found: Iterable[Verdict]) -> str:
    """Return the ratios, each beside its target."""
    head = [whose, "ratio", "target", "met", "ratio by CPU second"]
    return table(head, [[f"{one.work}, {one.what}", *_judged(one)] for one in found])


def document(
    about: Mapping[str, str], works: Sequence[Work], results: Results
) -> dict[str, object]:
    """Return everything, with every sample, in types that JSON has."""
    return {
        "about": dict(about),
        "works": {work.name: _figures(work, results[work.name]) for work in works},
        "verdicts": [
            {**asdict(one), "met": one.met}
            for work in works
            for one in verdicts(work, results[work.name])
        ],
    }


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table, all columns but the first aligned to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def invalid(fault: str) -> str:
    """Return why there is no figure, so that it fits into a table."""
    return f"invalid: {fault}".replace("|", "\\|")


def _figures(work: Work, figures: Mapping[str, Figure]) -> dict[str, object]:
    return {
        name: {"unit": work.unit, "median": figure.value, **asdict(figure)}
        for name, figure in figures.items()
    }


def _detail(work: Work, figure: Figure) -> list[str]:
    if figure.fault is not None:
        return [invalid(figure.fault), *[""] * 4]
    values = [sample.value for sample in figure.samples]
    return [
        _number(work, figure.value),
        _number(work, min(values, default=None)),
        _number(work, max(values, default=None)),
        "" if figure.cpu is None else f"{figure.cpu:.0%}",
        "" if figure.cpu is None else _number(work, figure.value_by_cpu),
    ]


def _medians(
    work: Work, figures: Mapping[str, Figure], names: Sequence[str]
) -> list[str]:
    return [
        _number(work, figures[name].value) if name in figures else "" for name in names
    ]


def _judged(one: Verdict) -> list[str]:
    bound = "at most" if one.at_most else "at least"
    return [
        _UNKNOWN if one.reached is None else f"{one.reached:.2f}",
        "" if one.wanted is None else f"{bound} {one.wanted:g}",
        MET[one.met],
        "" if one.by_cpu is None else f"{one.by_cpu:.2f}",
    ]


def _number(work: Work, value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    return f"{value:,.1f}" if work.idle else f"{value:,.0f}"
