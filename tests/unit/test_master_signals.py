"""What signals mean to a master; none is sent to the process that tests."""

import signal
from collections.abc import Callable

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.master.signals import SAME_SIGNAL, Signals
from tests.unit.fakes import Log

TERM, INT, QUIT = signal.SIGTERM, signal.SIGINT, signal.SIGQUIT


class SignalTests(SynchronousTestCase):
    """A program that runs."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.did: list[str] = []
        self.signals = Signals(
            self.reactor,
            lambda: self.did.append("stop"),
            lambda: self.did.append("drop"),
        )

    def hear(self, *numbers: int, every: float = 1.0) -> None:
        for number in numbers:
            self.signals._heard(number)
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
        self.later: list[tuple[Callable[..., object], int]] = []

    def callFromThread(self, call: Callable[..., object], number: int) -> None:
        self.later.append((call, number))


class InstallTests(SynchronousTestCase):
    """Whose signals they are."""

    def setUp(self) -> None:
        self.installed: dict[int, object] = {}
        self.patch(signal, "signal", self.installed.__setitem__)
        self.reactor = Running()
        self.did: list[str] = []
        self.signals = Signals(
            self.reactor, lambda: self.did.append("stop"), lambda: None
        )

    def test_after_the_reactors_own(self) -> None:
        """The reactor, when it starts to run, would take them away again."""
        self.signals.startService()
        self.assertEqual(self.installed, {})
        self.reactor.run()
        self.assertEqual(set(self.installed), {TERM, INT, QUIT})

    def test_heard_in_the_reactors_turn(self) -> None:
        """A handler of the operating system may interrupt anything."""
        self.signals.startService()
        self.reactor.run()
        installed = self.installed[TERM]
        assert callable(installed)
        installed(TERM, None)
        self.assertEqual(self.did, [])
        [(call, number)] = self.reactor.later
        call(number)
        self.assertEqual(self.did, ["stop"])
