"""How long a graceful stop of a cluster may take, from the request to its exit."""

from typing import Final

from clusterapp.settings.model import Settings

#: Seconds in which connections that the master has accepted are passed on to workers;
#: a worker that is merely busy needs only a moment for it.
PASSING_ON: Final = 5.0

#: Seconds that a process has to exit by itself after its graceful timeout.
LAST_WORDS: Final = 1.0

#: Seconds that the core has to drain and run its stop hooks, and then the master to
#: exit, if the workers have used up the graceful timeout.
LEAST: Final = 3.0

#: Seconds in which responses on the control socket have to be finished: the verdict of
#: the stop is among them.
CONTROL: Final = 3.0


def longest_stop(settings: Settings) -> float:
    """
    Return the seconds after which a master that was told to stop has exited.

    The graceful timeout counts once: the core, and the exit of the master, have what
    the workers have left of it.
    """
    workers = settings.drain_delay + PASSING_ON + settings.graceful_timeout + LAST_WORDS
    return workers + LEAST + LAST_WORDS + CONTROL + LEAST
