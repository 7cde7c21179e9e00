"""What a master sees of itself and its children, on a clock of the test's own."""

import os
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.master import resource_usage as monitor
from clusterapp.master.resource_usage import Monitor, Usage

#: A line of /proc/PID/stat, with a name that looks like others of its fields.
STAT = (
    "{pid} (a) b) S 1 1 1 0 -1 4194560 100 200 0 0 {user} {system} 900 900 20 0 1 0"
    " 100 4096 {pages} 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0\n"
)


class MonitorTests(SynchronousTestCase):
    """A monitor that looks into a /proc of the test's own."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.proc = Path(self.mktemp())
        self.patch(monitor, "_PROC", self.proc)
        self.patch(monitor, "_TICKS", 100)
        self.patch(monitor, "_PAGE", 4096)
        self.children: list[int] = []
        self.monitor = Monitor(lambda: self.children)

    def write(self, pid: int, user: int = 0, system: int = 0, pages: int = 1) -> None:
        folder = self.proc / str(pid)
        folder.mkdir(parents=True, exist_ok=True)
        text = STAT.format(pid=pid, user=user, system=system, pages=pages)
        (folder / "stat").write_text(text, "ascii")

    def test_usage(self) -> None:
        """Memory at once; processors as soon as there is something to compare with."""
        self.children = [7, 8]
        for pid in (7, 8):
            self.write(pid, user=1000, pages=3)
        self.monitor.start(self.clock)
        self.assertEqual(self.monitor.usage(7), Usage(3 * 4096, None))
        self.write(7, user=1025, system=25)
        self.clock.advance(1)
        self.assertEqual(self.monitor.usage(7), Usage(4096, 0.5))
        self.assertEqual(self.monitor.usage(8), Usage(3 * 4096, 0.0))

    def test_as_long_as_it_was(self) -> None:
        """If the master is late, its children had more time."""
        self.children = [7]
        self.write(7)
        self.monitor.start(self.clock)
        self.write(7, user=200)
        self.clock.advance(4)
        self.assertEqual(self.monitor.usage(7), Usage(4096, 0.5))
        self.assertEqual(self.monitor.lag, 3.0)
        self.clock.advance(1)
        self.assertEqual(self.monitor.lag, 0.0)

    def test_gone(self) -> None:
        """Nothing is kept of a process that is not there, or not a child any more."""
        self.children = [7, 8]
        self.write(7)
        self.monitor.start(self.clock)
        self.assertIsNone(self.monitor.usage(8))
        self.assertIsNone(self.monitor.usage(None))
        self.children = []
        self.clock.advance(1)
        self.assertIsNone(self.monitor.usage(7))

    def test_an_exception_ends_one_look_only(self) -> None:
        """Whatever it is, there is a next one."""
        self.children = [7]
        self.write(7)
        self.monitor.start(self.clock)
        (self.proc / "7/stat").write_text("no figures)", "ascii")
        self.clock.advance(1)
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)
        self.write(7, pages=2)
        self.clock.advance(1)
        self.assertEqual(self.monitor.usage(7), Usage(2 * 4096, None))

    def test_the_real_thing(self) -> None:
        """The kernel's own figures for this process."""
        self.patch(monitor, "_PROC", Path("/proc"))
        self.monitor.start(self.clock)
        usage = self.monitor.usage(os.getpid())
        assert usage is not None
        status = Path("/proc/self/status").read_text("ascii", "replace")
        said = int(status.partition("VmRSS:")[2].split()[0]) * 1024
        # In units that the test has set: pages of 4,096 bytes.
        self.assertApproximates(
            usage.rss * os.sysconf("SC_PAGESIZE") / 4096 / said, 1, 0.2
        )

    def test_stop(self) -> None:
        self.monitor.stop()
        self.monitor.start(self.clock)
        self.monitor.stop()
        self.monitor.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
