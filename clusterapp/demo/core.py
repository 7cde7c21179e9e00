"""What the demo site's core knows, and the pages that follow it."""

import json
import os
from collections import Counter, deque
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.web.server import Request
from zope.interface import implementer

from clusterapp.guards import guarded

#: How many of the last visits the core remembers.
VISITS_KEPT = 20

#: Changes of the board that are closer together, in seconds, are sent as one.
SETTLING_TIME = 0.2

#: How often, in seconds, a stream says that it is still there.
HEARTBEAT = 15.0


class Board:
    """What the core knows: there is one in the whole cluster."""

    def __init__(self) -> None:
        self.counter = 0
        self.streams: set[Stream] = set()
        self._seen = 0
        self._served: Counter[int] = Counter()
        self._workers: dict[int, dict[str, Any]] = {}
        self._visits: deque[dict[str, object]] = deque(maxlen=VISITS_KEPT)

    def count(self) -> None:
        """Add one to the counter."""
        self.counter += 1
        self._changed()

    def add(self, visit: dict[str, Any]) -> None:
        """Note a visit, in the words of `tell_core`."""
        self._seen += 1
        self._served[visit["slot"]] += visit["times"]
        now = datetime.now(tz=UTC).isoformat(timespec="seconds")
        self._visits.appendleft({**visit, "number": self._seen, "at": now})
        self._changed()

    def arrived(self, worker: dict[str, Any]) -> None:
        """
        Note a worker's process: it stays connected for as long as it lives.

        :param worker: its slot, pid and generation.
        """
        slot = worker["slot"]
        starts = self._workers.get(slot, {"starts": 0})["starts"] + 1
        since = datetime.now(tz=UTC).isoformat(timespec="seconds")
        facts = {"since": since, "starts": starts, "here": True}
        self._workers[slot] = {**worker, **facts}
        self._changed()

    def left(self, worker: dict[str, Any]) -> None:
        """Note that a worker's process is gone, unless another has its slot by now."""
        known = self._workers.get(worker["slot"])
        if known is not None and known["pid"] == worker["pid"]:
            self._workers[worker["slot"]] = {**known, "here": False}
            self._changed()

    def snapshot(self) -> dict[str, object]:
        """Return all of it in JSON's types, the latest visit first."""
        total = self._served.total() or 1
        nothing = dict.fromkeys(("pid", "generation", "since", "starts", "here"))
        return {
            "core": os.getpid(),
            "counter": self.counter,
            "shares": [
                {
                    **nothing,
                    **self._workers.get(slot, {}),
                    "slot": slot,
                    "times": self._served[slot],
                    "percent": round(100 * self._served[slot] / total),
                }
                for slot in sorted(self._served.keys() | self._workers.keys())
            ],
            "visits": list(self._visits),
        }

    def _changed(self) -> None:
        for stream in self.streams:
            stream.changed()


@implementer(IPushProducer)
class Stream:
    """
    A page that follows the board by Server-Sent Events (HTML, section 9.2).

    It is always sent the whole board as it is then: one that cannot keep up, or
    is asking again, misses the steps in between, and nothing is stored for it.
    """

    def __init__(self, request: Request, board: Board, clock: IReactorTime) -> None:
        self._request = request
        self._board = board
        self._clock = clock
        self._paused = False
        self._stale = False
        self._due: IDelayedCall | None = None
        self._heartbeat = LoopingCall(self._write, b": still here\n\n")
        self._heartbeat.clock = self._clock
        self._gone: Deferred[None] = Deferred()

    async def run(self) -> None:
        """Send the board and its changes until Klein cancels this: the page is gone."""
        self._request.registerProducer(self, streaming=True)
        self._heartbeat.start(HEARTBEAT, now=False)
        self._board.streams.add(self)
        self._write(b"retry: 1000\n")
        self._send()
        try:
            await self._gone
        finally:
            self._board.streams.discard(self)
            self._heartbeat.stop()
            if self._due is not None and self._due.active():
                self._due.cancel()

    def changed(self) -> None:
        """Send the board soon, with the changes that follow at once."""
        self._stale = True
        if self._due is None and not self._paused:
            self._due = self._clock.callLater(SETTLING_TIME, self._send)

    def pauseProducing(self) -> None:
        """Send nothing: the page has not taken what it was sent."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Send what the page has missed."""
        self._paused = False
        if self._stale:
            self.changed()

    def stopProducing(self) -> None:
        """Send nothing any more: the connection is gone, and `run` is told."""
        self._paused = True

    @guarded("send to a page")
    def _send(self) -> None:
        self._due = None
        if not self._paused:
            self._stale = False
            self._write(f"data: {json.dumps(self._board.snapshot())}\n\n".encode())

    @guarded("send to a page")
    def _write(self, event: bytes) -> None:
        if not self._paused:
            self._request.write(event)
