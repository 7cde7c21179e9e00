"""Replacing workers that have served their time, one at a time."""

import random
from typing import Any

from twisted.application.internet import TimerService
from twisted.logger import Logger

from clusterapp.errors import OperationError
from clusterapp.master.deployment import Deployment
from clusterapp.master.operations import MasterOperations
from clusterapp.master.slot import ChildSlot
from clusterapp.operations import Verdict
from clusterapp.settings.model import Settings

#: Seconds between two looks.
INTERVAL = 1.0

#: By how much of a limit it may be missed, so that workers which began together do
#: not all come to it together.
JITTER = 0.1

#: Seconds to leave a worker alone whose replacement could not be started.
_PAUSE = 60.0

_MEBIBYTE = 1024**2


def reason_to_replace(slot: ChildSlot, settings: Settings, share: float) -> str:
    """
    Tell which limit a worker has reached.

    :param slot: the worker's slot.
    :param settings: say what the limits are.
    :param share: how much of its requests and its lifetime this worker gets, near 1.
    :return: as in ``"1,000 requests"``; empty if it has reached none.
    """
    pulse, uptime = slot.pulse, slot.uptime
    if pulse is None or uptime is None:
        return ""
    if settings.max_rss is not None and pulse.rss > settings.max_rss:
        return f"{pulse.rss // _MEBIBYTE} MiB resident"
    most = settings.max_requests
    if most is not None and pulse.requests >= most * share:
        return f"{pulse.requests:,} requests"
    if settings.max_lifetime is not None and uptime >= settings.max_lifetime * share:
        return f"{uptime:,.0f} s"
    return ""


class Recycling(TimerService):
    """
    Looks at workers every second, and has those replaced that have reached a limit.

    :param reactor: the master's reactor.
    :param operations: replace workers, new before old.
    :param deployment: what the master runs.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, operations: MasterOperations, deployment: Deployment
    ) -> None:
        super().__init__(INTERVAL, self.look)
        self.clock: Any = reactor
        self._operations = operations
        self._deployment = deployment
        #: What share of its limits a process gets, by its pid.
        self._shares: dict[int, float] = {}
        self._left_alone_until = 0.0

    def look(self) -> None:
        """Have one worker replaced, if one is to be."""
        slots = self._deployment.pool.running()
        pids = {slot.pid for slot in slots}
        self._shares = {pid: self._shares[pid] for pid in self._shares if pid in pids}
        if self._operations.under_way or self.clock.seconds() < self._left_alone_until:
            return
        for slot in slots:
            why = self._why(slot)
            if why:
                self._replace(slot, why)
                return

    def _why(self, slot: ChildSlot) -> str:
        if slot.pid is None:
            return ""
        chance = 1 + JITTER * random.uniform(-1, 1)  # noqa: S311
        share = self._shares.setdefault(slot.pid, chance)
        settings = self._deployment.release.generation.settings
        return reason_to_replace(slot, settings, share)

    def _replace(self, slot: ChildSlot, why: str) -> None:
        try:
            judged = self._operations.recycle(slot.number, why)
        except OperationError:
            return  # the cluster is stopping
        judged.addCallback(self._judged, slot.number)

    def _judged(self, verdict: Verdict, number: int) -> None:
        if verdict.ok:
            return
        self._left_alone_until = self.clock.seconds() + _PAUSE
        self._log.error(
            "worker {number} is not replaced: {why}", number=number, why=verdict.text
        )
