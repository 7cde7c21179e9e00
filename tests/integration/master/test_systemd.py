"""The service under systemd: its unit files, and what it tells."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from clusterapp.settings.model import Settings
from clusterapp.settings.stop_time import longest_stop
from tests.integration.running import (
    APPS,
    DEADLINE,
    ROOT,
    SCRIPTS,
    Running,
    children_of,
)

DEPLOY = ROOT / "deploy"
SERVICE = (DEPLOY / "clusterapp.service").read_text("utf-8")
SOCKET = (DEPLOY / "clusterapp.socket").read_text("utf-8")

#: Where the service's file expects the program.
PROGRAMS = "/opt/clusterapp/bin/"


def said(name: str, unit: str = SERVICE) -> str:
    """Return what a unit file says last under a name."""
    values: list[str] = re.findall(rf"(?m)^{name}=(.*)$", unit)
    return values[-1]


class UnitFileTests(SynchronousTestCase):
    """What can be said of them without a systemd that runs."""

    def test_systemd_reads_them(self) -> None:
        """It finds nothing to complain about, but that the program is not there."""
        if shutil.which("systemd-analyze") is None and "CI" not in os.environ:
            raise SkipTest("systemd is not installed")
        here = Path.cwd()
        programs = here / "bin"
        programs.mkdir()
        for name in ("twistd", "clusterctl"):
            (programs / name).symlink_to("/bin/true")
        service = SERVICE.replace(PROGRAMS, f"{programs}/")
        (here / "clusterapp.service").write_text(service)
        (here / "clusterapp.socket").write_text(SOCKET)
        ended = subprocess.run(
            [
                *("systemd-analyze", "verify", "--man=no", "--recursive-errors=no"),
                *(f"{here}/clusterapp.service", f"{here}/clusterapp.socket"),
            ],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))

    def test_systemd_is_more_patient_than_the_master(self) -> None:
        """Else it would kill what is about to end, or to be ready."""
        settings = Settings()
        self.assertGreater(int(said("TimeoutStopSec")), longest_stop(settings))
        self.assertGreater(int(said("TimeoutStartSec")), settings.boot_timeout + 5)

    def test_name_of_the_socket(self) -> None:
        name = said("FileDescriptorName", SOCKET)
        self.assertIn(f"--listen systemd:{name}", said("ExecStart"))


class Systemd:
    """As much of systemd as a service sees: one socket to serve, one to talk to."""

    def __init__(self) -> None:
        self.public = socket.create_server(("127.0.0.1", 0))
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(Path("notify").absolute()))
        #: All that the service has said.
        self.said: list[str] = []

    @contextmanager
    def service(self, **env: str) -> Iterator[Running]:
        """Start the service as its file says, with one worker."""
        start = said("ExecStart").replace(PROGRAMS, f"{SCRIPTS}/")
        # From descriptor 3 on, and for this pid (sd_listen_fds(3)).
        name = said("FileDescriptorName", SOCKET)
        passed = f"LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name}"
        running = Running(
            ["bash", "-c", f"export {passed}; exec {start} 3<&{self.public.fileno()}"],
            cwd=Path.cwd(),
            env={
                "NOTIFY_SOCKET": str(Path("notify").absolute()),
                "CLUSTERAPP_STATE": str(Path("state").absolute()),
                "CLUSTERAPP_APP": "shop:app",
                "CLUSTERAPP_WORKERS": "1",
                "PYTHONPATH": str(APPS),
                **env,
            },
            pass_fds=[self.public.fileno()],
        )
        try:
            yield running
        finally:
            running.close()
            self.public.close()
            self.notify.close()

    def wait_for(self, word: str) -> None:
        """Wait until the service says something that begins so."""
        until = time.monotonic() + DEADLINE
        while True:
            self.notify.settimeout(max(0.001, until - time.monotonic()))
            try:
                self.said.append(self.notify.recv(65536).decode())
            except TimeoutError:
                raise AssertionError(f"no {word}: {self.said}") from None
            if self.said[-1].startswith(word):
                return

    def hear_all(self, silence: float = 0.1) -> None:
        """Receive notifications until none has come for so many seconds."""
        self.notify.settimeout(silence)
        try:
            while True:
                self.said.append(self.notify.recv(65536).decode())
        except TimeoutError:
            return

    def ask(self, target: str) -> bytes:
        """Send a request to the socket; return the whole answer."""
        with socket.create_connection(self.public.getsockname()) as connection:
            connection.settimeout(DEADLINE)
            connection.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b""))


class ServiceTests(SynchronousTestCase):
    """A real cluster, started by the line of the service's file."""

    def setUp(self) -> None:
        self.systemd = Systemd()

    def test_start_and_stop(self) -> None:
        """READY=1 comes when requests are answered, and they are until the stop."""
        with self.systemd.service() as service:
            self.systemd.wait_for("READY=1")
            self.assertIn(b" 200 OK\r\n", self.systemd.ask("/pid"))
            self.assertTrue(
                any("1 of 1 worker ready" in each for each in self.systemd.said),
                self.systemd.said,
            )
            service.signal(signal.SIGTERM)
            self.systemd.wait_for("STOPPING=1")
            self.assertEqual(service.wait(), 0, service.text())

    def test_application_that_cannot_be_loaded(self) -> None:
        """The status is one after which systemd tries no more."""
        Path("broken.py").write_text("import nosuchmodule\n")
        with self.systemd.service(CLUSTERAPP_APP="broken:app") as service:
            status = service.wait()
            self.systemd.hear_all()
        self.assertIn(str(status), said("RestartPreventExitStatus").split())
        self.assertNotIn("READY=1", self.systemd.said)

    def test_watchdog(self) -> None:
        """It is told as long as the master's loop turns, and no longer."""
        with self.systemd.service(WATCHDOG_USEC="400000") as service:
            self.systemd.wait_for("READY=1")
            for _ in range(3):
                self.systemd.wait_for("WATCHDOG=1")
            service.signal(signal.SIGSTOP)
            try:
                self.systemd.hear_all()
                before = len(self.systemd.said)
                self.systemd.hear_all(1.0)
                self.assertEqual(self.systemd.said[before:], [])
            finally:
                service.signal(signal.SIGCONT)
            self.systemd.wait_for("WATCHDOG=1")

    def test_reload(self) -> None:
        """HUP begins one, and its end is told whatever it was."""
        with self.systemd.service() as service:
            self.systemd.wait_for("READY=1")
            service.signal(signal.SIGHUP)
            self.systemd.wait_for("RELOADING=1")
            self.assertIn("\nMONOTONIC_USEC=", self.systemd.said[-1])
            self.systemd.wait_for("READY=1")

    def test_children_cannot_speak_for_the_service(self) -> None:
        """Nothing of systemd is in their environment."""
        with self.systemd.service(WATCHDOG_USEC="30000000") as service:
            self.systemd.wait_for("READY=1")
            environment = worker_environment(service)
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID"):
            self.assertNotIn(name, environment)


def worker_environment(service: Running) -> Mapping[str, str]:
    """Read the environment that the service's one worker was started with."""
    (worker,) = children_of(service.process.pid)
    lines = Path(f"/proc/{worker}/environ").read_text().split("\0")
    return dict(line.split("=", 1) for line in lines if line)
