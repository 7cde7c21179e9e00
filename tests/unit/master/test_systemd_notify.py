"""What systemd hears of a cluster, on a clock that only the test moves."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.master.systemd_notify import Notifying, ServiceStatus
from clusterapp.systemd import Notifier


class Cluster:
    """A cluster that stands as the test says."""

    def __init__(self) -> None:
        self.now = ServiceStatus("stopped", ready=False, operation=None, text="")
        self._changed: list[Callable[[], None]] = []

    def service_status(self) -> ServiceStatus:
        return self.now

    def watch(self, changed: Callable[[], None]) -> None:
        self._changed.append(changed)

    def becomes(self, **facts: Any) -> None:
        """Stand otherwise."""
        self.now = replace(self.now, **facts)
        for changed in self._changed:
            changed()


class Words(Notifier):
    """Writes down what systemd would be told."""

    def __init__(self) -> None:
        super().__init__(None)
        self.said: list[str] = []

    def _send(self, *lines: str) -> None:
        self.said.append(lines[0])


class NotifyingTests(SynchronousTestCase):
    """A cluster under systemd."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.cluster = Cluster()
        self.words = Words()

    def start(self, interval: float | None = None) -> None:
        self.service = Notifying(self.clock, self.words, self.cluster, interval)
        self.service.startService()
        self.cluster.becomes(state="starting")
        self.addCleanup(
            lambda: self.assertEqual(self.clock.getDelayedCalls(), [], "left behind")
        )

    def start_and_serve(self, interval: float | None = None) -> None:
        self.start(interval)
        self.cluster.becomes(state="running", ready=True)
        self.words.said.clear()

    def assert_said(self, *words: str) -> None:
        """Check what was said since the last time."""
        self.assertEqual(self.words.said, list(words))
        self.words.said.clear()

    def stop(self) -> Deferred[None]:
        return self.service.stopService()

    def test_start(self) -> None:
        """It is ready when there are workers, and says so once."""
        self.start()
        self.assert_said()
        self.cluster.becomes(state="running")
        self.assert_said()
        self.cluster.becomes(ready=True)
        self.assert_said("READY=1")
        self.cluster.becomes(ready=False)
        self.cluster.becomes(ready=True)
        self.assert_said()

    def test_ready_by_then(self) -> None:
        """The cluster may be faster than the service that follows it."""
        self.cluster.becomes(state="running", ready=True)
        self.service = Notifying(self.clock, self.words, self.cluster)
        self.assert_said()
        self.service.startService()
        self.assert_said("READY=1")

    def test_status(self) -> None:
        """It is said when it is another, before what else is new."""
        self.start()
        self.cluster.becomes(text="0 of 4 workers ready")
        self.cluster.becomes(text="0 of 4 workers ready")
        self.assert_said("STATUS=0 of 4 workers ready")
        self.cluster.becomes(ready=True, text="4 of 4 workers ready")
        self.assert_said("STATUS=4 of 4 workers ready", "READY=1")

    def test_reload(self) -> None:
        """It begins and ends, whether it goes well or not."""
        self.start_and_serve()
        self.cluster.becomes(operation="reload")
        self.cluster.becomes(ready=False)
        self.assert_said("RELOADING=1")
        self.cluster.becomes(operation=None)
        self.assert_said("READY=1")

    def test_other_operations(self) -> None:
        """Systemd has no words for them."""
        self.start_and_serve()
        for operation in ("scale", "restart", None):
            self.cluster.becomes(operation=operation)
        self.assert_said()

    def test_reload_during_the_start(self) -> None:
        """Systemd waits for the end of the start first."""
        self.start()
        self.cluster.becomes(operation="reload")
        self.cluster.becomes(ready=True)
        self.assert_said("READY=1")
        self.cluster.becomes(text="reloading")
        self.assert_said("STATUS=reloading", "RELOADING=1")

    def test_stop(self) -> None:
        """It is said at once, and the service is there until the cluster has gone."""
        self.start_and_serve()
        stopped = self.stop()
        self.assert_said("STOPPING=1")
        self.cluster.becomes(state="stopping", ready=False, text="3 workers drain")
        self.assert_said("STATUS=3 workers drain")
        self.assertNoResult(stopped)
        self.cluster.becomes(state="stopped")
        self.successResultOf(stopped)
        self.cluster.becomes(text="gone")
        self.assert_said()

    def test_cluster_that_stops_by_itself(self) -> None:
        """Its program stops afterwards."""
        self.start_and_serve()
        self.cluster.becomes(state="stopping")
        self.cluster.becomes(state="stopped")
        self.assert_said("STOPPING=1")
        self.successResultOf(self.stop())
        self.assert_said()

    def test_stop_during_a_reload(self) -> None:
        """Nothing is ready again."""
        self.start_and_serve()
        self.cluster.becomes(operation="reload")
        self.cluster.becomes(state="stopping")
        self.cluster.becomes(operation=None)
        self.assert_said("RELOADING=1", "STOPPING=1")

    def test_start_that_fails(self) -> None:
        self.start()
        self.cluster.becomes(state="stopping")
        self.assert_said("STOPPING=1")

    def test_watchdog(self) -> None:
        """It is told from the start until the cluster has stopped."""
        self.start(interval=5.0)
        self.assert_said("WATCHDOG=1")
        self.clock.pump([2.5] * 4)
        self.assert_said("WATCHDOG=1", "WATCHDOG=1")
        stopped = self.stop()
        self.clock.advance(5.0)
        self.assert_said("STOPPING=1", "WATCHDOG=1")
        self.cluster.becomes(state="stopped")
        self.successResultOf(stopped)
        self.clock.advance(5.0)
        self.assert_said()

    def test_another_start(self) -> None:
        """A service may be started again."""
        self.start_and_serve()
        self.stop()
        self.cluster.becomes(state="stopped", ready=False)
        self.words.said.clear()
        self.service.startService()
        self.cluster.becomes(state="running", ready=True)
        self.assert_said("READY=1")
