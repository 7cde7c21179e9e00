"""How long a stop takes at most, and that supervisors wait for longer."""

import subprocess
import sys
from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.control.exports.derived_settings import Timeouts
from clusterapp.master import exit_watch
from clusterapp.settings.model import Settings
from clusterapp.settings.stop_time import LAST_WORDS, LEAST, longest_stop
from tests.unit.master import master_apps
from tests.unit.master.masters import HOOKED, MasterCase

#: Nothing reports, and hangs here.
TIMEOUTS = {"graceful_timeout": 60, "hang_timeout": 600}


class StopTimeTests(MasterCase):
    """A graceful timeout of 60 s, which the workers use up."""

    def stop(self, **settings: object) -> "Deferred[None]":
        """Begin to stop a cluster whose processes obey nothing but signals."""
        for child in self.start_core(**TIMEOUTS, **settings):
            child.say_ready()
        stopped = self.service.stopService()
        self.reactor.flush()
        return stopped

    def pass_seconds(self, seconds: float) -> None:
        """Advance the clock; processes that receive a signal exit."""
        for _ in range(round(seconds * 2)):
            self.reactor.advance(0.5)
            self.reactor.flush()
            for child in self.reactor.living():
                if child.signals:
                    child.exit(signal=9)
            self.reactor.flush()

    def test_isolated_core(self) -> None:
        """It has a few seconds then, and no graceful timeout of its own."""
        stopped = self.stop(core="isolated")
        core, *workers = self.reactor.children
        self.pass_seconds(60 + LAST_WORDS - 0.5)
        self.assertEqual([child.alive for child in workers], [True, True])
        self.assertEqual(core.withins, [])
        self.pass_seconds(0.5)
        self.assertEqual([child.alive for child in workers], [False, False])
        self.assertEqual(core.withins, [LEAST])
        self.pass_seconds(LEAST + LAST_WORDS - 0.5)
        self.assertTrue(core.alive)
        self.pass_seconds(0.5)
        self.successResultOf(stopped)
        self.assertLess(self.reactor.seconds(), longest_stop(self.service.settings))
        self.assert_nothing_left()

    def test_isolated_core_with_time_left(self) -> None:
        """It has what the workers have not needed."""
        stopped = self.stop(core="isolated")
        core, *workers = self.reactor.children
        self.pass_seconds(20)
        for child in workers:
            child.exit()
        self.reactor.flush()
        self.assertEqual(core.withins, [40.0])
        self.pass_seconds(40 + LAST_WORDS - 0.5)
        self.assertNoResult(stopped)
        self.pass_seconds(0.5)
        self.successResultOf(stopped)
        self.assert_nothing_left()

    def test_core_in_the_master(self) -> None:
        """So it is with its stop hooks, and one that does not heed a cancellation."""

        async def deaf() -> None:
            try:
                await master_apps.pending([])
            except CancelledError:
                await master_apps.pending([])

        master_apps.STOP.append(deaf())
        stopped = self.stop(app=HOOKED)
        self.pass_seconds(60 + LEAST + 2 * LAST_WORDS - 0.5)
        self.assertNoResult(stopped)
        self.pass_seconds(0.5)
        self.successResultOf(stopped)
        self.assertIn(
            "the core's stop hooks are not done in time: given up",
            self.log.lines(LogLevel.error),
        )
        self.assert_nothing_left()

    def test_time_to_exit(self) -> None:
        """The program has what is left, too; a few seconds after a quick stop."""
        stopped = self.stop()
        self.reactor.advance(10)
        for child in self.reactor.living():
            child.exit()
        self.successResultOf(stopped)
        self.assertEqual(self.service.exit_seconds, 50)
        self.service.drop_children()
        self.assertEqual(self.service.exit_seconds, LEAST)

    @given(st.floats(0, 1e5), st.floats(0, 1e5))
    def test_supervisors(self, delay: float, graceful: float) -> None:
        """systemd, Kubernetes and compose wait until the cluster has exited."""
        settings = Settings(drain_delay=delay, graceful_timeout=graceful)
        self.assertGreater(Timeouts(settings).stop, longest_stop(settings))


_PROGRAM = """
import os, sys, threading
from twisted.logger import globalLogBeginner, textFileLogObserver
from clusterapp.master.exit_watch import watch_exit
globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
threading.Thread(target=threading.Event().wait, name="for ever").start()
watch_exit(0.0, lambda: (sys.stdout.flush(), os._exit(7)), None)
"""


class ExitWatchTests(SynchronousTestCase):
    """A process that does not come to its end by itself."""

    def test_thread_that_is_joined(self) -> None:
        """The log says what Python waits for, and the process ends."""
        ended = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        self.assertEqual((ended.returncode, ended.stderr), (7, ""))
        self.assertIn("within 0.0 s of its stop", ended.stdout)
        self.assertIn("it waits for thread for ever", ended.stdout)

    def test_what_is_joined(self) -> None:
        """Daemon threads are not; neither is anything of most programs."""
        events: list[LogEvent] = []
        ends: list[int] = []
        self.patch(exit_watch, "_joined", lambda: iter(()))
        log = Logger(observer=cast("ILogObserver", events.append))
        exit_watch._wait(0.0, lambda: ends.append(len(events)), log)
        self.assertEqual(ends, [1])
        self.assertIn("it waits for an exit function", str(formatEvent(events[0])))
