"""A master without workers: a control socket, and operations that a test steers."""

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, succeed
from twisted.python.log import startLogging

from clusterapp.control.control_socket import ControlService
from clusterapp.errors import BusyError, OperationError, UnknownSlotError
from clusterapp.operations import (
    Dispatch,
    Health,
    OperationResult,
    Operations,
    Slot,
    Step,
    Tell,
)

reactor: Any = installed
SLOTS = 2


class Scripted(Operations):
    """A cluster of two; each USR1 lets the operation under way go on by a step."""

    def __init__(self) -> None:
        self.ready = True
        self._name = ""
        self._tell: Tell = print
        self._steps: list[Step] = []
        self._end: Deferred[OperationResult] = Deferred()
        self._verdict = OperationResult(ok=True, text="")

    def status(self) -> Mapping[str, Any]:
        return {
            "name": "scripted",
            "pid": os.getpid(),
            "state": "running",
            "ready": self.ready,
            "why": "" if self.ready else "it was told to be so",
            "operation": self._name or None,
            "workers": [{"slot": slot, "state": "running"} for slot in range(SLOTS)],
        }

    def config(self) -> Mapping[str, Any]:
        return {"workers": {"value": SLOTS, "origin": "--workers"}}

    def health(self) -> Health:
        return Health(ready=self.ready, detail={})

    def reload(self, tell: Tell) -> Deferred[OperationResult]:
        return self._begin("reload", tell, "2 workers are new")

    def upgrade(self, tell: Tell) -> Deferred[OperationResult]:
        failed = OperationResult(
            ok=False, text="import error", traceback="Traceback: shop"
        )
        self._check_free()
        tell(Step("starting a new master"))
        return succeed(failed)

    def scale(
        self, workers: int, tell: Tell, *, force: bool = False
    ) -> Deferred[OperationResult]:
        raise OperationError(f"{workers} are more than there is memory for")

    def dispatch(self, wanted: Dispatch, tell: Tell) -> Deferred[OperationResult]:
        return self._begin("dispatch", tell, wanted.policy)

    def restart(self, slot: Slot, tell: Tell) -> Deferred[OperationResult]:
        if slot != "core":
            self._check_slot(slot)
        return self._begin("restart", tell, f"slot {slot} is new")

    def drain(self, slot: int, tell: Tell) -> Deferred[OperationResult]:
        self._check_slot(slot)
        return self._begin("drain", tell, f"slot {slot} is empty")

    def stacks(self, slot: Slot | None) -> Deferred[Mapping[Slot, str]]:
        return succeed({each: "stack" for each in range(SLOTS) if slot in {None, each}})

    def stop(self, *, quick: bool, tell: Tell) -> Deferred[OperationResult]:
        tell(Step("letting the workers go"))
        reactor.callLater(0, reactor.stop)
        return succeed(OperationResult(ok=True, text="quick" if quick else "graceful"))

    def go_on(self) -> None:
        """Do the next step of the operation under way."""
        if self._steps:
            self._tell(self._steps.pop(0))
        else:
            print(f"{self._name} has ended", flush=True)
            self._name = ""
            self._end.callback(self._verdict)

    def _begin(self, name: str, tell: Tell, text: str) -> Deferred[OperationResult]:
        self._check_free()
        print(f"{name} has begun", flush=True)
        self._name, self._tell = name, tell
        self._steps = [Step(f"ready after {n}.5 s", n) for n in range(SLOTS)]
        self._verdict = OperationResult(ok=True, text=text)
        self._end = Deferred()
        return self._end

    def _check_free(self) -> None:
        if self._name:
            raise BusyError(f"a {self._name} is under way")

    def _check_slot(self, slot: int) -> None:
        if slot >= SLOTS:
            raise UnknownSlotError(f"there is no slot {slot}")


def main(path: str) -> None:
    """Serve until the reactor stops, as a master does."""
    startLogging(sys.stdout)
    operations = Scripted()
    service = ControlService(reactor, operations, path)

    def not_ready() -> None:
        operations.ready = False

    def on(number: int, do: Any) -> None:
        signal.signal(number, lambda *_: reactor.callFromThread(do))

    on(signal.SIGUSR1, operations.go_on)
    on(signal.SIGUSR2, not_ready)
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.callWhenRunning(print, "the control socket is there", flush=True)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1])
