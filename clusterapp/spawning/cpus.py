"""The number of CPUs that this process may use: affinity and cgroup quotas."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Cpus:
    """
    A number of CPUs, and the limit that it comes from.

    :param count: whole CPUs, at least 1.
    :param reason: a short text for the log.
    """

    count: int
    reason: str


def usable_cpus(root: Path = Path("/")) -> Cpus:
    """
    Return the number of CPUs that this process may use.

    A quota is rounded down, since a worker that has only part of a CPU is throttled in
    the middle of a request.

    :param root: the folder in which /proc and /sys are found.
    """
    allowed = len(os.sched_getaffinity(0))
    quota = min(_quotas(root), default=None)
    if quota is None or quota >= allowed:
        return Cpus(allowed, f"{allowed} CPUs by affinity")
    return Cpus(max(1, int(quota)), f"a cgroup quota of {quota:g} CPUs")


def _quotas(root: Path) -> Iterator[float]:
    """Return the quotas of all cgroups around this process, of versions 1 and 2."""
    try:
        text = (root / "proc/self/cgroup").read_text("utf-8", "surrogateescape")
    except OSError:
        return
    for line in text.removesuffix("\n").split("\n"):
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _around(root / "sys/fs/cgroup", path, _quota_v2)
        elif "cpu" in controllers.split(","):
            for name in (controllers, "cpu"):
                yield from _around(root / "sys/fs/cgroup" / name, path, _quota_v1)


def _around(
    mount: Path, path: str, quota_of: Callable[[Path], float | None]
) -> Iterator[float]:
    """
    Return the quotas of a cgroup and of its ancestors.

    Inside a container the path may be the host's, which is not visible there; visible
    is the container's own group, at the mount itself.
    """
    inner = PurePosixPath(path.lstrip("/"))
    for group in (inner, *inner.parents):
        try:
            quota = quota_of(mount / group)
        except (OSError, ValueError):
            continue
        if quota is not None:
            yield quota


def _quota_v2(group: Path) -> float | None:
    quota, period = (group / "cpu.max").read_text("ascii").split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(group: Path) -> float | None:
    quota = int((group / "cpu.cfs_quota_us").read_text("ascii"))
    period = int((group / "cpu.cfs_period_us").read_text("ascii"))
    return None if quota < 0 else quota / period
