"""The report: tables that can stand in a README as they are."""

from collections.abc import Iterable, Mapping, Sequence

from bench.figures import Figure, Verdict, verdicts
from bench.works import Work

#: What was measured: by the work's name, then by the server's.
Results = Mapping[str, Mapping[str, Figure]]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table, all columns but the first aligned to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def details(work: Work, figures: Mapping[str, Figure]) -> str:
    """Tell all about one work: medians, spread, and how busy each server was."""
    head = [work.title, work.unit, "least", "most", "CPU"]
    rows = [[name, *_detail(work, figure)] for name, figure in figures.items()]
    return table(head, rows)


def overview(works: Sequence[Work], results: Results) -> str:
    """Tell the medians of all, a row for each work and a column for each server."""
    names = list(dict.fromkeys(name for work in works for name in results[work.name]))
    rows = [
        [f"{work.title}, {work.unit}", *_medians(work, results[work.name], names)]
        for work in works
    ]
    return table(["median", *names], rows)


def judgement(works: Sequence[Work], results: Results) -> str:
    """Tell how clusterapp compares, with what was to be reached beside it."""
    found = [one for work in works for one in verdicts(work, results[work.name])]
    rows = [[one.work, one.over, *_judged(one)] for one in found]
    return table(["clusterapp", "over", "ratio", "target", "met"], rows)


def as_json(works: Sequence[Work], results: Results) -> dict[str, object]:
    """Give everything that was measured, in types that JSON has."""
    return {
        work.name: {
            name: {
                "unit": work.unit,
                "median": figure.value,
                "samples": figure.samples,
                "busy": figure.busy,
                "fault": figure.fault,
            }
            for name, figure in results[work.name].items()
        }
        for work in works
    }


def _detail(work: Work, figure: Figure) -> list[str]:
    if figure.fault is not None:
        return ["invalid", "", "", figure.fault.replace("|", "\\|")]
    busy = max(figure.busy, default=None)
    return [
        _number(work, figure.value),
        _number(work, min(figure.samples, default=None)),
        _number(work, max(figure.samples, default=None)),
        "" if busy is None else f"{busy:.0%}",
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
        "-" if one.reached is None else f"{one.reached:.2f}",
        "" if one.wanted is None else f"{bound} {one.wanted:g}",
        {True: "yes", False: "no", None: ""}[one.met],
    ]


def _number(work: Work, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f}" if work.idle or value < 100 else f"{value:,.0f}"  # noqa: PLR2004 - three digits are enough
