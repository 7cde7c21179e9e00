"""What a master tells of itself: its status and its health, as JSON can hold them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from clusterapp.master.deployment import Deployment
from clusterapp.master.pool import Pool
from clusterapp.master.slot import ChildSlot
from clusterapp.operations import Health

#: Where a master is between its start and its end.
Phase = Literal["starting", "running", "stopping"]


def health_of(pool: Pool, phase: Phase, wanted: int) -> Health:
    """
    Tell whether clients should be sent to a cluster.

    :param pool: its workers.
    :param phase: where its master is.
    :param wanted: how many workers must be ready.
    """
    workers, running = len(pool.slots), len(pool.running())
    if phase == "stopping":
        why = "it is stopping"
    elif running < wanted:
        why = f"{running} of {workers} workers are ready, {wanted} must be"
    else:
        why = ""
    detail = {
        "ready": not why,
        "why": why,
        "state": phase,
        "workers": workers,
        "workers_ready": running,
    }
    return Health(not why, detail)


def text_of(deployment: Deployment, phase: Phase, operation: str | None) -> str:
    """Tell how a cluster stands, in one line for people."""
    pool = deployment.pool
    ready = f"{len(pool.running())} of {len(pool.slots)} workers ready"
    doing = phase if phase != "running" else operation
    generation = f"generation {deployment.release.number}"
    return ", ".join(filter(None, (doing, ready, generation)))


def imbalance_of(slots: Sequence[ChildSlot]) -> float | None:
    """
    Tell how unevenly connections are distributed: the most over the mean.

    :return: 1 if all have as many; None if there are none.
    """
    counts = [slot.pulse.connections for slot in slots if slot.pulse is not None]
    total = sum(counts)
    return max(counts) * len(counts) / total if total else None


def workers_of(slots: Sequence[ChildSlot]) -> list[Mapping[str, Any]]:
    """Tell the state of each filling of a slot."""
    return [_worker(slot) for slot in sorted(slots, key=lambda slot: slot.number)]


def static_of(slots: Sequence[ChildSlot]) -> Mapping[str, str] | None:
    """
    Tell where the static files of the newest generation are.

    :param slots: the fillings whose processes take connections.
    """
    newest = max(slots, key=lambda slot: slot.generation, default=None)
    return None if newest is None or newest.static is None else vars(newest.static)


def _worker(slot: ChildSlot) -> Mapping[str, Any]:
    pulse = slot.pulse
    return {
        "slot": slot.number,
        "state": slot.state,
        "generation": slot.generation,
        "pid": slot.pid,
        "uptime": slot.uptime,
        "restarts": max(slot.restarts, 0),
        "requests": pulse and pulse.requests,
        "active": pulse and pulse.active,
        "connections": pulse and pulse.connections,
        "passed_on": pulse and pulse.passed_on,
        "lag": pulse and pulse.lag,
        "rss": pulse and pulse.rss,
    }
