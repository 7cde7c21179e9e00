"""The output of a child: lines of its stdout and stderr, and its log events."""

import os
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IReactorTime

from clusterapp.channel.log_pipe.lines import Lines
from clusterapp.channel.log_pipe.log_events import LOG_FD, ChildEvent
from clusterapp.channel.log_pipe.log_records import RecordReader
from clusterapp.guards import guarded

if TYPE_CHECKING:
    from collections.abc import Mapping

STDOUT, STDERR = 1, 2

#: The lines and events of one child that the master processes: so many per second, and
#: so many at once after a quiet time. Each `_A_LINE` bytes count as one more.
RATE, BURST = 1_000.0, 4_000.0
_A_LINE = 1_024

#: The seconds for which pipes are not read after the rate was exceeded.
PAUSE = 0.1


#: The bytes of a read, and the reads of each pipe, for the remaining output of a
#: process that has ended. A program that it has started may go on writing.
_READ, _LAST_READS = 65_536, 16


class OutputEvents(Protocol):
    """The master's callbacks for the output of a child."""

    def printed(self, line: str, *, error: bool) -> None:
        """
        Called with each line written to the descriptors of stdout or stderr.

        That is what C code and the child's own child processes write; what its Python
        code prints comes as log events.
        """

    def logged(self, event: ChildEvent) -> None:
        """Called with each log event."""


class ChildOutput:
    """
    Reads the output of one child, at a bounded rate.

    While the rate is exceeded, its pipes are not read. Then the child drops log events,
    and counts them; other writers to its stdout and stderr block.

    :param clock: the master's reactor.
    :param events: the callbacks for lines and events.
    """

    def __init__(self, clock: IReactorTime, events: OutputEvents) -> None:
        self._clock = clock
        self._events = events
        self._lines = {STDOUT: Lines(), STDERR: Lines()}
        self._records = RecordReader()
        self._left = BURST
        self._earned_at = clock.seconds()
        self._paused = False
        #: The pipes' transports, as in `twisted.internet.process.Process`: by the
        #: number of the descriptor in the child.
        self.pipes: Mapping[int, Any] = {}

    def received(self, descriptor: int, data: bytes) -> None:
        """Process bytes that were read from a pipe."""
        self._earn()
        self._left -= len(data) / _A_LINE
        if descriptor == LOG_FD:
            for message in self._records.feed(data):
                self._left -= 1
                self._logged(message)
        else:
            for line in self._lines[descriptor].feed(data):
                self._left -= 1
                self._events.printed(line, error=descriptor == STDERR)
        if self._left < 0 and not self._paused:
            self._pause()

    def ended(self, descriptor: int) -> None:
        """Process the incomplete last line of a pipe that has ended."""
        for line in self._lines[descriptor].end() if descriptor in self._lines else ():
            self._events.printed(line, error=descriptor == STDERR)

    def drain(self) -> None:
        """Read the remaining output in the pipes: the process has exited."""
        for descriptor, pipe in self._readers():
            for _ in range(_LAST_READS):
                try:
                    data = os.read(pipe.fileno(), _READ)
                except BlockingIOError:
                    break
                if not data:
                    break
                self.received(descriptor, data)

    def _earn(self) -> None:
        now = self._clock.seconds()
        self._left = min(self._left + (now - self._earned_at) * RATE, BURST)
        self._earned_at = now

    def _logged(self, message: bytes) -> None:
        try:
            event = ChildEvent.from_bytes(message)
        except ValueError as error:
            self._events.printed(f"no log event: {error}", error=True)
        else:
            self._events.logged(event)

    def _pause(self) -> None:
        self._paused = True
        for _, pipe in self._readers():
            pipe.pauseProducing()
        self._clock.callLater(max(PAUSE, -self._left / RATE), self._resume)

    @guarded("read the output of a child")
    def _resume(self) -> None:
        self._paused = False
        for _, pipe in self._readers():
            pipe.resumeProducing()

    def _readers(self) -> list[tuple[int, Any]]:
        known = (STDOUT, STDERR, LOG_FD)
        return [(fd, self.pipes[fd]) for fd in known if fd in self.pipes]
