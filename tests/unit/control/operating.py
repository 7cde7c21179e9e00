"""A cluster that an operator can ask everything of, in memory only."""

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from clusterapp.operations import (
    Dispatch,
    Health,
    OperationResult,
    Operations,
    Slot,
    Tell,
)


def worker(slot: int, **facts: object) -> dict[str, Any]:
    """Make a worker's part of a status document."""
    return {
        "slot": slot,
        "state": "running",
        "generation": 2,
        "pid": 4300 + slot,
        "uptime": 3.4,
        "requests": 10,
        "active": 1,
        "connections": 5,
        "lag": 0.001,
        "rss": 61_000_000,
        "cpu": 0.253,
        "restarts": 0,
        **facts,
    }


def core(**facts: object) -> dict[str, Any]:
    """Make the core's part of a status document; it has a process of its own."""
    return {**worker(0, pid=4299), "slot": "core", "place": "isolated", **facts}


def status(size: int = 4, **facts: object) -> dict[str, Any]:
    """Make a status document, as a master gives it; with so many workers."""
    return {
        "name": "shop:app",
        "pid": 4242,
        "version": "0.1.0",
        "generation": 2,
        "state": "running",
        "ready": True,
        "why": "",
        "uptime": 12.3,
        "listeners": ["http://127.0.0.1:8080"],
        "core": "ready",
        "operation": None,
        "folder": "/srv/shop",
        "named_folder": "/srv/shop",
        "started_in": "/srv/shop",
        "twistd": "/opt/shop/bin/twistd",
        "static": {"url": "/static/", "folder": "/srv/shop/static"},
        "workers": [worker(slot) for slot in range(size)],
        "retiring": [],
        **facts,
    }


CONFIG: Mapping[str, Mapping[str, Any]] = {
    "workers": {"value": 4, "origin": "--workers"},
    "app": {"value": None, "origin": "default"},
    "listen": {"value": ["tcp:1", "tcp:2"], "origin": "clusterapp.toml"},
}


class FakeOperations(Operations):
    """
    Writes down what is asked, and lets the test say how it ends.

    :ivar did: the operations that were begun, with their arguments.
    :ivar refusal: raised by the next operations, if there is one.
    :ivar tell: hears of the steps of the last operation.
    :ivar verdict: what the last operation comes to.
    :ivar texts: what the last question for stacks comes to.
    """

    def __init__(self) -> None:
        self.did: list[tuple[object, ...]] = []
        self.refusal: Exception | None = None
        self.document: Mapping[str, Any] = status()
        self.how = Health(ready=True, detail={"workers": 4})
        self.tell: Tell = print
        self.verdict: Deferred[OperationResult] = Deferred()
        self.texts: Deferred[Mapping[Slot, str]] = Deferred()

    def status(self) -> Mapping[str, Any]:
        return self.document

    def config(self) -> Mapping[str, Any]:
        return CONFIG

    def health(self) -> Health:
        return self.how

    def reload(self, tell: Tell) -> Deferred[OperationResult]:
        return self._begin(tell, "reload")

    def upgrade(self, tell: Tell) -> Deferred[OperationResult]:
        return self._begin(tell, "upgrade")

    def scale(
        self, workers: int, tell: Tell, *, force: bool = False
    ) -> Deferred[OperationResult]:
        forced = ("forced",) if force else ()
        return self._begin(tell, "scale", workers, *forced)

    def dispatch(self, wanted: Dispatch, tell: Tell) -> Deferred[OperationResult]:
        return self._begin(tell, "dispatch", wanted)

    def restart(self, slot: Slot, tell: Tell) -> Deferred[OperationResult]:
        return self._begin(tell, "restart", slot)

    def drain(self, slot: int, tell: Tell) -> Deferred[OperationResult]:
        return self._begin(tell, "drain", slot)

    def stop(self, *, quick: bool, tell: Tell) -> Deferred[OperationResult]:
        return self._begin(tell, "stop", quick)

    def stacks(self, slot: Slot | None) -> Deferred[Mapping[Slot, str]]:
        self._note("stacks", slot)
        self.texts = Deferred()
        return self.texts

    def _begin(self, tell: Tell, *what: object) -> Deferred[OperationResult]:
        self._note(*what)
        self.tell = tell
        self.verdict = Deferred()
        return self.verdict

    def _note(self, *what: object) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.did.append(what)
