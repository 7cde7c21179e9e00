"""Lines that are collected and written together, on a clock that only tests move."""

import os
import tempfile
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.logs.appending import (
    FIRST_RETRY,
    FULL,
    LAST_RETRY,
    MOST_KEPT,
    PAUSE,
    Appender,
)
from clusterapp.logs.log_output import LineOutput, open_again, open_path
from tests.unit.fakes import Log, descriptors

LINE = b"%099d\n" % 0


class AppenderCase(SynchronousTestCase):
    """A folder for the log, and nothing left when the test ends."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "access.log"
        self.clock = Clock()
        self.log = Log(self)
        self.before = descriptors()
        self.addCleanup(lambda: self.assertEqual(descriptors(), self.before))
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def appender(self, path: Path | None = None) -> Appender:
        """Append to a path; the test closes it."""
        name = str(path or self.path)
        return Appender(self.clock, name, lambda: LineOutput(open_path(name)))

    def assert_log(self, *lines: str) -> None:
        """Look at what is logged, all of it as errors, and forget it."""
        self.assertEqual(self.log.lines(LogLevel.error), list(lines))
        self.log.events.clear()


class BatchTests(AppenderCase):
    """When lines are written."""

    def test_a_moment_later(self) -> None:
        """Lines wait for each other, the first of them for no longer than this."""
        appender = self.appender()
        appender.add(b"1\n")
        self.clock.advance(PAUSE / 2)
        appender.add(b"2\n")
        self.assertEqual(self.path.read_bytes(), b"")
        self.clock.advance(PAUSE / 2)
        self.assertEqual(self.path.read_bytes(), b"1\n2\n")
        appender.close()

    def test_nothing_to_do(self) -> None:
        """No timer runs while nothing waits."""
        appender = self.appender()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        appender.add(b"1\n")
        self.clock.advance(PAUSE)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        appender.add(b"2\n")
        self.clock.advance(PAUSE)
        self.assertEqual(self.path.read_bytes(), b"1\n2\n")
        appender.close()

    def test_many(self) -> None:
        """They are written at once when there are enough; the pause begins anew."""
        appender = self.appender()
        for _ in range(FULL // len(LINE)):
            appender.add(LINE)
        self.assertEqual(self.path.read_bytes(), b"")
        appender.add(LINE)
        self.assertEqual(self.path.stat().st_size, (FULL // len(LINE) + 1) * len(LINE))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        appender.add(LINE)
        self.assertEqual(self.path.stat().st_size % (2 * len(LINE)), 0)
        appender.close()

    def test_close(self) -> None:
        """What waits is written."""
        appender = self.appender()
        appender.add(b"1\n")
        appender.close()
        self.assertEqual(self.path.read_bytes(), b"1\n")
        self.assert_log()

    def test_longest_line(self) -> None:
        """It is the output's."""
        appender = self.appender()
        self.assertEqual(appender.longest_line, 65_536)
        appender.close()


class ReopenTests(AppenderCase):
    """A file that is renamed."""

    def test_rotation(self) -> None:
        """What was collected before goes to the old file, the rest to the new one."""
        appender, old = self.appender(), self.path.with_suffix(".1")
        appender.add(b"1\n")
        self.path.rename(old)
        appender.add(b"2\n")
        appender.reopen()
        appender.add(b"3\n")
        appender.close()
        self.assertEqual(old.read_bytes(), b"1\n2\n")
        self.assertEqual(self.path.read_bytes(), b"3\n")

    def test_file_that_cannot_be_opened(self) -> None:
        """Lines go to the old one, and an error tells of it."""
        appender, old = self.appender(), self.path.with_suffix(".1")
        self.path.rename(old)
        self.path.mkdir()
        appender.add(b"1\n")
        appender.reopen()
        appender.add(b"2\n")
        appender.close()
        self.assertEqual(old.read_bytes(), b"1\n2\n")
        [line] = self.log.lines(LogLevel.error)
        self.assertIn(f"{self.path}, so the old file is kept: ", line)
        self.assertIn("Is a directory", line)

    def test_disk_was_full(self) -> None:
        """What the old file did not take is written to the new one."""
        full = self.path.parent / "full"
        full.symlink_to("/dev/full")
        appender = self.appender(full)
        appender.add(b"1\n")
        self.clock.advance(PAUSE)
        full.unlink()
        appender.reopen()
        self.assertEqual(full.read_bytes(), b"1\n")
        appender.close()
        self.assert_log(
            f"cannot write the access log {full}: [Errno 28] No space left on device"
        )


class TroubleTests(AppenderCase):
    """What cannot be written."""

    def setUp(self) -> None:
        super().setUp()
        self.full = self.path.parent / "full"
        self.full.symlink_to("/dev/full")
        self.why = "[Errno 28] No space left on device"

    def room(self) -> None:
        """Remove the full file, so that it can be written when it is reopened."""
        self.full.unlink()

    def test_one_error(self) -> None:
        """However many lines there are, and however long it lasts."""
        appender = self.appender(self.full)
        for _ in range(3):
            for _ in range(1000):
                appender.add(LINE)
            self.clock.advance(LAST_RETRY)
        self.assert_log(f"cannot write the access log {self.full}: {self.why}")
        appender.close()
        self.assert_log(f"3000 lines of the access log {self.full} lost: {self.why}")

    def test_attempts_become_rare(self) -> None:
        """There is no hurry with a disk that stays full."""
        appender = self.appender(self.full)
        appender.add(LINE)
        self.clock.advance(PAUSE)
        pauses = []
        for _ in range(9):
            [timer] = self.clock.getDelayedCalls()
            pauses.append(timer.getTime() - self.clock.seconds())
            self.clock.advance(pauses[-1])
        self.assertAlmostEqual(pauses[0], 2 * FIRST_RETRY)
        self.assertAlmostEqual(pauses[1], 4 * FIRST_RETRY)
        self.assertAlmostEqual(pauses[-1], LAST_RETRY)
        appender.close()

    def test_memory_is_bounded(self) -> None:
        """The oldest lines are kept, and those that came too late are counted."""
        kept = MOST_KEPT // len(LINE)
        appender = self.appender(self.full)
        for number in range(kept + 70):
            appender.add(b"%099d\n" % number)
        self.room()
        appender.reopen()
        lines = self.full.read_bytes().splitlines()
        self.assertEqual([int(line) for line in lines], list(range(kept)))
        self.assert_log(
            f"cannot write the access log {self.full}: {self.why}",
            f"70 lines of the access log {self.full} lost: {self.why}",
        )
        appender.close()

    def test_trouble_is_over(self) -> None:
        """Then all is as before; the next trouble is told anew."""
        appender = self.appender(self.full)
        appender.add(b"1\n")
        self.clock.advance(PAUSE)
        self.room()
        appender.reopen()
        appender.add(b"2\n")
        self.assertEqual(self.full.read_bytes(), b"1\n")
        self.clock.advance(PAUSE)
        self.assertEqual(self.full.read_bytes(), b"1\n2\n")
        for _ in range(FULL // len(LINE) + 1):
            appender.add(LINE)
        self.assertGreater(self.full.stat().st_size, FULL)
        self.full.unlink()
        self.full.symlink_to("/dev/full")
        appender.reopen()
        appender.add(b"3\n")
        appender.close()
        error = f"cannot write the access log {self.full}: {self.why}"
        lost = f"1 line of the access log {self.full} lost: {self.why}"
        self.assert_log(error, error, lost)


class SlowTests(AppenderCase):
    """A pipe whose reader is slow."""

    def setUp(self) -> None:
        super().setUp()
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.slow = Appender(
            self.clock, "-", lambda: LineOutput(open_again(self.writing))
        )

    def test_reader_comes_back(self) -> None:
        """Nothing is lost, and nothing is said of it."""
        for _ in range(3000):
            self.slow.add(LINE)
        got = b""
        while self.clock.getDelayedCalls():
            got += os.read(self.reading, 1 << 20)
            self.clock.advance(FIRST_RETRY)
        got += os.read(self.reading, 1 << 20)
        self.assertEqual(got, LINE * 3000)
        self.slow.close()
        os.close(self.reading)
        os.close(self.writing)
        self.assert_log()

    def test_reader_sleeps(self) -> None:
        """The error comes with the first line that is lost."""
        added = 0
        while not self.log.events:
            self.slow.add(LINE)
            added += 1
        written = len(os.read(self.reading, 1 << 20)) // len(LINE)
        self.assertEqual(added, written + MOST_KEPT // len(LINE) + 1)
        why = "[Errno 11] Resource temporarily unavailable"
        self.assert_log(f"cannot write the access log -: {why}")
        self.slow.add(LINE)
        self.slow.flush()
        self.assertEqual(self.log.lines(), [])
        self.slow.close()
        written += len(os.read(self.reading, 1 << 20)) // len(LINE)
        os.close(self.reading)
        os.close(self.writing)
        lost = added + 1 - written
        self.assert_log(f"{lost} lines of the access log - lost: {why}")
