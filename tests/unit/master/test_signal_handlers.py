"""What signals mean to a master; none is sent to the process that tests."""

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.master.signal_handlers import SAME_SIGNAL, Signals
from clusterapp.operations import Tell
from tests.unit.fakes import Log

if TYPE_CHECKING:
    from clusterapp.master.service import ClusterService

TERM, INT, QUIT = signal.SIGTERM, signal.SIGINT, signal.SIGQUIT
USR1, USR2, HUP = signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP
TTIN, TTOU = signal.SIGTTIN, signal.SIGTTOU


class Cluster:
    """Writes down what it is told to do."""

    def __init__(self, did: list[str]) -> None:
        self.operations = self
        self._did = did

    def drop_children(self) -> None:
        self._did.append("drop")

    def reopen_logs(self) -> None:
        self._did.append("reopen")

    def reload(self, tell: Tell) -> None:
        self._did.append("reload")

    def upgrade(self, tell: Tell) -> None:
        self._did.append("upgrade")

    def scale_by(self, more: int, tell: Tell) -> None:
        self._did.append(f"{more:+}")

    def by_signal(self, name: str, begin: Callable[[Tell], object]) -> None:
        self._did.append(name)
        begin(lambda _: None)


class SignalTests(SynchronousTestCase):
    """A program that runs."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.did: list[str] = []
        self.signals = Signals(
            self.reactor,
            cast("ClusterService", Cluster(self.did)),
            lambda: self.did.append("stop"),
        )

    def hear(self, *numbers: signal.Signals, every: float = 1.0) -> None:
        for number in numbers:
            self.signals._received(number)
            self.reactor.advance(every)

    def test_one(self) -> None:
        """Gracefully."""
        for number in (TERM, INT):
            self.setUp()
            self.hear(number)
            self.assertEqual(self.did, ["stop"])

    def test_two(self) -> None:
        """The second is an order to hurry, whichever it is; so is each after it."""
        for first in (TERM, INT):
            for second in (TERM, INT, QUIT):
                self.setUp()
                self.hear(first, second, TERM)
                self.assertEqual(self.did, ["stop", "drop", "drop"])

    def test_quit(self) -> None:
        """Quickly from the first on."""
        self.hear(QUIT)
        self.assertEqual(self.did, ["stop", "drop"])

    def test_quit_follows_at_once(self) -> None:
        """It is never taken for another signal."""
        self.hear(TERM, QUIT, every=0)
        self.assertEqual(self.did, ["stop", "drop"])

    def test_sent_twice(self) -> None:
        """timeout(1) does that; it is one order."""
        self.hear(TERM, TERM, TERM, every=SAME_SIGNAL / 4)
        self.assertEqual(self.did, ["stop"])
        self.reactor.advance(SAME_SIGNAL)
        self.hear(TERM)
        self.assertEqual(self.did, ["stop", "drop"])

    def test_log(self) -> None:
        """Which signal it was."""
        log = Log(self)
        self.hear(INT, TERM)
        self.assertEqual(log.lines(), ["SIGINT: stopping", "SIGTERM: stopping quickly"])


class Running(MemoryReactorClock):
    """Keeps what is to be done in its own turn."""

    def __init__(self) -> None:
        super().__init__()
        self.later: list[tuple[Callable[..., object], tuple[int, ...]]] = []

    def callFromThread(self, call: Callable[..., object], *numbers: int) -> None:
        self.later.append((call, numbers))


class InstallTests(SynchronousTestCase):
    """The installation and removal of the master's signal handlers."""

    def setUp(self) -> None:
        self.installed: dict[int, object] = {}
        self.patch(signal, "signal", self.installed.__setitem__)
        self.reactor = Running()
        self.did: list[str] = []
        self.signals = Signals(
            self.reactor,
            cast("ClusterService", Cluster(self.did)),
            lambda: self.did.append("stop"),
        )

    def test_after_the_reactors_own(self) -> None:
        """The reactor, when it starts to run, would take them away again."""
        self.signals.startService()
        self.assertEqual(self.installed, {})
        self.reactor.run()
        self.assertEqual(
            set(self.installed), {TERM, INT, QUIT, USR1, HUP, USR2, TTIN, TTOU}
        )

    def test_heard_in_the_reactors_turn(self) -> None:
        """A handler of the operating system may interrupt anything."""
        self.signals.startService()
        self.reactor.run()
        installed = self.installed[TERM]
        assert callable(installed)
        installed(TERM, None)
        self.assertEqual(self.did, [])
        [(call, numbers)] = self.reactor.later
        call(*numbers)
        self.assertEqual(self.did, ["stop"])

    def hear_usr1(self, before: object) -> None:
        """Install the signals, and let one come that says that logs were renamed."""
        self.patch(signal, "getsignal", {USR1: before}.__getitem__)
        self.signals.startService()
        self.reactor.run()
        installed = self.installed[USR1]
        assert callable(installed)
        installed(USR1, None)
        self.assertNotIn("reopen", self.did)
        [(call, numbers)] = self.reactor.later
        call(*numbers)

    def test_logs_are_renamed(self) -> None:
        log = Log(self)
        for before in (signal.SIG_DFL, signal.SIG_IGN, None):
            self.setUp()
            self.hear_usr1(before)
            self.assertEqual(self.did, ["reopen"])
        self.assertEqual(set(log.lines()), {"SIGUSR1: reopening logs"})

    def test_twistd_has_a_log_file(self) -> None:
        """It renames that at the same signal, and goes on doing so."""
        self.hear_usr1(lambda number, _: self.did.append(f"rotate at {number}"))
        self.assertEqual(self.did, [f"rotate at {USR1}", "reopen"])
