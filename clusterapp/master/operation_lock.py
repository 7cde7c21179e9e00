"""Operations, one at a time: how each starts and ends, and its entries in the log."""

from collections.abc import Coroutine
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from clusterapp.errors import BusyError, ClusterError
from clusterapp.master.cluster_status import Phase
from clusterapp.master.rollout.canary import CanaryError
from clusterapp.operations import CORE, OperationResult, Slot, Step, Tell
from clusterapp.tracebacks import format_error
from clusterapp.wording import with_article

#: The operation that a master starts by itself: replacing a worker at its limit.
RECYCLE = "recycle"

#: The coroutine of an operation; it returns the text of its success.
Work = Coroutine[Any, Any, str]

_log = Logger()


class LockedMaster(Protocol):
    """The part of the master that operations need."""

    @property
    def phase(self) -> Phase:
        """The phase of the master's life: starting, running or stopping."""

    def changed(self) -> None:
        """Called when any state has changed: notify the workers and the watchers."""


def note(step: Step) -> None:
    """Log a step of an operation."""
    where = "" if step.slot is None else f"{_process_name(step.slot)}: "
    _log.info("{where}{text}", where=where, text=step.text)


def _process_name(slot: Slot) -> str:
    return CORE if slot == CORE else f"worker {slot}"


def noting(tell: Tell) -> Tell:
    """Return a function that logs each step before it passes it on."""

    def both(step: Step) -> None:
        note(step)
        tell(step)

    return both


class OperationLock:
    """
    Runs one operation at a time, and refuses another one meanwhile.

    :param master: the master that the operations are for.
    :ivar under_way: the name of the operation under way; None if there is none.
    """

    def __init__(self, master: LockedMaster) -> None:
        self.under_way: str | None = None
        self._master = master
        #: Fires when the operation under way has ended.
        self._work: Deferred[None] | None = None
        self._doing: Deferred[OperationResult] | None = None

    def give_up(self) -> None:
        """Cancel the operation under way: the master is stopping."""
        if self._doing is not None:
            self._doing.cancel()

    def begin(self, name: str, work: Work) -> Deferred[OperationResult]:
        """
        Start an operation, unless another one is under way.

        :param name: its name, in a word.
        :param work: its coroutine, which is closed if it is refused.
        :return: fires with the verdict.
        :raise BusyError: if another operation is under way, or the cluster not running.
        """
        why = self._cannot_begin(name)
        if why:
            work.close()
            raise BusyError(f"cannot {name}: {why}")
        before, self.under_way = self._work, name
        self._master.changed()
        self._work = Deferred()
        verdict: Deferred[OperationResult] = Deferred()
        self._doing = Deferred.fromCoroutine(self._do(name, work, before))
        self._doing.chainDeferred(verdict)
        return verdict

    def _cannot_begin(self, name: str) -> str:
        phase = self._master.phase
        if phase != "running":
            return f"the cluster is {phase}"
        # No operator has requested a recycling, so it refuses no other operation.
        if self.under_way is None or (self.under_way == RECYCLE and name != RECYCLE):
            return ""
        return f"{with_article(self.under_way)} is under way"

    async def _do(
        self, name: str, work: Work, before: Deferred[None] | None
    ) -> OperationResult:
        """Run an operation after the one before it has ended; return its verdict."""
        ended = self._work
        try:
            if before is not None:
                await before
            verdict = OperationResult(True, await work)
        except CanaryError as error:
            verdict = OperationResult(False, str(error), error.traceback)
        except ClusterError as error:
            verdict = OperationResult(False, str(error))
        except CancelledError:
            verdict = OperationResult(False, "given up: the cluster is stopping")
        except Exception as error:  # noqa: BLE001 - it is in the verdict, and logged
            _log.failure("an operation failed")
            text = f"{type(error).__name__}: {error}"
            trace = format_error(error, error.__traceback__)
            verdict = OperationResult(False, text, trace)
        finally:
            work.close()
            is_last = self._work is ended
            if is_last:
                self.under_way = self._work = None
            if ended is not None:
                ended.callback(None)
        _note_verdict(verdict, name)
        if is_last:
            # After the verdict is logged: a waiting signal's operation may start here.
            self._master.changed()
        return verdict


def _note_verdict(verdict: OperationResult, name: str) -> None:
    if verdict.ok:
        _log.info("{name} done: {text}", name=name, text=verdict.text)
        return
    if verdict.traceback:
        _log.error("{traceback}", traceback=verdict.traceback.rstrip())
    _log.error("{name} failed: {text}", name=name, text=verdict.text)
