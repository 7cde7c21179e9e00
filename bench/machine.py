"""Where and with what was measured."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.install import EXPRESS, REQUIREMENTS, find_program

_MODEL = re.compile(r"^model name\s*:\s*(.+)$", re.MULTILINE)
_PINNED = re.compile(r"^([\w.-]+)==(\S+)$", re.MULTILINE)
_VERSION = re.compile(r"\d+(?:\.\d+)+")

#: What of the software of each peer in Python is named in the report.
PYTHON_PEERS = {
    "uvicorn": ("uvicorn", "starlette"),
    "granian": ("granian", "starlette"),
    "gunicorn": ("gunicorn", "Flask"),
    "gunicorn-asgi": ("gunicorn", "starlette", "uvloop"),
    "klein": ("klein", "Twisted"),
}


@dataclass(frozen=True)
class Cpus:
    """
    The CPUs of the servers and of the client.

    :param servers: the CPUs that a server's processes share.
    :param client: the CPU of wrk.
    """

    servers: frozenset[int]
    client: int


def cpus_for(processes: int) -> Cpus:
    """
    Divide the CPUs that we may use.

    :param processes: how many of a server work at once.
    :raise BenchError: there is only one.
    """
    return divide(os.sched_getaffinity(0), processes)


def divide(cpus: Collection[int], processes: int) -> Cpus:
    """
    Assign a CPU to each process of a server, as far as they go, the next to wrk.

    :raise BenchError: there is only one.
    """
    count = min(processes, len(cpus) - 1)
    if not count:
        raise BenchError("two CPUs are needed, one for the servers and one for wrk")
    *servers, client = sorted(cpus)[: count + 1]
    return Cpus(frozenset(servers), client)


def describe() -> str:
    """Name the machine: its processor, how many CPUs we have, how busy they are."""
    model = cpu_model(Path("/proc/cpuinfo").read_text("utf-8", "replace"))
    count, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    return (
        f"{model}, {count} CPUs, Linux {platform.release()},"
        f" Python {platform.python_version()}; load before: {load:.1f}"
    )


def cpu_model(cpuinfo: str) -> str:
    """Find the processor's name in /proc/cpuinfo; not every machine tells it."""
    found = _MODEL.search(cpuinfo)
    return found[1] if found else platform.machine()


def versions(peers: Iterable[str], checkouts: dict[str, Path]) -> dict[str, str]:
    """
    Return the versions of what was measured.

    :param peers: the names of those that took part.
    :param checkouts: the folders of those of them that are clusterapp.
    """
    pinned = parse_pins(REQUIREMENTS.read_text("utf-8"))
    found = {}
    for name in peers:
        if name in checkouts:
            found[name] = _commit(checkouts[name])
        elif name in PYTHON_PEERS:
            found[name] = _listed({part: pinned[part] for part in PYTHON_PEERS[name]})
        elif name == "express":
            packages = json.loads((EXPRESS / "package.json").read_text("utf-8"))
            node = {"node": _printed(find_program("node"), "--version")}
            found[name] = _listed({**packages["dependencies"], **node})
        else:
            found[name] = _printed(find_program(name), "-v")
    return {**found, "wrk": _printed(find_program("wrk"), "-v")}


def parse_pins(requirements: str) -> dict[str, str]:
    """Return the exact versions that a requirements file asks for."""
    return dict(_PINNED.findall(requirements))


def _listed(parts: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in parts.items())


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, text=True, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "a version unknown to git"
    return done.stdout.strip()


def _printed(*command: str) -> str:
    """Find the version in what a program prints when it is asked for it."""
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    found = _VERSION.search(done.stdout + done.stderr)
    return found[0] if found else "unknown"
