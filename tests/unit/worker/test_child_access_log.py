"""The access log of a child: when it is opened, and opened again."""

import os
import tempfile
from pathlib import Path
from typing import Any, cast

from clusterapp.channel.bootstrap import CONTROL_FD
from clusterapp.http.access_log.access_record import AccessRecord
from clusterapp.worker.child_program import FAILED_BOOT
from tests.unit.master import master_apps
from tests.unit.worker.children import WORKER, ChildCase

ANSWERED = AccessRecord("::1", b"GET", b"/old", b"HTTP/1.1", [], 200, 5, 0.001)

os_close = os.close


class AccessLogTests(ChildCase):
    """A worker that notes what it answers."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "access.log"
        self.access_log = str(self.path)

    def close(self, descriptor: int) -> None:
        """Close the log's files, which are there."""
        super().close(descriptor)
        if descriptor != CONTROL_FD:
            os_close(descriptor)

    def finish(self) -> None:
        """Do what the reactor does when it has stopped."""
        for call, arguments, words in self.reactor.triggers["after"]["shutdown"]:
            call(*arguments, **words)

    def test_rotation(self) -> None:
        """What is noted before goes to the old file, what comes later to the new."""
        recorder = cast("Any", self.begin()._host).site.recorder
        recorder.record(ANSWERED)
        old = self.path.rename(self.path.with_suffix(".1"))
        self.far.reopen_logs()
        self.pump.flush()
        recorder.record(ANSWERED._replace(target=b"/new"))
        self.finish()
        self.assertIn("GET /old HTTP/1.1", old.read_text())
        self.assertIn("GET /new HTTP/1.1", self.path.read_text())
        self.assertEqual(len((old.read_text() + self.path.read_text()).split("\n")), 3)

    def test_rotation_while_it_boots(self) -> None:
        """The file may be open long before there is anything to note."""
        waited = master_apps.pending(master_apps.START)
        child = self.begin(WORKER)
        self.path.unlink()
        self.far.reopen_logs()
        self.pump.flush()
        self.assertTrue(self.path.exists())
        waited.callback(None)
        self.assertIsNotNone(child._served)
        self.finish()

    def test_file_that_cannot_be_opened(self) -> None:
        """The worker does not start without it; the master is told why."""
        self.path.mkdir()
        child = self.begin()
        [(loading, reason, _)] = self.master.failures
        self.assertIs(loading, False)
        self.assertIn("IsADirectoryError", reason)
        self.assertEqual(child.exit_status, FAILED_BOOT)
