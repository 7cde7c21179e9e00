"""The text output of `clusterctl` for people: pure, a document in and text out."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from clusterapp.printable import printable
from clusterapp.settings.model import OPTIONS
from clusterapp.settings.print_config import aligned_rows
from clusterapp.wording import counted

#: The placeholder for an unknown figure.
UNKNOWN = "-"

_STYLES = {"good": "32", "warn": "33", "bad": "31", "soft": "2", "strong": "1"}

#: The styles of the states of a worker, of the core and of the cluster.
_LOOKS = {
    "running": "good",
    "in master": "good",
    "ready": "good",
    "remote": "good",
    "starting": "warn",
    "draining": "warn",
    "stopping": "warn",
    "backoff": "bad",
    "fatal": "bad",
    "not ready": "bad",
    "stopped": "soft",
}

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_MEBIBYTE = 1024**2

#: From this value on a figure has no decimals.
_LARGE = 1000

#: Returns text in a style; unchanged if the output is not a terminal.
Paint = Callable[[str, str], str]


def coloured(text: str, style: str) -> str:
    """Return text in a style (ECMA-48, SGR)."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style else text


def plain(text: str, style: str) -> str:  # noqa: ARG001 - as `coloured`
    """Return text unchanged."""
    return text


def status_text(status: Mapping[str, Any], paint: Paint) -> str:
    """Return the state of a cluster, with a line for each of its workers."""
    return _header(status, paint) + "\n" + _workers(status, paint)


def step_text(step: Mapping[str, Any]) -> str:
    """Return the text of a step of an operation."""
    slot, text = step.get("slot"), printable(str(step.get("step", "")))
    return text if slot is None else f"{_process_name(slot)}: {text}"


def verdict_text(verdict: Mapping[str, Any], paint: Paint) -> str:
    """Return the text of a verdict, without its traceback."""
    text = printable(str(verdict.get("text", "")))
    mark = paint("done", "good") if verdict.get("ok") else paint("failed", "bad")
    return f"{mark}: {text}" if text else mark


def stacks_text(stacks: Mapping[str, str], paint: Paint) -> str:
    """Return the stacks of processes, each below the number of its slot."""
    shown = [
        paint(_process_name(slot), "strong") + f"\n{printable(stacks[slot]).rstrip()}\n"
        for slot in sorted(stacks, key=_number)
    ]
    return "\n".join(shown) or "no slot has a process\n"


def config_text(config: Mapping[str, Mapping[str, Any]]) -> str:
    """Return settings in the format of ``--print-config``."""
    known = [option.name for option in OPTIONS if option.name in config]
    # A master of another version may have other settings.
    names = dict.fromkeys((*known, *config))
    return printable(
        aligned_rows(
            (name, _value(name, config[name]["value"]), str(config[name]["origin"]))
            for name in names
        )
    )


def clusters_text(clusters: Sequence[Mapping[str, Any]], paint: Paint) -> str:
    """Return a table of clusters from which the user has to choose."""
    rows = [
        (
            _text(each["path"]),
            _text(each["pid"]),
            _text(each["name"]),
            {True: "yes", False: "no"}.get(each["ready"], UNKNOWN),
        )
        for each in clusters
    ]
    looks = {"yes": "good", "no": "bad"}
    return _table(
        ("socket", "pid", "name", "ready"),
        [[(text, looks.get(text, "")) for text in row] for row in rows],
        "<><<",
        paint,
    )


def span(seconds: float | None) -> str:
    """Return a span of time, in at most two units."""
    if seconds is None:
        return UNKNOWN
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR:02}h"


def _value(name: str, value: Any) -> str:
    """Return the value of a setting, converted back from JSON."""
    for option in OPTIONS:
        if option.name == name:
            return option.format(tuple(value) if isinstance(value, list) else value)
    return str(value)


def _header(status: Mapping[str, Any], paint: Paint) -> str:
    get = status.get
    state, uptime = _text(get("state")), get("uptime")
    since = "" if uptime is None else f" for {span(uptime)}"
    core = _text(get("core"))
    rows = [
        ("pid", _text(get("pid"))),
        ("version", _text(get("version"))),
        ("generation", _text(get("generation"))),
        ("state", paint(state, _LOOKS.get(state, "")) + since),
        *_master(get("master") or {}),
        *(("listening", _text(address)) for address in get("listeners") or [None]),
        *_distribution(get("distribution") or {}),
        *_figures(status),
        ("core", paint(core, _LOOKS.get(core, "")) + _core_place(status)),
        ("operation", _text(get("operation") or "none under way")),
    ]
    lines, last = [f"{paint(_text(get('name')), 'strong')} {_ready(status, paint)}"], ""
    for label, value in rows:
        shown = "" if label == last else label
        lines.append(f"  {paint(f'{shown:<10}', 'soft')}  {value}")
        last = label
    return "".join(f"{line}\n" for line in lines)


def _master(master: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Return the resources of the master's own process, and its event loop's lag."""
    if master:
        cpu, rss, lag = (_COLUMNS[name](master) for name in ("cpu%", "MiB", "lag ms"))
        yield "master", f"{rss} MiB, {cpu} % CPU, event loop {lag} ms late"


def _core_place(status: Mapping[str, Any]) -> str:
    """Return in words where the core runs; empty if that is not known."""
    place = (status.get("core_process") or {}).get("place")
    if place is None:
        return ""
    usual = {"master": " (in the master)", "isolated": " (a process of its own)"}
    return usual.get(place, f" ({_text(place)})")


def _distribution(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Return how the connections of each listener are distributed, and where."""
    listeners = found.get("listeners") or []
    for each in listeners:
        key = each.get("sticky")
        policy = _text(each.get("dispatch")) + (f" by {_text(key)}" if key else "")
        of = f"{_text(each.get('address'))}: " if len(listeners) > 1 else ""
        yield "dispatch", f"{of}{policy} ({_WHO.get(each.get('by'), UNKNOWN)})"


def _figures(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Return the balance of the distribution, and its costs."""
    found = status.get("distribution") or {}
    parts = []
    if found.get("imbalance") is not None:
        parts.append(f"the busiest worker has {found['imbalance']:.2f} of its share")
    if found.get("handed_off"):
        parts.append(f"{found['handed_off_per_second']:.0f} hand-offs/s")
    relayed = sum(each.get("relayed") or 0 for each in status.get("workers") or [])
    if relayed:
        parts.append(f"{counted(relayed, 'request')} relayed")
    if parts:
        yield "balance", ", ".join(parts)


def _ready(status: Mapping[str, Any], paint: Paint) -> str:
    if status.get("ready"):
        return "is " + paint("ready", "good")
    why = printable(status.get("why") or "")
    return "is " + paint("not ready", "bad") + (f": {why}" if why else "")


def _workers(status: Mapping[str, Any], paint: Paint) -> str:
    workers, retiring = status.get("workers") or [], status.get("retiring") or []
    core = status.get("core_process")
    staying = [*workers, *([_core_row(core)] if core else [])]
    rows = [_worker(each) for each in staying]
    rows += [[(text, "soft") for text, _ in _worker(each)] for each in retiring]
    none = "" if workers or retiring else "no workers\n"
    if not rows:
        return none
    align = "><" + ">" * (len(_COLUMNS) - 2)
    # One blank between columns, so that the table fits into 80.
    table = _table(tuple(_COLUMNS), rows, align, paint, gap=" ")
    if not retiring:
        return none + table
    lines = table.splitlines(keepends=True)
    lines.insert(1 + len(staying), f"{paint('retiring:', 'soft')}\n")
    return "".join(lines)


def _core_row(core: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the core's row; the state of one in the master marks shared figures."""
    if core.get("place") == "master" and core.get("state") == "running":
        return {**core, "state": "in master"}
    return core


def _worker(worker: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (text, _LOOKS.get(text, ""))
        for text in (show(worker) for show in _COLUMNS.values())
    ]


def _figure(name: str, unit: float) -> Callable[[Mapping[str, Any]], str]:
    """Return a formatter of a figure in some unit; large ones have no decimals."""

    def show(worker: Mapping[str, Any]) -> str:
        value = worker.get(name)
        if value is None:
            return UNKNOWN
        shown = value / unit
        return f"{shown:.1f}" if shown < _LARGE else f"{shown:.0f}"

    return show


def _count(name: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a formatter of a number that may be very large."""

    def show(worker: Mapping[str, Any]) -> str:
        value = worker.get(name)
        if value is None:
            return UNKNOWN
        for unit, letter in ((10**9, "G"), (10**6, "M")):
            if value >= unit:
                return f"{value / unit:.1f}{letter}"
        return str(value)

    return show


def _fact(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda worker: _text(worker.get(name))


#: The texts for the part that distributes connections, by its word in the status.
_WHO = {
    "workers": "the workers accept",
    "kernel": "the kernel decides",
    "master": "the master accepts",
}

#: The headings of the table of workers, and the formatter of each column.
_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "slot": _fact("slot"),
    "state": _fact("state"),
    "gen": _fact("generation"),
    "pid": _fact("pid"),
    "uptime": lambda worker: span(worker.get("uptime")).replace(" ", ""),
    "reqs": _count("requests"),
    "active": _fact("active"),
    "conns": _fact("connections"),
    "lag ms": _figure("lag", 0.001),
    "MiB": _figure("rss", _MEBIBYTE),
    "cpu%": _figure("cpu", 0.01),
    "restarts": _fact("restarts"),
}


def _table(
    heading: Sequence[str],
    rows: Iterable[Sequence[tuple[str, str]]],
    align: str,
    paint: Paint,
    gap: str = "  ",
) -> str:
    """
    Return a table.

    :param rows: texts and their styles.
    :param align: ``<`` or ``>`` for each column.
    :param gap: the separator of two columns.
    """
    whole = [[(text, "soft") for text in heading], *map(list, rows)]
    widths = [max(len(row[n][0]) for row in whole) for n in range(len(heading))]
    lines = []
    for row in whole:
        cells = [
            paint(f"{text:{side}{width}}", style)
            for (text, style), side, width in zip(row, align, widths, strict=True)
        ]
        lines.append(gap.join(cells).rstrip() + "\n")
    return "".join(lines)


def _text(value: object) -> str:
    return UNKNOWN if value is None else printable(str(value)).replace("\n", " ")


def _process_name(slot: object) -> str:
    return _text(slot) if slot == "core" else f"slot {_text(slot)}"


def _number(slot: str) -> tuple[int, str]:
    return (int(slot) if slot.isdecimal() else sys.maxsize, slot)
