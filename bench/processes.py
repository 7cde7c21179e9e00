"""What /proc tells about a server's processes."""

import os
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """Return the pids of a process and of all that come from it."""
    parents, found = _parents(), [pid]
    for one in found:
        found.extend(child for child, parent in parents.items() if parent == one)
    return found


def workers(pid: int) -> list[int]:
    """Return the pids of those in a tree that have no child of their own."""
    parents = set(_parents().values())
    return [one for one in tree(pid) if one not in parents]


def cpu_seconds(pid: int) -> float:
    """Return how much processor time a tree of processes has used."""
    return sum(map(_cpu_ticks, tree(pid))) / _TICKS


def private_kib(pid: int) -> int:
    """Return how much memory a process shares with no other."""
    return parse_private(Path(f"/proc/{pid}/smaps_rollup").read_text("ascii"))


def parse_private(rollup: str) -> int:
    """Add up what a smaps_rollup says is private, in KiB (proc_pid_smaps(5))."""
    return sum(
        int(line.split()[1])
        for line in rollup.splitlines()
        if line.startswith(("Private_Clean:", "Private_Dirty:"))
    )


def parse_ticks(stat: str) -> int:
    """Take the user's and the system's time from a stat file (proc_pid_stat(5))."""
    fields = _after_name(stat)
    return int(fields[11]) + int(fields[12])


def parse_parent(stat: str) -> int:
    """Take the pid of the parent from a stat file."""
    return int(_after_name(stat)[1])


def _after_name(stat: str) -> list[str]:
    # The name of the program, in parentheses, may itself contain any character.
    return stat.rpartition(")")[2].split()


def _cpu_ticks(pid: int) -> int:
    try:
        return parse_ticks(_read_stat(pid))
    except OSError:  # it has ended
        return 0


def _parents() -> dict[int, int]:
    """Return the parent of each process that there is."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found[int(folder.name)] = parse_parent(_read_stat(int(folder.name)))
    return found


def _read_stat(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
