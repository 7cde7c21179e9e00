"""Recycling: replacing workers that have reached a limit, one at a time."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.application.internet import TimerService
from twisted.logger import Logger

from clusterapp.errors import OperationError
from clusterapp.master.operator_actions import MasterOperations
from clusterapp.master.rollout.deployment import Deployment
from clusterapp.master.workers.child_slot import ChildSlot
from clusterapp.operations import OperationResult
from clusterapp.settings.model import Settings
from clusterapp.wording import counted

#: Seconds between two checks.
INTERVAL = 1.0

#: The fraction by which limits vary at random from worker to worker, so that workers
#: which started together are not all recycled together.
JITTER = 0.1

#: Seconds without recycling after a replacement could not be started.
_PAUSE = 60.0

#: A worker that reaches a limit within so many seconds has reached it too soon: its
#: successor in the slot is not recycled for a second, the next one for two, and so on.
_TOO_SOON = 10.0
_FIRST_LIFE = 1.0
_GROWTH = 2.0

#: The longest time without recycling, in seconds: short for a worker that grows, long
#: for one that exceeds the limit at its start, where a replacement is of no use.
_LONGEST_LIFE = 10.0
_LONGEST_USELESS_LIFE = 600.0

_MEBIBYTE = 1024**2


@dataclass(frozen=True)
class ReachedLimit:
    """
    A limit that a worker has reached.

    :param setting: the setting of the limit.
    :param value: the setting's value, with its unit.
    :param what: the amount reached, as in ``"1,000 requests"``.
    :param at_start: whether that was reached at its start already.
    """

    setting: str
    value: str
    what: str
    at_start: bool = False


def limit_reached(
    slot: ChildSlot, settings: Settings, share: float, rss_at_start: int
) -> ReachedLimit | None:
    """
    Return the limit that a worker has reached; None if it has reached none.

    :param slot: the worker's slot.
    :param settings: the settings with the limits.
    :param share: the factor of the limits of requests and lifetime, near 1.
    :param rss_at_start: its resident memory when it was ready, in bytes.
    """
    stats, uptime = slot.stats, slot.uptime
    if stats is None or uptime is None:
        return None
    most = settings.max_rss
    if most is not None and stats.rss > most:
        what = f"{stats.rss // _MEBIBYTE} MiB resident"
        value = f"{most / _MEBIBYTE:g} MiB"
        return ReachedLimit("--max-rss", value, what, at_start=rss_at_start > most)
    most = settings.max_requests
    if most is not None and stats.requests >= most * share:
        what = counted(stats.requests, "request", ",")
        return ReachedLimit("--max-requests", f"{most:,}", what)
    longest = settings.max_lifetime
    if longest is not None and uptime >= longest * share:
        return ReachedLimit("--max-lifetime", f"{longest:g} s", f"{uptime:,.0f} s")
    return None


class Recycling(TimerService):
    """
    Checks the workers every second, and has those replaced that have reached a limit.

    :param reactor: the master's reactor.
    :param operations: replaces workers, new before old.
    :param deployment: the workers of the master.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, operations: MasterOperations, deployment: Deployment
    ) -> None:
        super().__init__(INTERVAL, self.look)
        self.clock: Any = reactor
        self._operations = operations
        self._deployment = deployment
        #: The factor of the limits of each process, and its memory when it was ready,
        #: by pid.
        self._shares: dict[int, float] = {}
        self._rss: dict[int, int] = {}
        #: The minimum lifetime of the next worker of a slot in seconds, by slot number.
        self._lives: dict[int, float] = {}
        self._left_alone_until = 0.0

    def look(self) -> None:
        """Replace one worker that has reached a limit, if there is one."""
        slots = self._deployment.pool.running()
        self._forget(slots)
        if self._operations.under_way or self.clock.seconds() < self._left_alone_until:
            return
        for slot in slots:
            reached = self._reached(slot)
            if reached is not None:
                self._replace(slot, reached)
                return

    def _forget(self, slots: Sequence[ChildSlot]) -> None:
        pids = {slot.pid for slot in slots}
        self._shares = {pid: self._shares[pid] for pid in self._shares if pid in pids}
        self._rss = {pid: self._rss[pid] for pid in self._rss if pid in pids}
        numbers = self._deployment.pool.slots
        self._lives = {n: self._lives[n] for n in self._lives if n in numbers}
        for slot in slots:
            if slot.pid is not None and slot.stats is not None:
                self._rss.setdefault(slot.pid, slot.stats.rss)

    def _reached(self, slot: ChildSlot) -> ReachedLimit | None:
        if slot.pid is None or (slot.uptime or 0) < self._lives.get(slot.number, 0):
            return None
        chance = 1 + JITTER * random.uniform(-1, 1)  # noqa: S311
        share = self._shares.setdefault(slot.pid, chance)
        settings = self._deployment.release.generation.settings
        return limit_reached(slot, settings, share, self._rss.get(slot.pid, 0))

    def _replace(self, slot: ChildSlot, reached: ReachedLimit) -> None:
        uptime, rss = slot.uptime or 0.0, self._rss.get(slot.pid or 0, 0)
        try:
            judged = self._operations.recycle(slot.number, reached.what)
        except OperationError:
            return  # the cluster is stopping
        self._leave_alone(slot, reached, uptime, rss)
        judged.addCallback(self._judged, slot.number)
        judged.addErrback(
            lambda why: self._log.failure("cannot judge a recycling", failure=why)
        )

    def _leave_alone(
        self, slot: ChildSlot, reached: ReachedLimit, uptime: float, rss: int
    ) -> None:
        """Set the minimum lifetime of a slot's next worker, if this one's was short."""
        before = self._lives.pop(slot.number, 0.0)
        if uptime >= max(_TOO_SOON, before * _GROWTH) and not reached.at_start:
            return
        longest = _LONGEST_USELESS_LIFE if reached.at_start else _LONGEST_LIFE
        seconds = min(max(_FIRST_LIFE, before * _GROWTH), longest)
        self._lives[slot.number] = seconds
        if seconds <= before:
            return  # that was logged already
        text = (
            "{setting} = {value} is less than worker {number} needs at its start,"
            " {rss} MiB: raise it"
            if reached.at_start
            else "{setting} = {value} is too low: worker {number} came to {what} within"
            " {uptime:.0f} s"
        )
        self._log.error(
            text + "; the next one is left alone for {seconds:g} s",
            setting=reached.setting,
            value=reached.value,
            number=slot.number,
            rss=rss // _MEBIBYTE,
            what=reached.what,
            uptime=uptime,
            seconds=seconds,
        )

    def _judged(self, verdict: OperationResult, number: int) -> None:
        if verdict.ok:
            return
        self._left_alone_until = self.clock.seconds() + _PAUSE
        self._log.error(
            "worker {number} is not replaced: {why}", number=number, why=verdict.text
        )
