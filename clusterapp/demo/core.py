"""The state of the demo site's core, and the event streams of pages that show it."""

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

#: The number of latest visits that the core stores.
VISITS_KEPT = 20

#: The seconds from the first change of the board until it is sent, with all changes in
#: between.
SETTLING_TIME = 0.2

#: The interval of a stream's heartbeats, in seconds.
HEARTBEAT = 15.0


class Board:
    """The state of the core, one object per cluster."""

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
        """Store a visit, a mapping in the format of `tell_core`."""
        self._seen += 1
        self._served[visit["slot"]] += visit["times"]
        now = datetime.now(tz=UTC).isoformat(timespec="seconds")
        self._visits.appendleft({**visit, "number": self._seen, "at": now})
        self._changed()

    def arrived(self, worker: dict[str, Any]) -> None:
        """
        Called when the process of a worker has connected.

        :param worker: the slot, pid and generation of the worker.
        """
        slot = worker["slot"]
        starts = self._workers.get(slot, {"starts": 0})["starts"] + 1
        since = datetime.now(tz=UTC).isoformat(timespec="seconds")
        facts = {"since": since, "starts": starts, "here": True}
        self._workers[slot] = {**worker, **facts}
        self._changed()

    def left(self, worker: dict[str, Any]) -> None:
        """
        Called when the process of a worker has disconnected.

        Its slot is marked as empty, unless another process has filled it by now.

        :param worker: the slot, pid and generation of the worker.
        """
        known = self._workers.get(worker["slot"])
        if known is not None and known["pid"] == worker["pid"]:
            self._workers[worker["slot"]] = {**known, "here": False}
            self._changed()

    def snapshot(self) -> dict[str, object]:
        """Return the state in JSON's types, the latest visit first."""
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
    The stream of the board to one page, by Server-Sent Events (HTML, section 9.2).

    Every event is the whole board as it is at that time: a page that is slow, or
    reconnects, misses the states in between, and no events are stored for it.

    :param request: the request for the stream.
    :param board: the board.
    :param clock: the reactor's clock.
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
        """Send the board and its changes until Klein cancels this at disconnect."""
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
        """Called when the board has changed: schedule sending it."""
        self._stale = True
        if self._due is None and not self._paused:
            self._due = self._clock.callLater(SETTLING_TIME, self._send)

    def pauseProducing(self) -> None:
        """Called when the page reads too slowly: send nothing."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Called when the page has caught up: send the board if it has changed."""
        self._paused = False
        if self._stale:
            self.changed()

    def stopProducing(self) -> None:
        """Called when the connection is closed: send nothing; `run` is cancelled."""
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
