"""The reports that a child sends to the master every second, by its event loop."""

import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from clusterapp.channel.ends import REPORT_SECONDS, WorkerStats
from clusterapp.guards import guarded
from clusterapp.http.server.load_counters import LoadCounters

#: The least number of reports in a hang timeout, so that one late report is no hang.
_REPORTS = 4

_STATM = Path("/proc/self/statm")
_PAGE = resource.getpagesize()


class SiteStatistics(Protocol):
    """The statistics of a site."""

    @property
    def requests(self) -> int:
        """The number of requests answered so far."""

    @property
    def active(self) -> int:
        """The number of requests under way."""


class RelayStatistics(Protocol):
    """The statistics of a relay."""

    @property
    def relayed(self) -> int:
        """The number of requests relayed to other workers so far."""


class Figures(Protocol):
    """The sources of the statistics that only a worker has, not the core."""

    @property
    def relay(self) -> RelayStatistics:
        """The reverse proxy to other workers."""

    @property
    def counters(self) -> LoadCounters:
        """The load counters, which are written to the scoreboard."""


class Reporter:
    """
    The periodic report, on a timer of the event loop: a blocked loop does not report.

    :param clock: the child's reactor, whose clock is monotonic.
    :param hang_timeout: the seconds without a report after which the master considers
        this child hung.
    :param send: sends a report to the master.
    """

    def __init__(
        self,
        clock: IReactorTime,
        hang_timeout: float,
        send: Callable[[WorkerStats], None],
    ) -> None:
        #: The sources of the statistics, None until the application is loaded.
        self.site: SiteStatistics | None = None
        self.served: Figures | None = None
        self._clock = clock
        self._interval = min(REPORT_SECONDS, hang_timeout / _REPORTS)
        self._send = send
        self._rss = 0
        self._due = 0.0
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Schedule the next report."""
        self._due = self._clock.seconds() + self._interval
        self._timer = self._clock.callLater(self._interval, self._report)

    def stop(self) -> None:
        """Stop reporting."""
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
            self._send(WorkerStats(lag=lag, rss=rss))
            return
        if served is None:
            requests, active = site.requests, site.active
            self._send(WorkerStats(lag=lag, rss=rss, requests=requests, active=active))
            return
        served.counters.looked(lag)
        self._send(
            WorkerStats(
                lag=lag,
                requests=site.requests,
                active=site.active,
                connections=served.counters.clients,
                relayed=served.relay.relayed,
                rss=rss,
            )
        )

    def _resident(self) -> int:
        """Return the resident memory in bytes: field 2 of statm, in pages (proc(5))."""
        # If no file descriptor is free, the report is sent with the last value.
        with suppress(OSError):
            self._rss = int(_STATM.read_bytes().split()[1]) * _PAGE
        return self._rss
