"""The status and the health that a master reports, as JSON-compatible mappings."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from clusterapp.master.core.core_process import Core
from clusterapp.master.core.hosted_core import MasterCore
from clusterapp.master.resource_usage import Monitor
from clusterapp.master.rollout.deployment import Deployment
from clusterapp.master.workers.child_slot import ChildSlot
from clusterapp.operations import CORE, Health
from clusterapp.settings.model import Settings
from clusterapp.wording import counted

#: The phase of a master's life.
Phase = Literal["starting", "running", "stopping"]


#: Placeholders for the figures of a process that does not report.
_SILENT = dict.fromkeys(
    ("requests", "active", "connections", "relayed", "lag", "rss", "cpu")
)


def health_of(
    deployment: Deployment, phase: Phase, settings: Settings, problem: str = ""
) -> Health:
    """
    Return whether clients should be sent to a cluster.

    :param deployment: its workers and its core.
    :param phase: the phase of its master.
    :param settings: the minimum of ready workers, and whether the core must be ready.
    :param problem: why its processes cannot reach each other; empty if they can.
    """
    pool, wanted = deployment.pool, settings.min_ready
    workers, running = len(pool.slots), len(pool.running())
    # Requests wait for a core that is being replaced, as in a reload.
    core = deployment.core_is_ready or deployment.core_is_back_soon
    if phase == "stopping":
        why = "it is stopping"
    elif running < wanted:
        why = f"{running} of {counted(workers, 'worker')} ready, {wanted} must be"
    elif settings.require_core and not core:
        why = "the core is not ready"
    else:
        why = problem
    detail = {
        "ready": not why,
        "why": why,
        "state": phase,
        "workers": workers,
        "workers_ready": running,
        "core": core_word(deployment, settings),
    }
    return Health(not why, detail)


def text_of(deployment: Deployment, phase: Phase, operation: str | None) -> str:
    """Return the state of a cluster in one line for people."""
    pool = deployment.pool
    workers = counted(len(pool.slots), "worker")
    ready = f"{len(pool.running())} of {workers} ready"
    doing = phase if phase != "running" else operation
    generation = f"generation {deployment.release.number}"
    return ", ".join(filter(None, (doing, ready, generation)))


def imbalance_of(slots: Sequence[ChildSlot]) -> float | None:
    """
    Return how unevenly connections are distributed: the maximum over the mean.

    :return: 1 if all workers have equally many; None if there are no connections.
    """
    counts = [slot.stats.connections for slot in slots if slot.stats is not None]
    total = sum(counts)
    return max(counts) * len(counts) / total if total else None


def workers_of(slots: Sequence[ChildSlot], monitor: Monitor) -> list[Mapping[str, Any]]:
    """Return the state of each worker, ordered by slot."""
    ordered = sorted(slots, key=lambda slot: slot.number)
    return [_process(slot, monitor) for slot in ordered]


def core_word(deployment: Deployment, settings: Settings) -> str:
    """Return in a word whether the core is ready, or that it is remote."""
    if settings.core_is_remote:
        return "remote"
    return "ready" if deployment.core_is_ready else "not ready"


def core_of(core: Core, settings: Settings, monitor: Monitor) -> Mapping[str, Any]:
    """
    Return the state of the core, and of the process that it runs in.

    :return: the same keys as for a worker, and `place`: its location, as in ``--core``.
    """
    if core.slot is not None:
        return {"place": "isolated", **_process(core.slot, monitor)}
    if not isinstance(core, MasterCore):
        return {
            "place": settings.core,
            "slot": CORE,
            "state": "remote",
            **dict.fromkeys(("generation", "pid", "uptime", "restarts")),
            **_SILENT,
        }
    return {
        "place": "master",
        "slot": CORE,
        "state": core.state,
        "generation": core.generation,
        "pid": os.getpid(),
        "uptime": core.uptime,
        "restarts": 0,
        **_SILENT,
        # There is no site until the application has been imported.
        "requests": 0 if core.site is None else core.site.requests,
        "active": 0 if core.site is None else core.site.active,
        **master_of(monitor),
    }


def master_of(monitor: Monitor) -> Mapping[str, Any]:
    """Return the lag of the master's event loop, and the process's resource usage."""
    return {"lag": monitor.lag, **_usage(os.getpid(), monitor)}


def _usage(pid: int | None, monitor: Monitor) -> Mapping[str, Any]:
    usage = monitor.usage(pid)
    return {"rss": usage and usage.rss, "cpu": usage and usage.cpu}


def static_of(slots: Sequence[ChildSlot]) -> Mapping[str, str] | None:
    """
    Return the location of the static files of the newest generation.

    :param slots: the workers that accept connections.
    """
    newest = max(slots, key=lambda slot: slot.generation, default=None)
    return None if newest is None or newest.static is None else vars(newest.static)


def _process(slot: ChildSlot, monitor: Monitor) -> Mapping[str, Any]:
    stats, usage = slot.stats, _usage(slot.pid, monitor)
    return {
        "slot": slot.number if slot.number >= 0 else CORE,
        # After SIGTERM the worker drains by itself.
        "state": "draining" if slot.is_terminating else slot.state,
        "generation": slot.generation,
        "pid": slot.pid,
        "uptime": slot.uptime,
        "restarts": max(slot.restarts, 0),
        "requests": stats and stats.requests,
        "active": stats and stats.active,
        "connections": stats and stats.connections,
        "relayed": stats and stats.relayed,
        "lag": slot.lag,
        "rss": stats.rss if stats else usage["rss"],
        "cpu": usage["cpu"],
    }
