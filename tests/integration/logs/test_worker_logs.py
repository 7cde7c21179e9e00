"""What workers and cores log, print and fail with, as it stands in the master's log."""

import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.running import (
    APPS,
    DEADLINE,
    SCRIPTS,
    RunningCluster,
    cluster,
)

#: What the application says, and what of it the log has behind the time.
SAID = {
    # First: Python makes a handler for it, which writes to stderr from then on.
    "root": r"\[root#error\] WHO REQUESTno stock$",
    "event": r"\[shop.orders#error\] WHO REQUESTno order 4$",
    "logging": r"\[shop.stock#error\] WHO REQUESTcannot ship 7$",
    "warning": r"\[py.warnings#warn\] WHO REQUEST.*: UserWarning: old style$",
    "print": r"\[stdout#info\] WHO printed → here$",
    "thread": r"\[threading#critical\] WHO uncaught .* in the thread spool$",
    "timer": r"\[twisted[^ ]*#critical\] WHO .*timed call",
    "loop": r"\[asyncio#error\] WHO Exception in callback .*",
    "deferred": r"\[twisted.internet.defer#critical\] WHO .*nobody hears",
    "finalizer": r"\[sys.unraisablehook#error\] WHO .*Finalized",
}


@contextmanager
def site(*flags: str, **env: str) -> Iterator[RunningCluster]:
    """Run the application, with one worker."""
    environment = {"PYTHONPATH": str(APPS), **env}
    with cluster("--app", "logging_site:app", *flags, workers=1, env=environment) as it:
        yield it


class EventTests(SynchronousTestCase):
    """
    Each is an event with its level, namespace, process and request.

    :cvar running: a cluster that no test changes, with its core in the master.
    """

    running: ClassVar[RunningCluster]

    @classmethod
    def setUpClass(cls) -> None:
        """Run it while there are tests."""
        super().setUpClass()
        cls.running = cls.enterClassContext(site())

    def assert_told(self, running: RunningCluster, who: str, where: str) -> None:
        """Expect the log events of one process, by each way of logging."""
        who = rf"\[{who} generation 1\] "
        for what, pattern in SAID.items():
            if what == "loop" and where:
                continue  # a core's reactor may have no event loop of asyncio's
            target = f"{where}/say/{what}"
            headers = {"X-Request-ID": "r-1"}
            self.assertEqual(running.request("GET", target, headers=headers)[0], 200)
            request = rf"GET {target} \(route .*, client 127.0.0.1, request id r-1\): "
            filled = pattern.replace("REQUEST", request).replace("WHO ", who)
            running.wait_for("^[^ ]+ " + filled)
        running.wait_for(r"OSError: too late$")
        target = f"{where}/raise/7?secret=1"
        running.request("GET", target, headers={"X-Request-ID": "r-2"})
        running.wait_for(
            rf"#error\] {who}unhandled ValueError in GET {where}/raise/7"
            rf" \(route {where}/raise/<int:number>, client 127.0.0.1, request id r-2\)$"
        )
        # All of the traceback is one event.
        running.wait_for(r"^\tTraceback \(most recent call last\):$")
        running.wait_for(r"^\tValueError: no 7 → here$")
        self.assertNotIn("secret", running.text())
        self.assert_chain(running, where)

    def assert_chain(self, running: RunningCluster, where: str) -> None:
        """What an error was raised from is in the log, and the parts of a group."""
        running.request("GET", f"{where}/raise-from")
        running.wait_for(rf"unhandled ExceptionGroup in GET {where}/raise-from ")
        running.wait_for(r"^\tOSError: no line$")
        running.wait_for(r"^\tThe above exception was the direct cause of ")
        running.wait_for(r"^\t  \| ExceptionGroup: cannot ship \(2 sub-exceptions\)$")
        running.wait_for(r"^\t    \| ValueError: first part$")
        running.wait_for(r"^\t    \| KeyError: 'second part'$")

    def test_worker(self) -> None:
        self.assert_told(self.running, "worker 0", "")
        headers = {"X-Request-ID": "x y"}
        self.running.request("GET", "/raise-late/8", headers=headers)
        self.running.wait_for(
            r"#error\] \[worker 0 generation 1\] unhandled KeyError in GET"
            r" /raise-late/8 \(route /raise-late/<int:number>, client 127.0.0.1\)"
        )

    def test_isolated_core(self) -> None:
        with site("--core", "isolated") as running:
            self.assert_told(running, "core", "/core")

    def test_core_in_the_master(self) -> None:
        running = self.running
        headers = {"X-Request-ID": "r-1"}
        running.request("GET", "/core/say/root", headers=headers)
        running.wait_for(r"\[root#error\] GET /core/say/root \(.*r-1\): no stock$")
        running.wait_for(r"^\tZeroDivisionError: division by zero$")
        running.request("GET", "/core/say/logging", headers=headers)
        running.wait_for(
            r"\[shop.stock#error\] GET /core/say/logging \(.*r-1\): cannot ship 7$"
        )
        running.request("GET", "/core/say/warning", headers=headers)
        running.wait_for(r"\[py.warnings#warn\] GET /core/.*: UserWarning: old style$")
        running.request("GET", "/core/say/thread")
        running.wait_for(r"\[threading#critical\] uncaught .* in the thread spool$")
        running.request("GET", "/core/raise/7", headers=headers)
        running.wait_for(
            r"#error\] unhandled ValueError in GET /core/raise/7 \(route .*r-1\)$"
        )
        self.assert_chain(running, "/core")

    def test_other_writers(self) -> None:
        """C code, programs and forked processes write to the descriptors."""
        running = self.running
        running.get("/say/descriptors")
        for line in ("raw out", "from a program"):
            running.wait_for(rf"\[stdout#info\] \[worker 0 generation 1\] {line}$")
        running.get("/say/raw_error")
        running.wait_for(r"\[stderr#warn\] \[worker 0 generation 1\] raw err$")
        running.get("/say/fork")
        running.wait_for(
            r"\[stdout#info\] \[worker 0 generation 1\] printed by a forked process"
        )
        running.wait_for(
            r"\[shop.stock#error\] \[worker 0 generation 1\]"
            r" .*logged by a forked process w{5000}$"
        )


class TextTests(SynchronousTestCase):
    """Lines that would do harm, or would be lost."""

    def test_faked_lines_and_long_ones(self) -> None:
        """What has a time at its start is the master's own; what is long is cut."""
        with site() as running:
            running.get("/say/faked")
            running.wait_for(r"^\t2026-01-01T00:00:00\+0000 \[fake#info\] hi$")
            running.get("/say/long")
            line = running.wait_for(r"x{1000}.*$")[0]
        self.assertIn(
            r"[worker 0 generation 1] \x1b[2J\r2026-01-01T00:00:00+0000 [fake#info]"
            r" hi\x85\x00",
            running.text(),
        )
        self.assertFalse(any(line.startswith("2026-01-01") for line in running.lines))
        self.assertNotIn("\x1b", running.text())
        self.assertRegex(line, r"… \[\d+ bytes cut\]$")
        self.assertLess(len(line), 20_000)

    def test_encoding_of_the_log(self) -> None:
        """What it lacks is escaped, in the workers' lines and in the core's."""
        with site(PYTHONIOENCODING="ascii") as running:
            running.get("/say/print")
            running.wait_for(r"\] printed \\u2192 here$")
            running.request("GET", "/raise/7")
            running.wait_for(r"^\tValueError: no 7 \\u2192 here$")
            running.get("/core/say/print")
            running.wait_for(r"\[stdout#info\] printed \\u2192 here$")

    def test_journal(self) -> None:
        """Each line has its priority where the log is systemd's journal."""
        with tempfile.TemporaryDirectory() as folder:
            command = (
                "export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/$$/fd/1);"
                f" exec {SCRIPTS}/twistd -n --pidfile= clusterapp"
                " --app logging_site:app --workers 1 --state state"
                " --listen tcp:0:interface=127.0.0.1"
            )
            running = RunningCluster(
                ["bash", "-c", command],
                workers=1,
                cwd=Path(folder),
                env={"PYTHONPATH": str(APPS)},
            )
            self.addCleanup(running.close)
            running.started()
            running.request("GET", "/raise/7")
            running.wait_for(r"^<3>.*unhandled ValueError in GET /raise/7")
            running.wait_for(r"^<3>\tValueError: no 7")
            running.get("/say/print")
            running.wait_for(r"^<6>.*printed → here")
            running.wait_for(r"^<4>.*printed as an error")
            running.close()
        self.assertTrue(all(re.match("<[0-7]>", line) for line in running.lines))


class AmountTests(SynchronousTestCase):
    """Much that is logged, and a master that does not read it."""

    def test_repeated_errors(self) -> None:
        """The first tracebacks are logged, the others are counted; none is silent."""
        with site() as running:
            for number in range(60):
                self.assertEqual(running.request("GET", f"/raise/{number}")[0], 500)
            running.signal(signal.SIGTERM)
            self.assertEqual(running.wait(), 0)
        whole = running.text().count("unhandled ValueError in GET /raise/")
        counted = re.findall(
            r"#error\] \[worker 0 generation 1\] … (\d+) times? more in \d+ s:"
            r" unhandled ValueError in GET /raise/",
            running.text(),
        )
        # Each count shows its first line once more.
        self.assertEqual(whole - len(counted) + sum(map(int, counted)), 60)
        self.assertLess(running.text().count("\tTraceback"), 20)

    def test_stopped_master(self) -> None:
        """Workers that print go on serving; how much was lost is told afterwards."""
        with site() as running:
            running.get("/say/much")
            running.wait_for("y{1000}")
            running.signal(signal.SIGSTOP)
            try:
                began = time.monotonic()
                for _ in range(300):  # twice what pipe and worker keep
                    self.assertEqual(running.get("/say/much"), b"said")
                self.assertLess(time.monotonic() - began, DEADLINE)
            finally:
                running.signal(signal.SIGCONT)
            lost = running.wait_for(
                r"#warn\] \[worker 0 generation 1\] (\d+) lines of the log lost"
            )
            running.get("/say/print")
            running.wait_for("printed → here")
        self.assertEqual(running.text().count("y" * 10_000), 301 - int(lost[1]))

    def test_flood_before_the_end(self) -> None:
        """More than the master takes: each line is there, or counted as lost."""
        with site() as running:
            running.get("/say/flood")
            running.signal(signal.SIGTERM)
            self.assertEqual(running.wait(), 0)
        shown = len(re.findall(r"\] flood \d+\n", running.text()))
        lost = re.findall(r"(\d+) lines of the log lost", running.text())
        self.assertEqual(shown + sum(map(int, lost)), 20_000)
        self.assertGreater(shown, 1000)

    def test_last_words(self) -> None:
        """What was printed before a crash, and before an exit, arrives."""
        with site() as running:
            self.assertRaises(OSError, running.get, "/say/killed")
            running.wait_for(r"\[worker 0 generation 1\] last words 99 z+$")
            running.wait_for(r"worker 0 is ready")
            running.get("/say/exits")
            running.signal(signal.SIGTERM)
            running.wait()
        self.assertIn("[worker 0 generation 1] unfinished\n", running.text())
