"""One run of wrk, and what it printed, as data."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import wrk_script
from bench.errors import BenchError
from bench.install import find_program
from bench.servers import HOST, pinned
from bench.works import Work

#: What makes wrk open a connection for each request.
ONE_REQUEST_EACH = ("--header", "Connection: close")

_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)$", re.MULTILINE)
_SOCKETS = re.compile(r"^\s*Socket errors: (.+)$", re.MULTILINE)
_STATUSES = re.compile(r"^\s*Non-2xx or 3xx responses: (\d+)$", re.MULTILINE)
_COUNT = re.compile(r"(\w+) (\d+)")


@dataclass(frozen=True, kw_only=True)
class Load:
    """
    How a server is asked.

    :param seconds: how long.
    :param connections: how many are open at a time.
    :param cpu: the only CPU that wrk may use.
    """

    seconds: int
    connections: int
    cpu: int


@dataclass(frozen=True)
class Run:
    """
    What a run of wrk has found.

    :param rate: answers in a second.
    :param faults: what went wrong, in words; the rate means nothing then.
    """

    rate: float
    faults: tuple[str, ...] = ()


def parse(text: str) -> Run:
    """
    Read what wrk prints at its end.

    :raise BenchError: it is not that.
    """
    rate = _RATE.search(text)
    if rate is None:
        raise BenchError(f"wrk printed no rate:\n{text}")
    faults = [*_socket_faults(text), *_status_faults(text)]
    if not faults and not float(rate[1]):
        faults.append("no answer")
    return Run(float(rate[1]), tuple(faults))


def run(work: Work, port: int, load: Load, folder: Path) -> Run:
    """
    Ask a server for as much as it can give.

    :param folder: where a script may be written.
    :raise BenchError: wrk fails.
    """
    place = f"{HOST}:{port}"
    url = f"{place}{work.path if work.repeated else '/'}"
    return parse(output(url, load, _request(work, place, folder)))


def output(place: str, load: Load, arguments: Sequence[str]) -> str:
    """
    Run wrk, and return what it prints.

    :param place: the URL without its scheme.
    :param arguments: what it is told beside the load.
    :raise BenchError: wrk fails.
    """
    command = [
        *(
            find_program("wrk"),
            "--threads",
            "1",
            "--connections",
            str(load.connections),
        ),
        *("--duration", f"{load.seconds}s", *arguments, f"http://{place}"),
    ]
    with pinned({load.cpu}):
        done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def _request(work: Work, place: str, folder: Path) -> list[str]:
    """Return the arguments that make wrk send the requests of a work."""
    if work.repeated:
        return []
    file = folder / f"{work.name}.lua"
    file.write_text(wrk_script.script(work, place), "ascii")
    return ["--script", str(file)]


def _socket_faults(text: str) -> list[str]:
    found = _SOCKETS.search(text)
    if found is None:
        return []
    counts = _COUNT.findall(found[1])
    return [f"{count} {kind} errors" for kind, count in counts if count != "0"]


def _status_faults(text: str) -> list[str]:
    found = _STATUSES.search(text)
    return [] if found is None else [f"{found[1]} answers were no success"]
