"""A whole master, with children that exist in memory only."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.master.service import ClusterService
from clusterapp.settings.model import Settings
from tests.unit import master_apps
from tests.unit.fakes import FakeChild, FakeReactor, Log, descriptors

if TYPE_CHECKING:
    from clusterapp.errors import ClusterError

PLAIN = "tests.unit.master_apps:plain"
HOOKED = "tests.unit.master_apps:hooked"


class MasterCase(SynchronousTestCase):
    """A master, and nothing of it left when the test ends."""

    def setUp(self) -> None:
        master_apps.forget()
        folder = tempfile.TemporaryDirectory(prefix="clusterapp-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.state = self.folder / "state"
        self.path = self.folder / "a.sock"
        self.reactor = FakeReactor()
        self.log = Log(self)
        self.failures: list[ClusterError] = []
        self.before = descriptors()

    def make(self, **settings: object) -> ClusterService:
        chosen = {
            "app": PLAIN,
            "workers": 2,
            "listen": f"unix:{self.path}",
            "state": str(self.state),
            "graceful_timeout": 5,
            **settings,
        }
        self.service = ClusterService(
            Settings(**chosen),  # type: ignore[arg-type]
            reactor=self.reactor,
            on_failure=self.failures.append,
        )
        return self.service

    def start(self, **settings: object) -> list[FakeChild]:
        """Start a master, give its children."""
        self.make(**settings).startService()
        return [*self.reactor.children]

    def assert_nothing_left(self) -> None:
        """Neither a socket nor a folder, a process nor a timer."""
        self.assertEqual(descriptors(), self.before)
        self.assertFalse(self.path.exists())
        left = list(self.state.iterdir()) if self.state.exists() else []
        self.assertEqual(left, [])
        self.assertEqual(self.reactor.living(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertFalse(self.service.running)

    def finish(self) -> None:
        """Stop, let every child leave, and look for what is left."""
        stopped = self.service.stopService()
        self.let_go()
        self.successResultOf(stopped)
        self.assert_nothing_left()

    def let_go(self) -> None:
        """Let the children obey until none is left."""
        for _ in range(3):
            self.reactor.flush()
            for child in self.reactor.living():
                if "drain" in child.heard or child.signals:
                    child.exit()

    def make_fatal(self, child: FakeChild, *, ready: bool = False) -> None:
        """Let the processes of a child's slot crash until it is given up."""
        slot = child.bootstrap["slot"]
        for _ in range(5):
            child = self.child_in(slot)
            if ready:
                child.say_ready()
            child.exit(status=1)
            self.reactor.advance(0)  # the fifth is where it is given up
            self.reactor.advance(1)  # no pause is longer, after so few crashes

    def child_in(self, slot: int) -> FakeChild:
        """Give the living child of a slot."""
        [found] = [c for c in self.reactor.living() if c.bootstrap["slot"] == slot]
        return found
