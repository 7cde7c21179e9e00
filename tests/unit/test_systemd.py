"""What systemd is told, on real sockets."""

import socket
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from clusterapp import systemd
from clusterapp.systemd import Notifier, watchdog_interval
from tests.unit.fakes import Log


class NotifierTests(SynchronousTestCase):
    """The words, as they come out at the other end."""

    def setUp(self) -> None:
        self.path = str(Path("notify").absolute())
        self.systemd = self.listen(self.path)
        self.notifier = Notifier.from_environment({"NOTIFY_SOCKET": self.path})

    def listen(self, address: str) -> socket.socket:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(listening.close)
        listening.bind(address)
        listening.setblocking(False)
        return listening

    def heard(self) -> str:
        return self.systemd.recv(4096).decode()

    def test_words(self) -> None:
        for say, expected in (
            (self.notifier.ready, "READY=1"),
            (self.notifier.stopping, "STOPPING=1"),
            (self.notifier.watchdog, "WATCHDOG=1"),
            (lambda: self.notifier.main_pid(77), "MAINPID=77"),
            (lambda: self.notifier.status("4 of 4"), "STATUS=4 of 4"),
        ):
            say()
            self.assertEqual(self.heard(), expected)
        self.assertRaises(BlockingIOError, self.heard)

    def test_reloading(self) -> None:
        """With the time of the monotonic clock, in microseconds."""
        before = time.monotonic()
        self.notifier.reloading()
        word, when = self.heard().split("\n")
        self.assertEqual(word, "RELOADING=1")
        said = int(when.removeprefix("MONOTONIC_USEC=")) / 1e6
        self.assertTrue(before - 1e-5 <= said <= time.monotonic(), (before, said))

    def test_status_is_one_line(self) -> None:
        """A line of it must not be taken for a word."""
        self.notifier.status("no \udcff\nREADY=1\n")
        self.assertEqual(self.heard(), "STATUS=no ? READY=1")

    def test_abstract_name(self) -> None:
        name = f"clusterapp-test-{time.monotonic_ns()}"
        self.systemd = self.listen(f"\0{name}")
        Notifier(f"@{name}").ready()
        self.assertEqual(self.heard(), "READY=1")

    def test_nobody_listens(self) -> None:
        """Nothing happens."""
        log = Log(self)
        for environ in ({}, {"NOTIFY_SOCKET": ""}):
            Notifier.from_environment(environ).ready()
        self.assertEqual(log.text(), "")

    def test_socket_that_is_gone(self) -> None:
        """That is said once, and the service goes on."""
        log = Log(self)
        Path(self.path).unlink()
        self.notifier.ready()
        self.notifier.stopping()
        self.assertEqual(log.text().count("cannot notify systemd"), 1)
        self.assertIn(self.path, log.text())

    def test_socket_that_takes_no_more(self) -> None:
        """It is not waited for for long."""
        log = Log(self)
        self.patch(systemd, "_TIMEOUT", 0.01)
        for _ in range(10_000):
            self.notifier.ready()
            if log.text():
                break
        self.assertIn("cannot notify systemd", log.text())


class WatchdogTests(SynchronousTestCase):
    """How often the watchdog is to be told."""

    def interval(self, **environ: str) -> float | None:
        return watchdog_interval(environ, 42)

    def test_half_of_the_time(self) -> None:
        self.assertEqual(self.interval(WATCHDOG_USEC="30000000"), 15.0)
        self.assertEqual(self.interval(WATCHDOG_USEC="1000000", WATCHDOG_PID="42"), 0.5)

    def test_no_watchdog(self) -> None:
        self.assertIsNone(self.interval())
        for wrong in ("", "0", "-1", "soon"):
            self.assertIsNone(self.interval(WATCHDOG_USEC=wrong), wrong)

    def test_another_process_is_watched(self) -> None:
        self.assertIsNone(self.interval(WATCHDOG_USEC="30000000", WATCHDOG_PID="43"))
