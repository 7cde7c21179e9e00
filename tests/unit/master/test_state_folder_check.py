"""The master's look at its state folder, once a second."""

import shutil
import tempfile
from pathlib import Path
from typing import cast

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.master.master_sockets import Sockets
from clusterapp.master.resource_usage import Monitor
from clusterapp.master.state_folder_check import StateCheck
from clusterapp.settings.model import Settings


class StateCheckTests(SynchronousTestCase):
    """A cluster's sockets, in a folder of the test's own, and a clock."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.state = Path(folder.name) / "state"
        self.sockets = Sockets(Settings(state=str(self.state)))
        self.addCleanup(self.sockets.close)
        self.sockets.open_state()
        self.events: list[LogEvent] = []
        observer = cast("ILogObserver", self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.problems: list[str] = []
        self.clock = Clock()
        check = StateCheck(
            self.sockets, lambda: self.problems.append(self.sockets.state_problem)
        )
        monitor = Monitor(lambda: ())
        monitor.start(self.clock, check.look)
        self.addCleanup(monitor.stop)

    def logged(self) -> list[str]:
        """Return what was logged since the last call."""
        said = [formatEvent(event) for event in self.events]
        self.events.clear()
        return said

    def test_made_again(self) -> None:
        """Within a second, with one line in the log; the cluster stays ready."""
        path = Path(self.sockets.core_path or "")
        self.clock.advance(1)
        self.assertEqual(self.logged(), [])
        shutil.rmtree(self.state)
        self.clock.advance(1)
        self.assertTrue(path.is_socket())
        self.clock.pump([1] * 100)
        (line,) = self.logged()
        self.assertIn(
            f"{path.parent} and 1 more path of the state folder were removed or"
            " replaced, and made again: ",
            line,
        )
        self.assertIn("--state", line)
        self.assertEqual(self.problems, [])

    def test_cannot_be_made(self) -> None:
        """The cluster is not ready meanwhile, and says why once a minute."""
        shutil.rmtree(self.state)
        self.state.write_text("")
        self.clock.pump([1] * 60)
        (line,) = self.logged()
        self.assertIn(str(self.state), line)
        self.assertEqual(self.problems, ["the state folder was removed: see the log"])
        self.clock.advance(1)
        self.assertEqual(self.logged(), [line])
        self.state.unlink()
        self.clock.advance(1)
        self.assertEqual(self.problems[1:], [""])

    def test_needed_at_once(self) -> None:
        """A reload does not wait for the next look, which logs what was made."""
        shutil.rmtree(self.state)
        self.assertTrue(Path(self.sockets.cache(2) or "").is_dir())
        shutil.rmtree(self.state)
        place = self.sockets.slot(0)
        self.assertTrue(Path(place.private.path or "").is_socket())
        self.clock.advance(1)
        self.assertEqual(len(self.logged()), 1)
