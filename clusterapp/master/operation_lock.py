"""Operations, one at a time: how each begins and ends, and what the log has of it."""

from collections.abc import Coroutine
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from clusterapp.errors import BusyError, ClusterError
from clusterapp.master.cluster_status import Phase
from clusterapp.master.rollout.canary import TrialError
from clusterapp.operations import CORE, Slot, Step, Tell, Verdict
from clusterapp.tracebacks import format_error
from clusterapp.wording import with_article

#: What a master does by itself.
RECYCLE = "recycle"

#: An operation; it gives what is to be said of its success.
Work = Coroutine[Any, Any, str]

_log = Logger()


class Master(Protocol):
    """Whose operations they are."""

    @property
    def phase(self) -> Phase:
        """Where it is between its start and its end."""

    def changed(self) -> None:
        """Look at what has changed, and tell whom it concerns."""


def note(step: Step) -> None:
    """Write a step in the log."""
    where = "" if step.slot is None else f"{_process_name(step.slot)}: "
    _log.info("{where}{text}", where=where, text=step.text)


def _process_name(slot: Slot) -> str:
    return CORE if slot == CORE else f"worker {slot}"


def noting(tell: Tell) -> Tell:
    """Have each step in the log as well."""

    def both(step: Step) -> None:
        note(step)
        tell(step)

    return both


class OneAtATime:
    """
    Does one thing after the other, and refuses what comes in between.

    :param master: whose operations they are.
    :ivar under_way: what is being done, in a word; None if nothing is.
    """

    def __init__(self, master: Master) -> None:
        self.under_way: str | None = None
        self._master = master
        #: Fires when that has ended.
        self._work: Deferred[None] | None = None
        self._doing: Deferred[Verdict] | None = None

    def give_up(self) -> None:
        """Stop what is being done: the master is stopping."""
        if self._doing is not None:
            self._doing.cancel()

    def begin(self, name: str, work: Work) -> Deferred[Verdict]:
        """
        Do something, unless something else is being done.

        :param name: what it is, in a word.
        :param work: does it.
        :raise BusyError: if something is.
        """
        why = self._cannot_begin(name)
        if why:
            work.close()
            raise BusyError(f"cannot {name}: {why}")
        before, self.under_way = self._work, name
        self._master.changed()
        self._work = Deferred()
        verdict: Deferred[Verdict] = Deferred()
        self._doing = Deferred.fromCoroutine(self._do(name, work, before))
        self._doing.chainDeferred(verdict)
        return verdict

    def _cannot_begin(self, name: str) -> str:
        phase = self._master.phase
        if phase != "running":
            return f"the cluster is {phase}"
        # Nobody has asked for a recycling, so nobody is refused for its sake.
        if self.under_way is None or (self.under_way == RECYCLE and name != RECYCLE):
            return ""
        return f"{with_article(self.under_way)} is under way"

    async def _do(
        self, name: str, work: Work, before: Deferred[None] | None
    ) -> Verdict:
        """Do something when what comes before it has ended, and judge it."""
        ended = self._work
        try:
            if before is not None:
                await before
            verdict = Verdict(True, await work)
        except TrialError as error:
            verdict = Verdict(False, str(error), error.traceback)
        except ClusterError as error:
            verdict = Verdict(False, str(error))
        except CancelledError:
            verdict = Verdict(False, "given up: the cluster is stopping")
        except Exception as error:  # noqa: BLE001 - it is told, and logged
            _log.failure("an operation failed")
            text = f"{type(error).__name__}: {error}"
            trace = format_error(error, error.__traceback__)
            verdict = Verdict(False, text, trace)
        finally:
            work.close()
            is_last = self._work is ended
            if is_last:
                self.under_way = self._work = None
            if ended is not None:
                ended.callback(None)
        _note_verdict(verdict, name)
        if is_last:
            # Behind the verdict: this may begin what a signal has asked for meanwhile.
            self._master.changed()
        return verdict


def _note_verdict(verdict: Verdict, name: str) -> None:
    if verdict.ok:
        _log.info("{name} done: {text}", name=name, text=verdict.text)
        return
    if verdict.traceback:
        _log.error("{traceback}", traceback=verdict.traceback.rstrip())
    _log.error("{name} failed: {text}", name=name, text=verdict.text)
