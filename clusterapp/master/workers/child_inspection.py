"""Asking a child, in the master, what it is doing, and collecting its answer."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from clusterapp.channel.inspection import END
from clusterapp.guards import guarded
from clusterapp.spawning.execute import Child

#: Seconds of silence after which an answer without its end mark is complete.
QUIET = 0.3

#: The timeout of an answer, in seconds.
TIMEOUT = 3.0


class Inspector:
    """
    Inspects the current process of one slot.

    The answer comes on stderr; other lines that come there meanwhile are regarded
    as a part of it. All lines are logged as well, as any output is.

    :param clock: the reactor, for timers.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._answer: _Answer | None = None

    def inspect(self, child: Child, timeout: float = TIMEOUT) -> Deferred[str]:
        """
        Ask a process what it is doing.

        :param child: the process; an inspection under way is joined.
        :param timeout: the timeout in seconds.
        :return: fires with the answer, which is empty if the process cannot reply.
        """
        if self._answer is None:
            self._answer = _Answer(self._clock, child, self._ended)
        return self._answer.wait(timeout)

    def printed(self, line: str) -> None:
        """Called with each line that the process has written to stderr."""
        if self._answer is not None:
            self._answer.line_received(line)

    def exited(self) -> None:
        """Called when the process has exited."""
        if self._answer is not None:
            self._answer.end()

    def _ended(self) -> None:
        self._answer = None


class _Answer:
    """
    The answer of one process.

    :param clock: the reactor, for timers.
    :param child: the process.
    :param ended: called once, when the answer is complete.
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
        self._limit = clock.callLater(TIMEOUT, self.end)
        self._silence = clock.callLater(QUIET, self._silent)
        child.inspect()

    def wait(self, timeout: float) -> Deferred[str]:
        """Return a Deferred that fires with the answer, or after so many seconds."""
        if self._limit.getTime() > self._clock.seconds() + timeout:
            self._limit.reset(timeout)
        fired: Deferred[str] = Deferred()
        self._waiting.append(fired)
        return fired

    def line_received(self, line: str) -> None:
        """Process a line of the answer."""
        # The end mark may follow text: the application may have left a line unfinished.
        if line.endswith(END):
            self.end()
        else:
            self._lines.append(line)
            self._silence.reset(QUIET)

    @guarded("collect the stacks of a process")
    def end(self) -> None:
        """Complete the answer with what has arrived."""
        for timer in (self._limit, self._silence):
            if timer.active():
                timer.cancel()
        self._ended()
        text = "\n".join(self._lines)
        for fired in self._waiting:
            fired.callback(text)

    @guarded("collect the stacks of a process")
    def _silent(self) -> None:
        if self._last_resort:
            self.end()
            return
        # None of its Python code runs; the signal handler, which is written in C, does.
        self._last_resort = True
        self._silence = self._clock.callLater(QUIET, self._silent)
        self._child.dump_stacks()
