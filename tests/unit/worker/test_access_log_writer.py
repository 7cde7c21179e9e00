"""The access log of one worker, from an answer to its line in a file."""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.http.access_log.access_record import AccessRecord
from clusterapp.logs.appending import PAUSE
from clusterapp.settings.model import Settings
from clusterapp.worker.access_log_writer import AccessLog, open_access_log

ANSWERED = AccessRecord("::1", b"GET", b"/a", b"HTTP/1.1", [], 200, 5, 0.001)


class RecordingTests(SynchronousTestCase):
    """What a worker is told decides what it writes, and where."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "access.log"
        self.reactor = MemoryReactorClock()
        self.patch(time, "time", lambda: 0.5)

    def open(self, where: str | int | None, **settings: Any) -> AccessLog | None:
        bootstrap = Bootstrap(
            role="worker", slot=3, generation=2, settings={}, access_log=where
        )
        return open_access_log(self.reactor, bootstrap, Settings(**settings))

    def recorded(self, where: str | int, **settings: Any) -> None:
        """Note an answer, and let it be written."""
        log = self.open(where, **settings)
        assert log is not None
        log.record(ANSWERED)
        self.reactor.advance(PAUSE)
        self.stop()

    def stop(self) -> None:
        """Do what the reactor does when it has stopped."""
        for call, arguments, words in self.reactor.triggers["after"]["shutdown"]:
            call(*arguments, **words)

    def test_none(self) -> None:
        self.assertIsNone(self.open(None))
        self.assertEqual(self.reactor.triggers, {})

    def test_combined(self) -> None:
        self.recorded(str(self.path))
        self.assertRegex(
            self.path.read_text(),
            r'^::1 - - \[.*\] "GET /a HTTP/1\.1" 200 5 "-" "-"\n$',
        )

    def test_json(self) -> None:
        """It says which process has written it, and when."""
        self.recorded(str(self.path), access_log_format="json")
        found = json.loads(self.path.read_text())
        self.assertEqual(
            [found[key] for key in ("slot", "generation", "pid", "time")],
            [3, 2, os.getpid(), "1970-01-01T00:00:00.500Z"],
        )

    def test_descriptor(self) -> None:
        """The master's stdout, which may be a pipe."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        self.recorded(writing, access_log="-")
        self.assertIn(b'"GET /a HTTP/1.1"', os.read(reading, 1000))

    def test_descriptor_is_not_passed_on(self) -> None:
        """Processes that the application starts do not keep it open."""
        writing = os.open(os.devnull, os.O_WRONLY)
        self.addCleanup(os.close, writing)
        os.set_inheritable(writing, True)
        self.recorded(writing, access_log="-")
        self.assertFalse(os.get_inheritable(writing))

    def test_lines_for_a_pipe_are_short(self) -> None:
        """So that they stay whole."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        for written_as in ("combined", "json"):
            log = self.open(writing, access_log="-", access_log_format=written_as)
            assert log is not None
            log.record(ANSWERED._replace(target=b"/" * 9000))
            self.reactor.advance(PAUSE)
            self.assertLess(len(os.read(reading, 65_536)), 4096)
        self.stop()

    def test_lines_for_a_file_are_whole(self) -> None:
        target = b"/" * 9000
        log = self.open(str(self.path))
        assert log is not None
        log.record(ANSWERED._replace(target=target))
        self.stop()
        self.assertIn(target, self.path.read_bytes())

    def test_stop(self) -> None:
        """What was noted at the very end is written, too."""
        log = self.open(str(self.path))
        assert log is not None
        log.record(ANSWERED)
        self.stop()
        self.assertTrue(self.path.read_bytes())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
