"""Reaping zombies, with real ones."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.internet.process import reapProcessHandlers
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.master.workers.orphan_reaper import INTERVAL, ZombieReaper


def is_zombie(pid: int) -> bool:
    """Return whether a child of ours is dead and not waited for."""
    stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    return stat.rpartition(")")[2].split()[0] == "Z"


class ZombieTests(SynchronousTestCase):
    """A process that inherits the children of others."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.reaper = ZombieReaper(self.clock)

    def zombie(self) -> int:
        """Leave a child that has ended, and wait until it has."""
        program = Path(self.mktemp()) / "a) R 1"  # a name that /proc puts in ()
        program.parent.mkdir(parents=True)
        program.symlink_to(shutil.which("true") or "/bin/true")
        child = os.posix_spawn(program, [program.name], dict(os.environ))
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        self.assertTrue(is_zombie(child))
        self.addCleanup(self.reap, child)
        return child

    def reap(self, pid: int) -> None:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            return

    def start(self) -> None:
        self.reaper.startService()
        self.addCleanup(self.reaper.stopService)

    def test_second_look_reaps(self) -> None:
        """Zombies are reaped at the second check: code of the master can wait first."""
        pid = self.zombie()
        self.start()
        self.assertTrue(is_zombie(pid))
        self.clock.advance(INTERVAL)
        self.assertRaises(ChildProcessError, os.waitpid, pid, os.WNOHANG)

    def test_waited_for_in_between(self) -> None:
        """Code that waits for its child between two checks gets the exit status."""
        child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        self.start()
        self.assertEqual(child.wait(), 7)
        self.clock.advance(INTERVAL)

    def test_children_of_the_reactor(self) -> None:
        """It hears of their end itself."""
        pid = self.zombie()
        handlers: dict[int, object] = reapProcessHandlers  # type: ignore[assignment]
        handlers[pid] = object()
        self.addCleanup(handlers.pop, pid)
        self.start()
        self.clock.pump([INTERVAL] * 3)
        self.assertTrue(is_zombie(pid))

    def test_living_children(self) -> None:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)
        self.addCleanup(child.wait)
        assert child.stdin is not None
        self.addCleanup(child.stdin.close)
        self.start()
        self.clock.pump([INTERVAL] * 3)
        self.assertIsNone(child.poll())

    def test_stop(self) -> None:
        pid = self.zombie()
        self.start()
        self.reaper.stopService()
        self.clock.pump([INTERVAL] * 3)
        self.assertTrue(is_zombie(pid))
