"""Asking a child, in the master, what it is doing, and collecting what it says."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from clusterapp.channel.inspection import END
from clusterapp.guards import guarded
from clusterapp.spawning.execute import Child

#: Seconds of silence that end an answer whose own end does not come.
QUIET = 0.3

#: Seconds that an answer may take.
PATIENCE = 3.0


class Inspector:
    """
    Inspects the process of one slot, whichever that is.

    What it says comes on stderr; other lines that come there at the time are taken
    for a part of it. All of them go to the log as well, like everything.

    :param clock: keeps the time.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._answer: _Answer | None = None

    def inspect(self, child: Child, patience: float = PATIENCE) -> Deferred[str]:
        """
        Ask a process what it is doing.

        :param child: the process; if it is being asked already, it is not again.
        :param patience: the seconds that it may take.
        :return: fires with what it said, which is nothing if it cannot speak.
        """
        if self._answer is None:
            self._answer = _Answer(self._clock, child, self._ended)
        return self._answer.wait(patience)

    def printed(self, line: str) -> None:
        """Hear a line that the process wrote to stderr."""
        if self._answer is not None:
            self._answer.heard(line)

    def exited(self) -> None:
        """Hear that the process is gone."""
        if self._answer is not None:
            self._answer.end()

    def _ended(self) -> None:
        self._answer = None


class _Answer:
    """
    What one process says when it is asked.

    :param clock: keeps the time.
    :param child: the process.
    :param ended: called once, when nothing more is waited for.
    """

    def __init__(
        self, clock: IReactorTime, child: Child, ended: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._child = child
        self._ended = ended
        self._lines: list[str] = []
        self._waiting: list[Deferred[str]] = []
        self._last_resort = False
        self._limit = clock.callLater(PATIENCE, self.end)
        self._silence = clock.callLater(QUIET, self._silent)
        child.inspect()

    def wait(self, patience: float) -> Deferred[str]:
        """Fire when the answer is there, or these seconds are over."""
        if self._limit.getTime() > self._clock.seconds() + patience:
            self._limit.reset(patience)
        fired: Deferred[str] = Deferred()
        self._waiting.append(fired)
        return fired

    def heard(self, line: str) -> None:
        """Take a line."""
        # The application may have begun a line and not ended it.
        if line.endswith(END):
            self.end()
        else:
            self._lines.append(line)
            self._silence.reset(QUIET)

    @guarded("take the answer of a process")
    def end(self) -> None:
        """Wait no longer."""
        for timer in (self._limit, self._silence):
            if timer.active():
                timer.cancel()
        self._ended()
        text = "\n".join(self._lines)
        for fired in self._waiting:
            fired.callback(text)

    @guarded("take the answer of a process")
    def _silent(self) -> None:
        if self._last_resort:
            self.end()
            return
        # No Python code of it runs; what is written in C does.
        self._last_resort = True
        self._silence = self._clock.callLater(QUIET, self._silent)
        self._child.dump_stacks()
