"""What /proc tells about a server's processes."""

import os
from collections.abc import Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """Tell the pids of a process and of all that come from it."""
    found = [pid]
    for parent in found:
        found.extend(_children(parent))
    return found


def workers(pid: int) -> list[int]:
    """Tell the pids of those in a tree that have no child of their own."""
    return [one for one in tree(pid) if not list(_children(one))]


def cpu_seconds(pid: int) -> float:
    """Tell how much processor time a tree of processes has used."""
    return sum(map(_cpu_ticks, tree(pid))) / _TICKS


def private_kib(pid: int) -> int:
    """Tell how much memory a process shares with no other."""
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
    # The name of the program, in parentheses, may itself contain spaces.
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _cpu_ticks(pid: int) -> int:
    try:
        return parse_ticks(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace"))
    except OSError:
        return 0


def _children(pid: int) -> Iterator[int]:
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            text = thread.read_text("ascii")
        except OSError:
            continue
        yield from map(int, text.split())
