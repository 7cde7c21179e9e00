"""The master's signal handlers, and an application that sets its own."""

import signal

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.master.core.kept_signal_handlers import kept_signal_handlers

REPLACED = (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP)
#: A signal without a name.
REAL_TIME = signal.SIGRTMIN + 3


class KeptTests(SynchronousTestCase):
    """Handlers before and after an import."""

    def setUp(self) -> None:
        for number in (*REPLACED, REAL_TIME):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        signal.signal(signal.SIGTERM, self.own)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def own(self, *_: object) -> None:
        """Stand in for the master's handler."""

    def test_restored(self) -> None:
        """Each that was replaced is set again, with a warning."""
        with capturedLogs() as events, kept_signal_handlers():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, lambda *_: None)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            signal.signal(REAL_TIME, signal.SIG_IGN)
        self.assertEqual(signal.getsignal(signal.SIGTERM), self.own)
        self.assertEqual(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)
        self.assertNotEqual(signal.getsignal(signal.SIGCHLD), signal.SIG_IGN)
        names = {event.get("name") for event in events}
        expected = {each.name for each in REPLACED} | {f"signal {REAL_TIME}"}
        self.assertEqual(names & expected, expected)
        self.assertEqual(signal.getsignal(REAL_TIME), signal.SIG_DFL)

    def test_untouched(self) -> None:
        """Nothing is said of an application that sets none, or fails."""
        with (
            capturedLogs() as events,
            self.assertRaises(KeyError),
            kept_signal_handlers(),
        ):
            raise KeyError
        self.assertEqual(signal.getsignal(signal.SIGTERM), self.own)
        self.assertEqual(events, [])
