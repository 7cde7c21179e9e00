"""The master's signals, as its children see them."""

import os
import signal
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.spawning.signals import OF_THE_MASTER, held_back

CHILD = """\
import faulthandler, signal, sys
from clusterapp.spawning.signals import leave_to_master
sys.stdin.readline()
faulthandler.enable(file=2)
faulthandler.register(signal.SIGUSR2, file=2, chain=False)
leave_to_master()
import email, http.client  # which use the memory
print(len(signal.pthread_sigmask(signal.SIG_BLOCK, ())), flush=True)
sys.stdin.readline()
"""


class SignalsTests(SynchronousTestCase):
    """They neither end a child, at whatever time, nor are they ignored."""

    def test_before_and_after_the_handlers(self) -> None:
        """
        A child that is sent all of them at once lives, and has none blocked later.

        Their frames need more memory than faulthandler's stack has.
        """
        with held_back():
            child = subprocess.Popen(
                [sys.executable, "-c", CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        assert child.stdin is not None
        assert child.stdout is not None
        with child:
            for _ in range(2):
                for number in (*OF_THE_MASTER, signal.SIGUSR2):
                    os.kill(child.pid, number)
                child.stdin.write(b"\n")
                child.stdin.flush()
                if _ == 0:
                    self.assertEqual(child.stdout.readline(), b"0\n")
        self.assertEqual(child.returncode, 0)

    def test_mask_of_the_master(self) -> None:
        """It is as before, even if no child could be started."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        with self.assertRaises(OSError), held_back():
            self.assertIn(signal.SIGHUP, signal.pthread_sigmask(signal.SIG_BLOCK, ()))
            raise OSError
        self.assertEqual(signal.pthread_sigmask(signal.SIG_BLOCK, ()), before)
