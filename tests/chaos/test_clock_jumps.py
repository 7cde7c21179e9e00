"""A clock that is set while a cluster is under load."""

import os
import signal

from tests.chaos.sites import ChaosCase, pid_in
from tests.integration.clocks import LIBRARIES, settable_clock
from tests.integration.running import wait_until_gone

AN_HOUR = 3600


class ClockTests(ChaosCase):
    """An hour forwards, then two back."""

    # Where CI runs, a library that is missing is a failure.
    if not LIBRARIES and "CI" not in os.environ:
        skip = "there is no libfaketime"

    def test_jumps(self) -> None:
        """No worker is killed and no client is cut off; later timers still fire."""
        with (
            settable_clock() as (env, set_clock),
            self.cluster("--hang-timeout", "2", env=env) as running,
        ):
            workers = running.children()
            with self.load(running) as load:
                load.wait_for(200)
                for seconds in (AN_HOUR, -AN_HOUR):
                    set_clock(seconds)
                    # More than the hang timeout, at the pace of the load.
                    load.wait_for_more(1200)
                self.assertEqual(running.children(), workers)
                figures = load.report("clock set by an hour, forwards and back")
            self.assert_served(figures, at_least=2600)
            for word in ("hangs", "left with", "takes too long"):
                self.assertNotIn(word, running.text())
            set_clock(-2 * AN_HOUR)
            victim = pid_in(running, 0)
            os.kill(victim, signal.SIGKILL)
            wait_until_gone(victim)
            running.wait_for("worker 0 is ready")
            self.assert_stops(running)
