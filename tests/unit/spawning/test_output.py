"""The output of a child, as the master reads it."""

import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.log_pipe.log_events import LOG_FD, ChildEvent
from clusterapp.channel.log_pipe.log_records import records_of
from clusterapp.spawning.output import BURST, PAUSE, RATE, ChildOutput


class Pipe:
    """A pipe's transport, which is read or is not."""

    def __init__(self) -> None:
        self.paused = False
        self.descriptor = -1

    def fileno(self) -> int:
        return self.descriptor

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False


def event(text: str) -> ChildEvent:
    """Make an event."""
    return ChildEvent(time=1.0, level="info", namespace="shop", text=text)


class OutputTests(SynchronousTestCase):
    """Lines and events, at a bounded rate."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.lines: list[tuple[str, bool]] = []
        self.events: list[ChildEvent] = []
        self.output = ChildOutput(self.clock, self)
        # Number 0 is the child's stdin, which is written.
        self.pipes = {1: Pipe(), 2: Pipe(), LOG_FD: Pipe()}
        self.output.pipes = {0: object(), **self.pipes}

    def printed(self, line: str, *, error: bool) -> None:
        self.lines.append((line, error))

    def logged(self, event: ChildEvent) -> None:
        self.events.append(event)

    def send(self, *events: ChildEvent) -> None:
        records = [each for e in events for each in records_of(7, e.to_bytes())]
        self.output.received(LOG_FD, b"".join(records))

    @property
    def paused(self) -> set[bool]:
        return {pipe.paused for pipe in self.pipes.values()}

    def test_lines_and_events(self) -> None:
        self.output.received(1, b"out\nrest")
        self.output.received(2, b"err\n")
        self.send(event("a"), event("b"))
        self.assertEqual(self.lines, [("out", False), ("err", True)])
        self.assertEqual(self.events, [event("a"), event("b")])
        for descriptor in (1, 2, LOG_FD):
            self.output.ended(descriptor)
        self.assertEqual(self.lines[2:], [("rest", False)])
        self.assertEqual(self.paused, {False})

    def test_no_event(self) -> None:
        """What the application wrote to that pipe is told, and ends nothing."""
        self.output.received(LOG_FD, records_of(7, b"{}")[0])
        self.send(event("next"))
        [(line, error)] = self.lines
        self.assertIn("no log event", line)
        self.assertTrue(error)
        self.assertEqual(self.events, [event("next")])

    def test_too_much(self) -> None:
        """The pipes are left alone for as long as what came takes at the rate."""
        self.output.received(1, b"x\n" * (int(BURST) + 500))
        self.assertEqual(self.paused, {True})
        self.clock.advance(500 / RATE - 0.01)
        self.assertEqual(self.paused, {True})
        self.clock.advance(0.02)
        self.assertEqual(self.paused, {False})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_rate_in_the_long_run(self) -> None:
        """However fast a child writes, the master takes no more each second."""
        taken, seconds = 0, 20
        while self.clock.seconds() < seconds:
            if False in self.paused:
                self.output.received(2, b"x\n" * 100)
                taken += 100
            else:
                self.clock.advance(PAUSE / 2)
        self.assertLess(taken, BURST + RATE * (seconds + 1))

    def test_long_lines_count_more(self) -> None:
        """It is the bytes, too, that take time, even of a line that never ends."""
        for end in (b"\n", b""):
            self.setUp()
            for _ in range(300):
                self.output.received(2, b"x" * 16_000 + end)
            self.assertEqual(self.paused, {True})

    def test_long_events_count_more(self) -> None:
        for _ in range(300):
            self.send(event("x" * 16_000))
        self.assertEqual(self.paused, {True})

    def test_process_that_is_gone(self) -> None:
        """What it has left in a pipe is read before anybody hears that it is gone."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.set_blocking(reading, False)
        self.pipes[2].descriptor = reading
        self.output.pipes = {2: self.pipes[2]}
        os.write(writing, b"x" * 9_000 + b"\nlast\n")
        self.output.drain()
        os.write(writing, b"later\n")
        os.close(writing)
        self.output.drain()
        self.assertEqual([line for line, _ in self.lines][1:], ["last", "later"])

    def test_program_that_goes_on_writing(self) -> None:
        """Its end of the pipe is open, and full again as soon as it was read."""
        self.patch(os, "read", lambda *_: b"x" * 65_000 + b"\n")
        self.output.drain()
        self.assertLess(len(self.lines), 100)

    def test_usual_rates(self) -> None:
        """A line for each of some hundred requests a second is no trouble."""
        for _ in range(100):
            self.output.received(1, b"x\n" * 80)
            self.clock.advance(0.1)
        self.assertEqual(self.paused, {False})
