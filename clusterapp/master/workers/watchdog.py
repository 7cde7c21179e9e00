"""The watchdog of one slot, in the master: it aborts processes that hang."""

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from clusterapp.guards import guarded
from clusterapp.master.workers.child_inspection import Inspector
from clusterapp.spawning.execute import Child

#: A timer that fires so many seconds late shows that the master itself stood still.
STOOD_STILL = 1.0

#: Seconds in which a report may still arrive after the timeout. If the master or
#: the machine stood still, reports wait to be read, or for their worker to wake up.
GRACE = 0.25

#: Seconds for a process that hangs to report what it is doing.
LAST_WORDS = 0.7

#: Seconds from SIGABRT, at which stacks are written, to SIGKILL.
ABORTING = 1.0


class Watchdog:
    """
    Watches one process at a time by its reports.

    All that follows a hang, up to the kill, takes less than two seconds.

    :param clock: the reactor, for timers.
    :param timeout: the seconds without a report after which a process hangs.
    :param label: the name of the process in the log.
    :param inspector: asks the process what it is doing.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, timeout: float, label: str, inspector: Inspector
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._label = label
        self._inspector = inspector
        self._child: Child | None = None
        self._heard_at = 0.0
        self._due = 0.0
        self._in_grace = False
        self._timer: IDelayedCall | None = None

    def watch(self, child: Child) -> None:
        """Start watching a process, which is ready and reports."""
        self._child = child
        self._in_grace = False
        self.reported()
        self._look_in(self._timeout)

    def reported(self) -> None:
        """Called when the process has reported, so that its event loop runs."""
        self._heard_at = self._clock.seconds()

    def stop(self) -> None:
        """Stop watching: the process has exited, or is being killed."""
        self._child = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_in(self, seconds: float) -> None:
        # One timer for many reports: it is only rescheduled when it fires.
        self._due = self._clock.seconds() + seconds
        self._timer = self._clock.callLater(seconds, self._look)

    @guarded("look for a hang")
    def _look(self) -> None:
        now = self._clock.seconds()
        if now - self._due > STOOD_STILL:
            self._heard_at = now
        left = self._heard_at + self._timeout - now
        if left > 0:
            self._in_grace = False
            self._look_in(left)
        elif not self._in_grace:
            self._in_grace = True
            self._look_in(GRACE)
        else:
            self._timer = None
            self._hung(now - self._heard_at)

    def _hung(self, age: float) -> None:
        child = self._child
        assert child is not None  # noqa: S101 - without one there is no timer
        self._log.error(
            "{label} (pid {pid}) hangs: its event loop has not turned for"
            " {age:.1f} s; what it does follows, then it is aborted",
            label=self._label,
            pid=child.pid,
            age=age,
        )
        inspected = self._inspector.inspect(child, LAST_WORDS)
        inspected.addCallback(lambda _: self._abort(child))

    def _abort(self, child: Child) -> None:
        if self._child is not child:
            return  # it has exited, or is being killed
        self._timer = self._clock.callLater(ABORTING, self._kill, child)
        child.signal("ABRT")

    @guarded("kill a process that hangs")
    def _kill(self, child: Child) -> None:
        self._timer = None
        self._log.error(
            "{label} (pid {pid}) does not abort: killing it",
            label=self._label,
            pid=child.pid,
        )
        child.signal("KILL")
