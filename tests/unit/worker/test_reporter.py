"""What a child reports, on a clock that only the test moves."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.server.load_counters import LoadCounters
from clusterapp.interfaces import LOAD, private_row
from clusterapp.worker import reporter
from clusterapp.worker.reporter import Reporter
from tests.unit.master import master_apps
from tests.unit.worker.children import WORKER, ChildCase

if TYPE_CHECKING:
    from clusterapp.channel.ends import WorkerStats


@dataclass
class Site:
    """A site with figures."""

    requests: int = 7
    active: int = 2


@dataclass
class Relay:
    """A relay with a figure."""

    relayed: int = 3


@dataclass
class Served:
    """What a worker serves with."""

    relay: Relay = field(default_factory=Relay)
    counters: LoadCounters = field(default_factory=LoadCounters)


class ReporterTests(SynchronousTestCase):
    """A reporter that has started."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.said: list[WorkerStats] = []
        self.reporter = self.started(30.0)

    def started(self, hang_timeout: float) -> Reporter:
        made = Reporter(self.clock, hang_timeout, self.said.append)
        made.start()
        return made

    def test_every_second(self) -> None:
        self.clock.pump([0.5, 0.5, 0.5, 0.5])
        self.assertEqual(len(self.said), 2)

    def test_often_enough(self) -> None:
        """A hang timeout of a second accuses nobody whose loop turns."""
        self.reporter.stop()
        self.started(1.0)
        self.clock.pump([0.25] * 4)
        self.assertEqual(len(self.said), 4)

    def test_lag(self) -> None:
        """How late the loop was, for this report alone."""
        self.clock.advance(1.75)
        self.clock.advance(1.0)
        self.assertEqual([stats.lag for stats in self.said], [0.75, 0.0])

    def test_figures(self) -> None:
        """Zeros until there is a site; a core has no more than that."""
        self.clock.advance(1)
        self.reporter.site = Site()
        self.clock.advance(1)
        self.reporter.served = served = Served()
        served.counters.clients = 5
        self.clock.advance(1)
        told = [(p.requests, p.active, p.connections, p.relayed) for p in self.said]
        self.assertEqual(told, [(0, 0, 0, 0), (7, 2, 0, 0), (7, 2, 5, 3)])

    def test_tally(self) -> None:
        """Others see how late the loop is; what has come of late counts half."""
        row = private_row()
        self.reporter.site = Site()
        self.reporter.served = served = Served(counters=LoadCounters(row))
        for _ in range(8):
            served.counters.opened()
        self.clock.advance(1.25)
        self.assertEqual(row[LOAD], 8 + 4 + 25)

    def test_resident_memory(self) -> None:
        """The kernel says the same, in kB."""
        self.clock.advance(1)
        status = Path("/proc/self/status").read_text("ascii", "replace")
        said = int(status.partition("VmRSS:")[2].split()[0]) * 1024
        self.assertApproximates(self.said[0].rss / said, 1, 0.2)

    def test_no_descriptor_is_left(self) -> None:
        """The report comes all the same, with the last figure that was had."""
        self.clock.advance(1)
        self.patch(reporter, "_STATM", Path("/nowhere/statm"))
        self.clock.advance(1)
        self.assertEqual(self.said[0].rss, self.said[1].rss)

    def test_stop(self) -> None:
        self.reporter.stop()
        self.reporter.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ReportTests(ChildCase):
    """What a child reports of itself, and for how long."""

    def passes(self, seconds: float) -> int:
        """Advance the clock; return the number of reports received in all."""
        self.reactor.pump([1.0] * int(seconds))
        self.pump.flush()
        return len(self.master.pulses)

    def test_boot(self) -> None:
        """From its first word on, without figures until it serves."""
        waited = master_apps.pending(master_apps.START)
        child = self.begin(WORKER)
        self.assertEqual(self.passes(2), 2)
        self.assertEqual(list(child.under_way()), [])
        waited.callback(None)
        site = cast("Any", child._served).site
        self.patch(site, "requests", 7)
        self.passes(1)
        self.assertEqual([stats.requests for stats in self.master.pulses], [0, 0, 7])

    def test_under_way(self) -> None:
        """The site tells, a worker's or the core's."""
        site = cast("Any", self.begin()._served).site
        told = [(b"GET", b"/", "::1", 1.0)]
        self.patch(site, "under_way", lambda: told)
        self.assertEqual(self.child.under_way(), told)

    def test_core(self) -> None:
        child = self.begin(role="core")
        self.assertEqual(list(child.under_way()), [])
        site = cast("Any", child._host).site
        told = [(b"GET", b"/", None, 1.0)]
        self.patch(site, "under_way", lambda: told)
        self.patch(site, "requests", 7)
        self.assertEqual(self.passes(2), 2)
        self.assertEqual([stats.requests for stats in self.master.pulses], [7, 7])
        self.assertEqual(child.under_way(), told)

    def test_drain(self) -> None:
        """It goes on while there is something to finish, and ends with that."""
        stopping = master_apps.pending(master_apps.STOP)
        self.begin(WORKER).drain(spread=0.0, hand_over=False)
        self.assertEqual(self.passes(2), 2)
        stopping.callback(None)
        self.assertTrue(self.reactor.stopped)
        self.assertEqual(self.passes(2), 2)

    def test_master_is_gone(self) -> None:
        """Nobody is there to hear of it."""
        master_apps.pending(master_apps.STOP)
        child = self.begin(WORKER)
        self.patch(os, "open", lambda *_: 77)
        self.patch(os, "dup2", lambda *_: None)
        said: list[object] = []
        self.patch(child._end, "callRemote", lambda *_, **__: said.append(1))
        self.far.close()
        self.pump.flush()
        self.reactor.advance(1)
        self.assertEqual(said, [])
