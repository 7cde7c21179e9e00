"""What a child tells its master every second: that its event loop runs, and how."""

import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from clusterapp.channel.ends import REPORT_SECONDS, WorkerStats
from clusterapp.guards import guarded
from clusterapp.http.server.load_counters import LoadCounters

#: Reports within a hang timeout, at least: one that is late is no hang.
_REPORTS = 4

_STATM = Path("/proc/self/statm")
_PAGE = resource.getpagesize()


class Site(Protocol):
    """The figures of a site."""

    @property
    def requests(self) -> int:
        """How many it has answered so far."""

    @property
    def active(self) -> int:
        """How many it is answering."""


class Relay(Protocol):
    """The figure of a relay."""

    @property
    def passed_on(self) -> int:
        """How many requests it has passed to other workers so far."""


class Figures(Protocol):
    """What a worker serves with, and the core has not."""

    @property
    def relay(self) -> Relay:
        """What it has passed on."""

    @property
    def tally(self) -> LoadCounters:
        """What it notes on the scoreboard."""


class Reporter:
    """
    Reports, by the event loop's own timer: a loop that stands does not report.

    :param clock: the child's reactor, whose clock is monotonic.
    :param hang_timeout: the seconds after which the master takes silence for a hang.
    :param say: tells the master.
    """

    def __init__(
        self,
        clock: IReactorTime,
        hang_timeout: float,
        say: Callable[[WorkerStats], None],
    ) -> None:
        #: What the figures are taken from, once there is something to count.
        self.site: Site | None = None
        self.served: Figures | None = None
        self._clock = clock
        self._interval = min(REPORT_SECONDS, hang_timeout / _REPORTS)
        self._say = say
        self._rss = 0
        self._due = 0.0
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Report from now on."""
        self._due = self._clock.seconds() + self._interval
        self._timer = self._clock.callLater(self._interval, self._report)

    def stop(self) -> None:
        """Report no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @guarded("report to the master")
    def _report(self) -> None:
        lag = max(0.0, self._clock.seconds() - self._due)
        self.start()
        rss = self._resident()
        site, served = self.site, self.served
        if site is None:
            self._say(WorkerStats(lag=lag, rss=rss))
            return
        if served is None:
            requests, active = site.requests, site.active
            self._say(WorkerStats(lag=lag, rss=rss, requests=requests, active=active))
            return
        served.tally.looked(lag)
        self._say(
            WorkerStats(
                lag=lag,
                requests=site.requests,
                active=site.active,
                connections=served.tally.clients,
                passed_on=served.relay.passed_on,
                rss=rss,
            )
        )

    def _resident(self) -> int:
        """Tell the resident memory in bytes: the second figure, in pages (proc(5))."""
        # If no descriptor is left, that the loop runs still matters.
        with suppress(OSError):
            self._rss = int(_STATM.read_bytes().split()[1]) * _PAGE
        return self._rss
