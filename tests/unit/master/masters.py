"""A whole master, with children that exist in memory only."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.master.service import ClusterService
from clusterapp.operations import OperationResult, Slot, Step
from clusterapp.settings.model import OPTIONS, Settings
from clusterapp.settings.resolution import ResolvedSettings
from tests.unit.fakes import FakeChild, FakeReactor, Log, descriptors
from tests.unit.master import master_apps

if TYPE_CHECKING:
    from clusterapp.errors import ClusterError

PLAIN = "tests.unit.master.master_apps:plain"
HOOKED = "tests.unit.master.master_apps:hooked"

WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


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

    def start_core(self, **settings: object) -> list[FakeChild]:
        """Start a master, and let a worker tell that the application has a core."""
        children = self.start(**settings)
        children[0].say_imported()
        return children

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
        """End the children that were told to drain or have got a signal."""
        for _ in range(3):
            self.reactor.flush()
            for child in self.reactor.living():
                if "drain" in child.heard or child.signals:
                    child.exit()

    def make_fatal(self, child: FakeChild, *, ready: bool = False) -> None:
        """
        Crash the processes of a child's slot until it is fatal.

        :param ready: whether the first one is ready before that.
        """
        slot = child.bootstrap["slot"]
        for number in range(5 + ready):
            child = self.child_in(slot)
            if ready and not number:
                child.say_ready()
            child.exit(status=1)
            self.reactor.advance(0)  # the fifth is where it is given up
            self.reactor.advance(1)  # no pause is longer, after so few crashes

    def child_in(self, slot: int) -> FakeChild:
        """Return the living child of a slot."""
        [found] = [c for c in self.reactor.living() if c.bootstrap["slot"] == slot]
        return found


class OperationCase(MasterCase):
    """A master whose workers are ready."""

    def run_master(self, **settings: object) -> list[FakeChild]:
        children = self.start(**settings)
        self.operations = self.service.operations
        self.steps: list[tuple[Slot | None, str]] = []
        for child in children:
            child.say_ready()
        return children

    def tell(self, step: Step) -> None:
        self.steps.append((step.slot, step.text))

    def newest(self) -> FakeChild:
        return self.reactor.children[-1]

    def answer_probe(self, answer: bytes = WELL) -> None:
        """Answer the request that the canary was sent."""
        self.newest().flush()
        [connection] = self.newest().adopted
        connection.close()
        asking = self.reactor.ends[-1].protocol
        asking.dataReceived(answer)
        asking.connectionLost(Failure(ConnectionDone()))  # the master lets go of it
        self.newest().flush()

    def pass_trial(self) -> FakeChild:
        """Complete the newest child's trial, and end its drained predecessor."""
        child = self.newest()
        self.assertIs(child.bootstrap["as_canary"], True)
        child.say_loaded()
        self.answer_probe()
        self.assertIn("activate", child.heard)
        child.say_ready()
        self.leave(child.bootstrap["slot"], but=child)
        return child

    def leave(self, slot: int, but: FakeChild | None = None) -> None:
        """End the children of a slot that were told to drain."""
        self.reactor.flush()
        for child in self.reactor.living():
            told = child is not but and "drain" in child.heard
            if told and child.bootstrap["slot"] == slot:
                child.exit()

    def reload_with(self, **settings: object) -> Deferred[OperationResult]:
        chosen = {**self.service.settings.as_mapping(), **settings}
        origins = {option.name: "test" for option in OPTIONS}
        self.patch(
            self.service,
            "_choose",
            lambda: ResolvedSettings(Settings(**chosen), origins),
        )
        return self.operations.reload(self.tell)

    def verdict(self, judged: Deferred[OperationResult]) -> OperationResult:
        verdict: OperationResult = self.successResultOf(judged)
        return verdict
